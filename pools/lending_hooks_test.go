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

// And not for twenty times as long.
func TestAPrepareConnThatSendsBackIsBoundByTheAcquireTimeout(t *testing.T) {
	cfg := config(20)
	cfg.AcquireTimeout = time.Millisecond + failsSoon(t)
	var fit atomic.Bool
	fit.Store(true)
	var tries atomic.Int64
	var over time.Time
	m := open(t, cfg, pools.WithHooks(pools.Hooks{
		PrepareConn: func(ctx context.Context, id model.WorkspaceID, _ *pgx.Conn) (bool, error) {
			if !fit.Load() && tries.Add(1) == 2 {
				<-time.After(time.Until(over))
			}
			return fit.Load(), nil
		},
	}))
	func() { // three are idle, and need not be waited for
		for range 3 {
			conn, err := m.Acquire(t.Context(), "w0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
		}
	}()
	fit.Store(false)
	over = time.Now().Add(cfg.AcquireTimeout)
	if err := m.Workspace("w0").Ping(t.Context()); !errors.Is(err, model.ErrAcquireTimeout) {
		t.Error(err)
	}
	if n := tries.Load(); n > 2 {
		t.Errorf("%d connections were sent back, the second one after the time was over", n)
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
	var idle time.Duration // each may be 0: a release and an acquire may arrive at one moment
	for _, want := range []bool{false, true} {
		ping.Store(want)
		pid := processOf(t, m)
		p := told()
		idle += p.IdleDuration
		if p.Workspace != "w0" || p.Conn.PgConn().PID() != pid || p.IdleDuration < 0 {
			t.Errorf("%+v", p)
		}
		if tested := len(tracer.seen) == 1; tested != want {
			t.Errorf("%d tests, wanted one: %v", len(tracer.seen), want)
		}
	}
	if idle == 0 {
		t.Error("it is never told how long a connection was idle")
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

func TestAfterConnectIsCalledOnceForAReset(t *testing.T) {
	var calls atomic.Int64
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		AfterConnect: func(_ context.Context, id model.WorkspaceID, _ *pgx.Conn) error {
			if id == "w0" {
				calls.Add(1)
			}
			return nil
		},
	}))
	pid := processOf(t, m)
	if _, err := m.Query(t.Context(), model.Query{Workspace: "w0", SQL: `SELECT 1`}); err != nil {
		t.Fatal(err)
	}
	processOf(t, m)
	before := calls.Load()
	for range 3 {
		if processOf(t, m) != pid {
			t.Error("it was closed")
		}
	}
	if n := calls.Load(); before < 2 || n != before {
		t.Errorf("it was called %d times, and %d times for three acquires more", before, n-before)
	}
}

func TestAfterReleaseDecidesWhetherAConnectionIsLentAgain(t *testing.T) {
	type answer func() bool
	var next atomic.Pointer[answer]
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		Timeout: 10 * time.Millisecond,
		AfterRelease: func(id model.WorkspaceID, conn *pgx.Conn) bool {
			if f := next.Swap(nil); f != nil && id == "w0" && !conn.IsClosed() {
				return (*f)()
			}
			return true
		},
	}))
	entered, leave := make(chan struct{}), make(chan struct{})
	for what, test := range map[string]struct {
		f     answer
		stays bool
	}{
		"true":   {func() bool { return true }, true},
		"false":  {func() bool { return false }, false},
		"panics": {func() bool { panic("a bug") }, false},
		"hangs":  {func() bool { close(entered); <-leave; return true }, false},
	} {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		pid := conn.Conn().PgConn().PID()
		next.Store(&test.f)
		conn.Release() // it does not block
		conn.Release()
		if conn.Conn() != nil {
			t.Errorf("%s: it can be used after its Release", what)
		}
		if what == "hangs" {
			<-entered
			if st := stats(t, m).Workspaces; st.InUse+st.Closing == 0 {
				t.Errorf("its slot is free while the hook has it: %+v", st.Counts)
			}
			eventually(t, "it is closed under the hook", func() bool { return stats(t, m).Workspaces.Closing == 1 })
			close(leave)
		}
		eventually(t, "the hook has returned", func() bool {
			st := stats(t, m).Workspaces
			return next.Load() == nil && st.InUse+st.Closing == 0
		})
		if stays := processOf(t, m) == pid; stays != test.stays {
			t.Errorf("%s: it stays: %v", what, stays)
		}
		eventually(t, "the hook has returned", func() bool { return stats(t, m).Workspaces.InUse == 0 })
	}
	m.log.line(t, "A hook failed", "AfterRelease", "has not returned")
	fillBudget(t, m, 20)
}

// As many as the server has room for are in use while each release takes its time.
func TestASlowAfterReleaseUnderLoadNeverPassesTheServersLimit(t *testing.T) {
	grant(t, 20)
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		AfterRelease: func(_ model.WorkspaceID, conn *pgx.Conn) bool {
			_, err := conn.Exec(context.Background(), `SELECT pg_sleep(0.005)`)
			return err == nil && conn.PgConn().PID()%2 == 0
		},
	}))
	errs := make(chan error, 40)
	for i := range cap(errs) {
		go func() {
			var err error
			for j := range 2 {
				err = errors.Join(err, m.Workspace(workspaceID((i+j)%30)).Ping(t.Context()))
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := stats(t, m).Workspaces.Counters.DialFailures; n > 0 {
		t.Errorf("%d dials failed", n)
	}
}

func TestBeforeCloseIsCalledForEachConnectionThatWasOpened(t *testing.T) {
	closed := make(chan uint32, 20)
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		BeforeClose: func(id model.WorkspaceID, conn *pgx.Conn) {
			if id == "w0" {
				closed <- conn.PgConn().PID()
				_, _ = conn.Exec(context.Background(), `SELECT 1`)
				panic("a bug")
			}
		},
	}))
	for what, end := range map[string]func(*pools.Conn){
		"discarded": (*pools.Conn).Discard,
		"closed":    func(c *pools.Conn) { _ = c.Conn().Close(t.Context()); c.Release() },
		"evicted":   func(c *pools.Conn) { c.Release(); _, _ = m.Evict(t.Context(), "w0") },
	} {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		pid := conn.Conn().PgConn().PID()
		end(conn)
		if told := <-closed; told != pid {
			t.Errorf("%s: %d, not %d", what, told, pid)
		}
	}
	fillBudget(t, m, 20)
}

func TestAHijackedConnectionHoldsItsSlotUntilItIsClosed(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	for what, end := range map[string]func(*pgx.Conn){
		"closed": func(c *pgx.Conn) { _ = c.Close(t.Context()) },
		"terminated": func(c *pgx.Conn) {
			statements(t, watch, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_ws_w0'`)
			_ = c.Ping(t.Context())
		},
	} {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		taken := conn.Hijack()
		conn.Release()
		if conn.Conn() != nil || conn.Hijack() != nil {
			t.Errorf("%s: it can be used after Hijack", what)
		}
		if err := taken.Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if st := stats(t, m).Workspaces; st.InUse != 1 {
			t.Errorf("%s: its slot is free: %+v", what, st.Counts)
		}
		pid := int(taken.PgConn().PID())
		end(taken)
		eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Open() == 0 })
		if backendCount(t, watch, pid) != 0 {
			t.Errorf("%s: its slot was free before the server had let go", what)
		}
	}
	fillBudget(t, m, 20)
}
