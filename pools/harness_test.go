package pools_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// server is the PostgreSQL of the test that runs. It is the roomy one, with the
// workspaces w0 to w59 and serverGrants connections for the application role, or,
// after grant, the strict one, with w0 to w99.
var server *localpg.Server

// strict has exactly as many connections as the last grant gave it. It starts with
// the first.
var strict struct {
	*localpg.Server
	grants int
}

// long asks for the long forms of tests that repeat something.
var long = os.Getenv("TENANTPOOL_TEST_LONG") == "1"

// times is how often a test repeats something.
func times(short, inLongForm int) int {
	if long {
		return inLongForm
	}
	return short
}

const (
	serverWorkspaces  = 60
	serverGrants      = 100
	superuserReserved = 3
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if fuzzesOnly() || os.Getenv(killedAt) != "" {
		return m.Run()
	}
	var err error
	if server, err = start(serverGrants, serverWorkspaces); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	roomy := server
	defer func() {
		err := roomy.Stop()
		if strict.Server != nil {
			err = errors.Join(err, strict.Stop())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// start starts a server with databases for that many workspaces, which is most of
// the time it takes.
func start(connections, workspaces int) (*localpg.Server, error) {
	server, err := localpg.Start(context.Background(), localpg.Options{MaxConnections: connections + superuserReserved, InMemory: true})
	if err != nil {
		return nil, err
	}
	if err := server.CreateDatabases(context.Background(), databaseNames(workspaces)...); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return server, nil
}

// fuzzesOnly tells whether this process runs or lists fuzz targets and no tests. A
// target starts a server itself if it needs one: each search has two processes.
func fuzzesOnly() bool {
	is := func(name string) string { return flag.Lookup("test." + name).Value.String() }
	return is("list") != "" || is("fuzz") != "" && is("run") == "^$"
}

// grant has the test run on the strict server, where the application role can have
// exactly so many connections. It returns the watcher, a superuser's session that is
// part of the sum.
//
// PostgreSQL lets a role in while, with it, at least
// superuser_reserved_connections of the max_connections are free (InitPostgres:
// HaveNFreeProcs). It counts what is free, whoever has the rest: a superuser's
// session is not charged to the reserved ones. So with the watcher connected
//
//	max_connections = connections + superuserReserved + 1 (the watcher)
//
// lets the role have exactly that many connections; the next is refused.
func grant(t *testing.T, connections int) (watch *sql.DB) {
	t.Helper()
	roomy := server
	t.Cleanup(func() { server = roomy })
	if strict.Server == nil {
		var err error
		if strict.Server, err = start(connections+1, 100); err != nil {
			t.Fatal(err)
		}
		strict.grants = connections
	}
	server = strict.Server
	if strict.grants != connections {
		statements(t, superuser(t), fmt.Sprintf("ALTER SYSTEM SET max_connections = %d", connections+1+superuserReserved))
		restart(t, localpg.Fast)
		strict.grants = connections
	}
	watch = superuser(t)
	if err := watch.Ping(); err != nil { // it stays connected
		t.Fatal(err)
	}
	return watch
}

// restart returns when the server answers again.
func restart(t *testing.T, mode localpg.Mode) {
	t.Helper()
	if err := server.Shutdown(context.Background(), mode); err != nil {
		t.Fatal(err)
	}
	if err := server.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func databaseNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("test_ws_w%d", i)
	}
	return names
}

func workspaceID(i int) model.WorkspaceID { return model.WorkspaceID(fmt.Sprintf("w%d", i)) }

func config(maxConnections int) model.Config { return configOf(server, maxConnections) }

func configOf(server *localpg.Server, maxConnections int) model.Config {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port = server.Host, server.Port
	cfg.User, cfg.Password = server.User, server.Password
	cfg.SystemDatabase = server.Database
	cfg.SSLMode = "disable"
	cfg.Prefix = "test"
	cfg.MaxConnections = maxConnections
	cfg.AcquireTimeout, cfg.DialTimeout = patience, patience
	return cfg
}

// manager is a Manager with what it logged.
type manager struct {
	*pools.Manager
	log *logBuffer
}

// open opens a manager that the test's end closes; it must close within seconds,
// and leave no goroutine.
func open(t *testing.T, cfg model.Config, opts ...pools.Option) *manager {
	t.Helper()
	before := goroutines()
	log := &logBuffer{}
	m, err := pools.Open(t.Context(), cfg, append([]pools.Option{pools.WithLogger(log.logger())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeManager(t, m)
		pools.CloseDBs(m)
		eventually(t, "the manager's goroutines end", func() bool { return goroutines() <= before })
	})
	return &manager{m, log}
}

// goroutines counts them all, but for those of pgx that read ahead after a write that
// took long: one may belong to a connection of the test's own, and stay for its life.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("\n\ngoroutine ")) + 1 - bytes.Count(stacks, []byte("/bgreader.(*BGReader).Start in goroutine"))
}

func closeManager(t *testing.T, m *pools.Manager) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	if err := m.Close(ctx); err != nil {
		t.Error(err)
	}
}

// logBuffer collects log lines. (A test's buffer may have a lock.)
type logBuffer struct {
	lock sync.Mutex
	buf  bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, nil))
}

// line returns the log line that holds all the words, or fails.
func (b *logBuffer) line(t *testing.T, words ...string) string {
	t.Helper()
	for line := range strings.Lines(b.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return line
		}
	}
	t.Fatalf("no log line with %q in:\n%s", words, b)
	return ""
}

// lacks fails if the log has the words.
func (b *logBuffer) lacks(t *testing.T, words string) {
	t.Helper()
	if text := b.String(); strings.Contains(text, words) {
		t.Errorf("the log has %q:\n%s", words, text)
	}
}

// patience bounds every wait for what must come. It is no measure of how soon that
// should be: a busy machine may take a hundred times as long as a quiet one.
const patience = time.Minute

// dialsTake measures how long the server takes to let somebody in, here and now: the
// unit of what tests expect to happen soon.
func dialsTake(t *testing.T) (slowest time.Duration) {
	t.Helper()
	for range 3 {
		began := time.Now()
		conn, err := pgx.Connect(t.Context(), server.SuperuserDSN())
		if err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
		_ = conn.Close(t.Context())
	}
	return slowest
}

// eventually waits for a condition, with a deadline.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("in vain waited until %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
		<-time.After(time.Millisecond)
	}
}

func stats(t *testing.T, m *manager) model.Stats {
	t.Helper()
	st, err := m.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// superuser connects to the server besides the manager. While it is connected it
// takes a connection that the application role could have (see grant).
func superuser(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// backends is how many connections the server has for the application role.
// (pg_stat_activity also counts those that are still logging in.)
func backends(t *testing.T, db *sql.DB) int {
	t.Helper()
	return count(t, db, `SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, server.User)
}

func count(t *testing.T, db *sql.DB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// fillBudget proves that the whole budget can be lent at once: no slot is lost.
func fillBudget(t *testing.T, m *manager, workspaces int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	budget := stats(t, m).Workspaces.Budget
	held := make(chan *pools.Conn, budget)
	errs := make(chan error, budget)
	for i := range budget {
		go func() {
			conn, err := m.Acquire(ctx, workspaceID(i%workspaces))
			if err == nil {
				held <- conn
			}
			errs <- err
		}()
	}
	for range budget {
		if err := <-errs; err != nil {
			t.Errorf("filling the budget: %v", err)
		}
	}
	if st := stats(t, m).Workspaces; st.InUse != budget && !t.Failed() {
		t.Errorf("filled %d of %d slots: %+v", st.InUse, budget, st.Counts)
	}
	close(held)
	for conn := range held {
		conn.Release()
	}
}

func backendCount(t *testing.T, db *sql.DB, pid int) int {
	t.Helper()
	return count(t, db, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, pid)
}
