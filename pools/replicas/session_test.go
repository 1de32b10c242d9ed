package replicas_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

const patience = time.Minute

func eventually(t *testing.T, what string, holds func() bool) (took time.Duration) {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > patience {
			t.Fatalf("it never came to this: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// holder is a replica that has as many real connections as it may and has a use for. It
// gives them back at once.
type holder struct {
	t              *testing.T
	pg             *localpg.Server
	id             string
	session        *replicas.Session
	limit, wants   atomic.Int64
	open, refused  atomic.Int64
	stopped, ended chan struct{}
}

func (h *holder) Hold(p replicas.Part) { h.limit.Store(int64(p.Limit)) }

func (h *holder) Use() replicas.Use {
	return replicas.Use{Open: int(h.open.Load()), Wants: int(h.wants.Load())}
}

const groupBudget = 40

func join(t *testing.T, pg *localpg.Server, id string) *holder {
	t.Helper()
	h := &holder{t: t, pg: pg, id: id, stopped: make(chan struct{}), ended: make(chan struct{})}
	session, err := replicas.Join(t.Context(), replicas.Options{
		Group: "shop", Budget: groupBudget, Floor: 2, ID: id, Label: "web", ApplicationName: "app/" + id, MaxDialing: 4, MaxDial: 3 * time.Second,
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return dial(ctx, pg, "control/"+id) },
		Every:   50 * time.Millisecond,
	}, h)
	if err != nil {
		t.Fatal(err)
	}
	h.session = session
	go h.run()
	return h
}

func dial(ctx context.Context, pg *localpg.Server, name string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable", pg.Host, pg.Port, pg.User, pg.Password, pg.Database))
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = name
	return pgx.ConnectConfig(ctx, config)
}

// run opens and closes one connection at a time.
func (h *holder) run() {
	defer close(h.ended)
	var conns []*pgx.Conn
	for {
		select {
		case <-h.stopped:
			for _, conn := range conns {
				_ = conn.Close(context.Background())
			}
			return
		case <-time.After(time.Millisecond):
		}
		may := min(h.limit.Load(), h.wants.Load())
		switch n := int64(len(conns)); {
		case n > may:
			h.close(conns[0])
			conns = conns[1:]
			h.open.Add(-1)
		case n < may:
			h.open.Add(1)
			conn, err := h.dial()
			if err != nil {
				h.open.Add(-1)
				continue
			}
			conns = append(conns, conn)
		}
	}
}

func (h *holder) dial() (*pgx.Conn, error) {
	until, err := h.session.Permit(context.Background())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithDeadline(context.Background(), until)
	defer stop()
	conn, err := dial(ctx, h.pg, "app/"+h.id)
	if err != nil {
		h.refused.Add(1)
		h.t.Logf("replica %s: %v", h.id, err)
	}
	return conn, err
}

// close waits for the end of file.
func (h *holder) close(conn *pgx.Conn) {
	hijacked, err := conn.PgConn().Hijack()
	if err != nil {
		return
	}
	_, _ = hijacked.Conn.Write([]byte{'X', 0, 0, 0, 4})
	_, _ = hijacked.Conn.Read(make([]byte, 1))
	_ = hijacked.Conn.Close()
}

// fenced is a server whose role may have the budget's connections and no more.
func fenced(t *testing.T) (pg *localpg.Server, watch *pgx.Conn) {
	t.Helper()
	pg = server(t)
	watch, err := pgx.Connect(t.Context(), pg.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Close(context.Background()) })
	if _, err := watch.Exec(t.Context(), fmt.Sprintf(`ALTER ROLE %s CONNECTION LIMIT %d`, pgx.Identifier{pg.User}.Sanitize(), groupBudget)); err != nil {
		t.Fatal(err)
	}
	return pg, watch
}

func TestABusyReplicaTakesWhatTheOthersLeaveAndWhatTheDeadHad(t *testing.T) {
	pg, watch := fenced(t)
	var all []*holder
	for i := range 3 {
		all = append(all, join(t, pg, fmt.Sprint(i)))
	}
	// Each has a control session and its floor, and the first has the rest, but the
	// reserve. The test's own connection with the tables is a stranger.
	const whole = groupBudget - 3 - 2*2 - 3 - 1
	all[0].wants.Store(100)
	t.Logf("one has all after %v", eventually(t, "one has all", func() bool { return all[0].open.Load() == whole }))

	for _, h := range all {
		h.wants.Store(100)
	}
	t.Logf("all have the same after %v", eventually(t, "all have the same", func() bool {
		for _, h := range all {
			if int(h.open.Load()) < (groupBudget-3-3-1)/3 {
				return false
			}
		}
		return true
	}))

	// The control session of one ends: it opens nothing until it has another.
	if _, err := watch.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'control/1'`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has another", func() bool {
		var n int
		return watch.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'control/1'`).Scan(&n) == nil && n == 1
	})

	// One ends without a word, as when it is killed.
	close(all[2].stopped)
	<-all[2].ended
	all[2].session.Abandon()
	all = all[:2]
	t.Logf("the others have its part after %v", eventually(t, "the others have it", func() bool {
		return int(all[0].open.Load()+all[1].open.Load()) == groupBudget-2-3-1
	}))
	for _, h := range all {
		h.wants.Store(0)
		eventually(t, "nothing is open", func() bool { return h.open.Load() == 0 })
		if err := h.session.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		close(h.stopped)
		<-h.ended
		if n := h.refused.Load(); n > 0 {
			t.Errorf("the server refused %d connections of replica %s", n, h.id)
		}
	}
}

// A process that was killed keeps its place until it is certain what it has; who is started
// in its stead waits for that.
func TestWhoReplacesTheDeadWaitsForItsPlace(t *testing.T) {
	pg := server(t) // whose connection is a stranger
	join := func(id string, pool replicas.Pool) (*replicas.Session, error) {
		return replicas.Join(t.Context(), replicas.Options{
			Group: "full", Budget: 7, Floor: 1, ID: id, Label: "web", ApplicationName: "app/" + id, MaxDialing: 1, MaxDial: 10 * time.Millisecond,
			Connect: func(ctx context.Context) (*pgx.Conn, error) { return dial(ctx, pg, "control/"+id) },
			Every:   20 * time.Millisecond,
		}, pool)
	}
	var sessions []*replicas.Session
	for _, id := range []string{"0", "1"} {
		h := &holder{}
		s, err := join(id, h)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has its floor", func() bool { return h.limit.Load() == 1 })
		sessions = append(sessions, s)
	}
	var full *replicas.BudgetError
	if _, err := join("2", &holder{}); !errors.As(err, &full) {
		t.Errorf("one too many: %v", err)
	}
	for _, s := range sessions { // nobody is left to decide
		s.Abandon()
	}
	var gone bool
	eventually(t, "the server has ended the control sessions", func() bool {
		conn := connect(t, pg, "")
		defer conn.Close(context.Background())
		return conn.QueryRow(t.Context(), `SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'control/%'`).Scan(&gone) == nil && gone
	})
	for _, id := range []string{"2", "3"} {
		s, err := join(id, &holder{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abandon()
	}
}
