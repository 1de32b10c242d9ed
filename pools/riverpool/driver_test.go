package riverpool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/riverpool"
)

var manager *pools.Manager

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	server, err := localpg.Start(ctx, localpg.Options{MaxConnections: 40, InMemory: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	defer server.Stop()
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port, cfg.User, cfg.Password = server.Host, server.Port, server.User, server.Password
	cfg.SSLMode, cfg.SystemDatabase, cfg.MaxConnections = "disable", server.Database, 25
	if manager, err = pools.Open(ctx, cfg, pools.WithLogger(nil)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	if err := manager.Close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// workspace creates a workspace with River's tables.
func workspace(t testing.TB, id model.WorkspaceID) *pools.Workspace {
	t.Helper()
	ctx := context.Background()
	if err := manager.CreateWorkspace(ctx, id); err != nil {
		t.Fatal(err)
	}
	migrator, err := rivermigrate.New(riverpool.New(manager.Workspace(id)), &rivermigrate.Config{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	return manager.Workspace(id)
}

func inUse(t testing.TB) int {
	t.Helper()
	stats, err := manager.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return stats.Workspaces.InUse
}

// comesTo waits until so many connections are lent.
func comesTo(t testing.TB, lent int) {
	t.Helper()
	for end := time.Now().Add(patience); inUse(t) != lent; {
		if time.Now().After(end) {
			t.Fatalf("%d connections are lent and not %d", inUse(t), lent)
		}
	}
}

type greeting struct {
	Name string `json:"name"`
}

func (greeting) Kind() string { return "greeting" }

// greeter counts in the workspace, in the transaction that completes the job.
type greeter struct {
	river.WorkerDefaults[greeting]
	workspace *pools.Workspace
}

func (g *greeter) Work(ctx context.Context, job *river.Job[greeting]) error {
	return pgx.BeginFunc(ctx, g.workspace, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO greeted VALUES ($1)`, job.Args.Name); err != nil {
			return err
		}
		_, err := river.JobCompleteTx[*riverpool.Driver](ctx, tx, job)
		return err
	})
}

// client starts a client, and returns it with what waits for so many completed jobs.
func client(t testing.TB, w *pools.Workspace, cfg river.Config) (*river.Client[pgx.Tx], func(jobs int)) {
	t.Helper()
	ctx := context.Background()
	if _, err := w.Exec(ctx, `CREATE TABLE greeted (name text)`); err != nil {
		t.Fatal(err)
	}
	cfg.Workers = river.NewWorkers()
	river.AddWorker(cfg.Workers, &greeter{workspace: w})
	cfg.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}}
	cfg.FetchCooldown = time.Millisecond
	cfg.Logger = silent
	c, err := river.NewClient(riverpool.New(w), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	completed, cancel := c.Subscribe(river.EventKindJobCompleted)
	t.Cleanup(cancel)
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // or the next tests would find its connections
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.StopAndCancel(ctx); err != nil {
			t.Error(err)
		}
	})
	return c, func(jobs int) {
		t.Helper()
		timeout := time.After(patience)
		for n := range jobs {
			select {
			case <-completed:
			case <-timeout:
				t.Fatalf("%d of %d jobs are completed", n, jobs)
			}
		}
	}
}

func stop(t testing.TB, c *river.Client[pgx.Tx]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if n := inUse(t); n != 0 {
		t.Errorf("%d connections are still lent after Stop", n)
	}
}

func greeted(t testing.TB, w *pools.Workspace) (n int) {
	t.Helper()
	if err := w.QueryRow(context.Background(), `SELECT count(*) FROM greeted`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWorkersAreWokenByNotifications(t *testing.T) {
	ctx := context.Background()
	w := workspace(t, "notified")
	c, completed := client(t, w, river.Config{FetchPollInterval: 24 * time.Hour})
	comesTo(t, 1) // the listener's

	for range 20 {
		if _, err := c.Insert(ctx, greeting{"ann"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	completed(20)
	many := make([]river.InsertManyParams, 30)
	for i := range many {
		many[i].Args = greeting{"bob"}
	}
	if _, err := c.InsertManyFast(ctx, many); err != nil {
		t.Fatal(err)
	}
	completed(30)

	comesTo(t, 1)
	stop(t, c)
	if n := greeted(t, w); n != 50 {
		t.Errorf("%d jobs left a trace, not 50", n)
	}
}

func TestAJobIsPartOfTheTransactionThatInsertsIt(t *testing.T) {
	ctx := context.Background()
	w := workspace(t, "transaction")
	c, completed := client(t, w, river.Config{FetchPollInterval: 10 * time.Millisecond})
	changedMind := errors.New("changed my mind")
	for _, end := range []error{changedMind, nil} {
		err := pgx.BeginFunc(ctx, w, func(tx pgx.Tx) error {
			if _, err := c.InsertTx(ctx, tx, greeting{"cy"}, nil); err != nil {
				return err
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	completed(1)
	stop(t, c)
	var jobs int
	if err := w.QueryRow(ctx, `SELECT count(*) FROM river_job`).Scan(&jobs); err != nil || jobs != 1 {
		t.Errorf("there are %d jobs (%v), and only one was committed", jobs, err)
	}
}

func TestPollingHoldsNothingAtRest(t *testing.T) {
	w := workspace(t, "polling")
	c, completed := client(t, w, river.Config{PollOnly: true, FetchPollInterval: 10 * time.Millisecond})
	if _, err := c.Insert(context.Background(), greeting{"di"}, nil); err != nil {
		t.Fatal(err)
	}
	completed(1)
	comesTo(t, 0)
	stop(t, c)
}

func listen(t testing.TB, w *pools.Workspace) riverdriver.Listener {
	t.Helper()
	ctx := context.Background()
	l := riverpool.New(w).GetListener(&riverdriver.GetListenenerParams{})
	if err := l.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(ctx, "topic"); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAClosedListenerLeavesNothingToTheNextHolder(t *testing.T) {
	ctx := context.Background()
	w := workspace(t, "closed-listener")
	l := listen(t, w)
	if _, err := w.Exec(ctx, `SELECT pg_notify('public.topic', 'unread')`); err != nil {
		t.Fatal(err)
	}
	if err := l.Ping(ctx); err != nil { // and the notification has arrived
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.Close(done); err != nil {
		t.Fatal(err)
	}
	if n := inUse(t); n != 0 {
		t.Fatalf("%d connections are still lent", n)
	}

	var all []*pools.Conn // both connections: the listener's, and that of pg_notify
	for range 2 {
		conn, err := w.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		all = append(all, conn)
	}
	for _, conn := range all {
		var channels int
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_listening_channels()`).Scan(&channels); err != nil || channels != 0 {
			t.Errorf("the next holder listens on %d channels (%v)", channels, err)
		}
		if n, err := conn.Conn().WaitForNotification(done); err == nil {
			t.Errorf("the next holder is notified of %q", n.Payload)
		}
	}
}

func TestAListenerConnectsAgainAfterItsConnectionIsLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := workspace(t, "lost-listener")
	l := listen(t, w)
	if _, err := w.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN "public.topic"'`); err != nil {
		t.Fatal(err)
	}
	if n, err := l.WaitForNotification(ctx); err == nil || ctx.Err() != nil {
		t.Fatalf("the connection is gone, but: %v, %v", n, err)
	}
	if err := l.Close(ctx); err == nil {
		t.Error("UNLISTEN on a lost connection is no error")
	}
	if err := l.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(ctx, "topic"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Exec(ctx, `SELECT pg_notify('public.topic', 'here')`); err != nil {
		t.Fatal(err)
	}
	n, err := l.WaitForNotification(ctx)
	if err != nil || n.Topic != "topic" || n.Payload != "here" {
		t.Errorf("%v, %v", n, err)
	}
	if err := l.Unlisten(ctx, "topic"); err != nil {
		t.Error(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := inUse(t); n != 0 {
		t.Errorf("%d connections are still lent", n)
	}
}

func TestAListenerThatIsNotConnectedSaysSo(t *testing.T) {
	ctx := context.Background()
	l := riverpool.New(manager.Workspace("none")).GetListener(&riverdriver.GetListenenerParams{})
	_, waiting := l.WaitForNotification(ctx)
	for _, err := range []error{waiting, l.Listen(ctx, "topic"), l.Unlisten(ctx, "topic"), l.Ping(ctx)} {
		if err == nil {
			t.Error("no error")
		}
	}
	if err := l.Connect(ctx); !errors.Is(err, model.ErrNoWorkspace) {
		t.Error(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestAListenerIsPreparedAndHoldsOneConnection(t *testing.T) {
	ctx := context.Background()
	w := workspace(t, "prepared-listener")
	l := riverpool.New(w).GetListener(&riverdriver.GetListenenerParams{})
	l.SetAfterConnectExec(`SELECT 1 / 0`)
	if err := l.Connect(ctx); err == nil {
		t.Error("it is connected, and is not prepared")
	}
	if n := inUse(t); n != 0 {
		t.Errorf("%d connections are still lent", n)
	}
	l.SetAfterConnectExec(`CREATE SCHEMA prepared; SET search_path = prepared`)
	if err := l.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if schema := l.Schema(); schema != "prepared" {
		t.Errorf("its schema is %q", schema)
	}
	if err := l.Connect(ctx); err == nil {
		t.Error("it is connected twice")
	}
	if n := inUse(t); n != 1 {
		t.Errorf("%d connections are lent", n)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := inUse(t); n != 0 {
		t.Errorf("%d connections are still lent", n)
	}
}

func TestAListenerHearsNoMoreOfATopicThatItHasLeft(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := workspace(t, "left-topic")
	l := listen(t, w) // to topic
	if err := errors.Join(l.Listen(ctx, "another"), l.Unlisten(ctx, "topic")); err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"public.topic", "public.another"} {
		if _, err := w.Exec(ctx, `SELECT pg_notify($1, '')`, channel); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := l.WaitForNotification(ctx); err != nil || n.Topic != "another" {
		t.Errorf("%v, %v", n, err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// The errors of the server reach the client as River's pgx driver gives them.
func TestAWorkspaceWithoutRiversTables(t *testing.T) {
	ctx := context.Background()
	if err := manager.CreateWorkspace(ctx, "bare"); err != nil {
		t.Fatal(err)
	}
	c, err := river.NewClient(riverpool.New(manager.Workspace("bare")), &river.Config{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Insert(ctx, greeting{"ed"}, nil)
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || refusal.Code != "42P01" {
		t.Error(err)
	}
	if n := inUse(t); n != 0 {
		t.Errorf("%d connections are still lent", n)
	}
}
