package pools_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestAConnectionComesBackCleanOrNotAtAll(t *testing.T) {
	m := open(t, config(20))
	pid := func(conn *pools.Conn) uint32 { return conn.Conn().PgConn().PID() }
	acquire := func() *pools.Conn {
		t.Helper()
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for name, spoil := range map[string]func(*pools.Conn) error{
		"in a transaction": func(c *pools.Conn) error { return second(c.Begin(t.Context())) },
		"in a failed transaction": func(c *pools.Conn) error {
			tx, err := c.Begin(t.Context())
			_, _ = tx.Exec(t.Context(), "no SQL")
			return err
		},
		"with unread rows": func(c *pools.Conn) error {
			return second(c.Query(t.Context(), `SELECT * FROM generate_series(1, 1000000)`))
		},
		"closed by its holder": func(c *pools.Conn) error { return c.Conn().Close(t.Context()) },
		"ended by the server": func(c *pools.Conn) error {
			_, err := c.Exec(t.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`)
			if err == nil {
				return errors.New("it lives on")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := acquire()
			before := pid(conn)
			if err := spoil(conn); err != nil {
				t.Fatal(err)
			}
			conn.Release()
			eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Open() == 0 })
			conn = acquire()
			defer conn.Release()
			if pid(conn) == before {
				t.Error("it was lent again")
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	conn := acquire()
	before := pid(conn)
	conn.Release()
	conn = acquire()
	defer conn.Release()
	if pid(conn) != before {
		t.Error("a clean connection was not lent again")
	}
}

func TestASecondReleaseDoesNothing(t *testing.T) {
	m := open(t, config(20))
	first, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	first.Release()
	next, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	first.Release() // the connection is another holder's by now
	if st := stats(t, m).Workspaces; st.InUse != 1 || st.Counters.StaleMessages != 0 {
		t.Errorf("%+v", st)
	}
	next.Release()
}

func TestAReleasedConnectionIsOfNoUse(t *testing.T) {
	m := open(t, config(20))
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	conn.Release()
	ctx := t.Context()
	rows, errQuery := conn.Query(ctx, "SELECT 1")
	if rows.Next() || rows.Err() == nil {
		t.Error("there are rows")
	}
	for what, err := range map[string]error{
		"Exec":      second(conn.Exec(ctx, "SELECT 1")),
		"Query":     errQuery,
		"QueryRow":  conn.QueryRow(ctx, "SELECT 1").Scan(),
		"SendBatch": conn.SendBatch(ctx, &pgx.Batch{}).Close(),
		"CopyFrom":  second(conn.CopyFrom(ctx, pgx.Identifier{"t"}, nil, pgx.CopyFromRows(nil))),
		"Begin":     second(conn.Begin(ctx)),
		"Ping":      conn.Ping(ctx),
	} {
		if !errors.Is(err, pools.ErrReleased) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if conn.Conn() != nil {
		t.Error("the pgx connection is still to be had")
	}
}

func TestAConnectionThatWasIdleForLongIsTestedBeforeItIsLent(t *testing.T) {
	cfg := config(20)
	cfg.HealthCheckAfter = time.Millisecond
	m := open(t, cfg)
	watch := superuser(t)
	for range 3 {
		var pid int
		if err := m.Workspace("w0").QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Exec(`SELECT pg_terminate_backend($1)`, pid); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is gone", func() bool { return backendCount(t, watch, pid) == 0 })
		<-time.After(5 * cfg.HealthCheckAfter)
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Errorf("a dead connection was lent: %v", err)
		}
	}
	fillBudget(t, m, 10)
}

func TestEvictClosesWhatIsIdleAndLeavesWhatIsLent(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	before := backends(t, watch)
	var held []*pools.Conn
	for range 3 {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	held[0].Release()
	held[1].Release()
	closed, err := m.Evict(t.Context(), "w0")
	if err != nil || closed != 2 {
		t.Errorf("evicted %d, %v", closed, err)
	}
	if n := backends(t, watch) - before; n != 1 {
		t.Errorf("the server still has %d connections when Evict returns", n)
	}
	if err := held[2].Ping(t.Context()); err != nil {
		t.Errorf("the lent one: %v", err)
	}
	held[2].Release()
	if closed, err := m.Evict(t.Context(), "w29"); closed != 0 || err != nil {
		t.Errorf("nothing to evict: %d, %v", closed, err)
	}
}

func TestCloseWaitsForLeasesAndEndsEverything(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	db := m.Workspace("w1").DB()
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := m.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close with a lease out: %v", err)
	} else {
		t.Log(err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the lease is still good: %v", err)
	}
	for what, err := range map[string]error{
		"Acquire": second(m.Acquire(t.Context(), "w2")),
		"System":  m.System().Ping(t.Context()),
		"Exec":    second(m.Workspace("w2").Exec(t.Context(), "SELECT 1")),
	} {
		if !errors.Is(err, model.ErrClosed) {
			t.Errorf("%s while closing: %v", what, err)
		}
	}
	conn.Release()
	closeManager(t, m.Manager)
	closeManager(t, m.Manager)
	if n := backends(t, watch); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	conn.Release()
	if err := db.Ping(); !errors.Is(err, model.ErrClosed) {
		t.Errorf("the *sql.DB after Close: %v", err)
	}
	if _, err := m.Acquire(t.Context(), "w0"); !errors.Is(err, model.ErrClosed) {
		t.Errorf("Acquire after Close: %v", err)
	}
	if _, err := m.Stats(t.Context()); !errors.Is(err, model.ErrClosed) {
		t.Errorf("Stats after Close: %v", err)
	}
	if _, err := m.Evict(t.Context(), "w0"); !errors.Is(err, model.ErrClosed) {
		t.Errorf("Evict after Close: %v", err)
	}
}
