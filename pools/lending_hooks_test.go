package pools_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func processOf(t *testing.T, m *manager) uint32 {
	t.Helper()
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	return conn.Conn().PgConn().PID()
}

func TestADiscardedConnectionIsClosed(t *testing.T) {
	m := open(t, config(20))
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	pid := conn.Conn().PgConn().PID()
	conn.Discard()
	conn.Discard() // does nothing
	conn.Release()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); !errors.Is(err, pools.ErrReleased) {
		t.Error(err)
	}
	if next := processOf(t, m); next == pid {
		t.Error("it was lent again")
	}
	fillBudget(t, m, 20)
}

// The four outcomes are pgxpool's.
func TestPrepareConnDecidesWhetherAConnectionIsLent(t *testing.T) {
	failure := errors.New("not now")
	type outcome struct {
		fit bool
		err error
	}
	var next atomic.Pointer[outcome]
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		PrepareConn: func(_ context.Context, id model.WorkspaceID, _ *pgx.Conn) (bool, error) {
			if o := next.Swap(nil); o != nil && id == "w0" {
				return o.fit, o.err
			}
			return true, nil
		},
	}))
	for _, o := range []outcome{{true, nil}, {true, failure}, {false, failure}, {false, nil}} {
		pid := processOf(t, m)
		next.Store(&o)
		conn, err := m.Acquire(t.Context(), "w0")
		if err == nil {
			conn.Release()
		}
		if !errors.Is(err, o.err) || (err == nil) != (o.err == nil) {
			t.Errorf("%v: %v", o, err)
		}
		if stays := processOf(t, m) == pid; stays != o.fit {
			t.Errorf("%v: the connection stays: %v", o, stays)
		}
	}
	next.Store(&outcome{true, failure})
	if err := m.Exclusive(t.Context(), "w0", func(*pools.Conn) error { return nil }); !errors.Is(err, failure) {
		t.Error(err)
	}
	fillBudget(t, m, 20)
}

func TestAPrepareConnThatSendsAllBackEndsTheAcquire(t *testing.T) {
	for what, prepare := range map[string]func() bool{
		"has sent back 20 connections": func() bool { return false },
		"it panicked: a bug":           func() bool { panic("a bug") },
	} {
		m := open(t, config(20), pools.WithHooks(pools.Hooks{
			PrepareConn: func(context.Context, model.WorkspaceID, *pgx.Conn) (bool, error) { return prepare(), nil },
		}))
		if err := m.Workspace("w0").Ping(t.Context()); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		eventually(t, "all are closed", func() bool { return stats(t, m).Workspaces.Open() == 0 })
	}
}

func TestAConnectionIsNotLentWhilePrepareConnHasIt(t *testing.T) {
	leave := make(chan struct{})
	var calls atomic.Int64
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		Timeout: 10 * time.Millisecond,
		PrepareConn: func(context.Context, model.WorkspaceID, *pgx.Conn) (bool, error) {
			if calls.Add(1) == 1 {
				<-leave
			}
			return true, nil
		},
	}))
	err := m.Workspace("w0").Ping(t.Context())
	if err == nil || !strings.Contains(err.Error(), "hook PrepareConn: it has not returned in time") {
		t.Error(err)
	}
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if closing := stats(t, m).Workspaces.Closing; closing != 1 {
		t.Errorf("%d connections are closing while the hook runs", closing)
	}
	close(leave)
	eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Closing == 0 })
}

func TestShouldPingDecidesWhatIsTested(t *testing.T) {
	tracer := queryTracer{make(chan string, 10)}
	var ping atomic.Bool
	params := make(chan pools.ShouldPingParams, 10)
	told := func() pools.ShouldPingParams {
		select {
		case p := <-params:
			return p
		default:
			t.Fatal("it was not asked")
			panic("unreachable")
		}
	}
	cfg := config(20)
	cfg.HealthCheckAfter = time.Millisecond
	m := open(t, cfg, pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			if id == "w0" {
				config.Tracer = tracer
			}
			return nil
		},
		ShouldPing: func(_ context.Context, p pools.ShouldPingParams) bool {
			params <- p
			return ping.Load()
		},
		PingTimeout: time.Minute,
	}))
	processOf(t, m)
	told()
	for _, want := range []bool{false, true} {
		ping.Store(want)
		pid := processOf(t, m)
		if p := told(); p.Workspace != "w0" || p.Conn.PgConn().PID() != pid || p.IdleDuration <= 0 {
			t.Errorf("%+v", p)
		}
		if tested := len(tracer.seen) == 1; tested != want {
			t.Errorf("%d tests, wanted one: %v", len(tracer.seen), want)
		}
	}
}

// Query resets sessions, and must not leave them without what AfterConnect did, nor run
// without it itself.
func TestWhatAfterConnectSetsOutlivesAReset(t *testing.T) {
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		AfterConnect: func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
			if id != "w0" {
				return nil
			}
			_, err := conn.Exec(ctx, `SET search_path = 'of the hook'`)
			return err
		},
	}))
	const ask = `SELECT current_setting('search_path')`
	const want = `"of the hook"`
	pid := processOf(t, m)
	for _, spoil := range []string{ask, `SET search_path = 'of a user'`, ask} {
		for range 2 {
			result, err := m.Query(t.Context(), model.Query{Workspace: "w0", SQL: ask})
			if err != nil || result.Rows[0][0] != want {
				t.Errorf("a query has %v (%v)", result.Rows, err)
			}
		}
		var path string
		if err := m.Workspace("w0").QueryRow(t.Context(), ask).Scan(&path); err != nil || path != want {
			t.Errorf("a user has %q (%v)", path, err)
		}
		if _, err := m.Workspace("w0").Exec(t.Context(), spoil); err != nil {
			t.Error(err)
		}
	}
	if processOf(t, m) != pid {
		t.Error("it was closed")
	}
}
