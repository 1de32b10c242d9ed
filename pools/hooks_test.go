package pools_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

type queryTracer struct{ seen chan string }

func (q queryTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	q.seen <- data.SQL
	return ctx
}

func (queryTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestATracerOfBeforeConnectSeesEachQuery(t *testing.T) {
	tracer := queryTracer{make(chan string, 10)}
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			if id == "w0" {
				config.Tracer = tracer
			}
			return nil
		},
	}))
	w := m.Workspace("w0")
	for sql, run := range map[string]func(sql string) error{
		"SELECT 1": func(sql string) error { _, err := w.Exec(t.Context(), sql); return err },
		"SELECT 2": func(sql string) error { _, err := w.DB().ExecContext(t.Context(), sql); return err },
		"SELECT 3": func(sql string) error {
			return w.AcquireFunc(t.Context(), func(c *pools.Conn) error { _, err := c.Exec(t.Context(), sql); return err })
		},
		"SELECT 4": func(sql string) error { var n int; return w.QueryRow(t.Context(), sql).Scan(&n) },
	} {
		if err := run(sql); err != nil {
			t.Fatal(err)
		}
		if seen := <-tracer.seen; seen != sql {
			t.Errorf("%q was seen as %q", sql, seen)
		}
	}
}

func TestWhatBeforeConnectMayChange(t *testing.T) {
	statements(t, superuser(t), `DROP ROLE IF EXISTS another`, `CREATE ROLE another LOGIN PASSWORD 'another one'`)
	var dialed, looked atomic.Int64
	m := open(t, config(20), pools.WithInstance("here"), pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			if id == "" {
				return nil // it is asked for by its owner
			}
			config.RuntimeParams = map[string]string{"work_mem": "77MB", "application_name": "none", "client_encoding": "LATIN1"}
			config.User, config.Password = "another", "another one"
			config.DefaultQueryExecMode = pgx.QueryExecModeExec
			dial, lookUp := config.DialFunc, config.LookupFunc
			config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
				dialed.Add(1)
				return dial(ctx, network, address)
			}
			config.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
				looked.Add(1)
				return lookUp(ctx, host)
			}
			config.ValidateConnect = func(_ context.Context, pg *pgconn.PgConn) error {
				if pg.ParameterStatus("server_version") == "" {
					return errors.New("it says nothing")
				}
				return nil
			}
			return nil
		},
	}))
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	var memory, name, encoding, user string
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('work_mem'), current_setting('application_name'), current_setting('client_encoding'), session_user::text`).
		Scan(&memory, &name, &encoding, &user); err != nil {
		t.Fatal(err)
	}
	if memory != "77MB" || !strings.HasPrefix(name, "tenantpool here/") || encoding != "UTF8" || user != "another" {
		t.Error(memory, name, encoding, user)
	}
	if mode := conn.Conn().Config().DefaultQueryExecMode; mode != pgx.QueryExecModeExec {
		t.Error(mode)
	}
	if dialed.Load() != 1 || looked.Load() != 1 {
		t.Errorf("%d dials and %d look-ups went by the hook's functions", dialed.Load(), looked.Load())
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := conn.Exec(ctx, `SELECT pg_sleep(60)`); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if dialed.Load() < 2 {
		t.Error("the cancel request did not go by the hook's DialFunc")
	}
}

func TestAValidateConnectOfBeforeConnectIsAskedAfterOurs(t *testing.T) {
	refusal := errors.New("not this one")
	var asked atomic.Int64
	ofHook := pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			config.RuntimeParams = nil // which is nothing to stumble over
			if id == "" {
				config.ValidateConnect = func(context.Context, *pgconn.PgConn) error {
					asked.Add(1)
					return refusal
				}
			}
			return nil
		},
	})
	for attributes, theirs := range map[string]bool{"any": true, "primary": true, "standby": false} {
		asked.Store(0)
		cfg := config(20)
		cfg.TargetSessionAttrs, cfg.AcquireTimeout = attributes, failsSoon(t)
		if err := openOnly(t, cfg, ofHook); err == nil || errors.Is(err, refusal) != theirs {
			t.Errorf("%s: %v", attributes, err)
		}
		if n := asked.Load(); (n > 0) != theirs {
			t.Errorf("%s: it was asked %d times", attributes, n)
		}
	}
}

func TestAHooksErrorHasNoPasswordOfBeforeConnect(t *testing.T) {
	statements(t, superuser(t), `DROP ROLE IF EXISTS another`, `CREATE ROLE another LOGIN PASSWORD 'another one'`)
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			switch id {
			case "w0":
				config.User, config.Password = "another", "another one"
			case "w1":
				config.Password = "another one"
				return pools.Permanent(fmt.Errorf("no use for %s", config.Password))
			}
			return nil
		},
		AfterConnect: func(_ context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
			if id != "w0" {
				return nil
			}
			return pools.Permanent(fmt.Errorf("no use for %s", conn.Config().Password))
		},
	}))
	for _, id := range []model.WorkspaceID{"w0", "w1"} {
		err := m.Workspace(id).Ping(t.Context())
		if err == nil || strings.Contains(err.Error(), "another one") || !strings.Contains(err.Error(), "no use for [hidden]") {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestABeforeConnectThatLeavesTheWorkspaceIsRefused(t *testing.T) {
	for what, change := range map[string]func(*pgx.ConnConfig){
		`the Database from "test_ws_w0" to "test_ws_w1"`: func(c *pgx.ConnConfig) { c.Database = "test_ws_w1" },
		"the server":               func(c *pgx.ConnConfig) { c.Host = "elsewhere" },
		`to ` + server.Host + `:1`: func(c *pgx.ConnConfig) { c.Port = 1 },
	} {
		m := open(t, config(20), pools.WithHooks(pools.Hooks{
			BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
				if id != "" {
					change(config)
				}
				return nil
			},
		}))
		var dial *model.DialError
		if err := m.Workspace("w0").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.Permanent || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAfterConnectPreparesEachConnection(t *testing.T) {
	statements(t, open(t, config(20)).Workspace("w0").DB(), `DROP TYPE IF EXISTS pair CASCADE`, `CREATE TYPE pair AS (x int, y int)`)
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		AfterConnect: func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
			if id == "" {
				return nil
			}
			pair, err := conn.LoadType(ctx, "pair")
			if err == nil {
				conn.TypeMap().RegisterType(pair)
			}
			return err
		},
	}))
	var held []*pools.Conn
	for range 3 {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		var p struct{ X, Y int }
		if err := conn.QueryRow(t.Context(), `SELECT row(1, 2)::pair`).Scan(&p); err != nil || p.X != 1 || p.Y != 2 {
			t.Error(err, p)
		}
		conn.Release()
	}
}

func TestAHookThatFailsForNowIsTriedAgainWhileWaitersWait(t *testing.T) {
	var tries atomic.Int64
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		AfterConnect: func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
			switch {
			case id == "":
				return nil
			case tries.Add(1) < 3: // an error that the server itself means for good
				_, err := conn.Exec(ctx, `SELECT * FROM no_such_table`)
				return err
			}
			return nil
		},
	}))
	if err := m.Workspace("w0").Ping(t.Context()); err != nil || tries.Load() != 3 {
		t.Error(err, tries.Load())
	}
}

// failingHooks fail for w0 in one hook.
func failingHooks(hook string, fail func() error) pools.Hooks {
	failing := func(id model.WorkspaceID) error {
		if id == "w0" {
			return fail()
		}
		return nil
	}
	if hook == "BeforeConnect" {
		return pools.Hooks{BeforeConnect: func(_ context.Context, id model.WorkspaceID, _ *pgx.ConnConfig) error { return failing(id) }}
	}
	return pools.Hooks{AfterConnect: func(_ context.Context, id model.WorkspaceID, _ *pgx.Conn) error { return failing(id) }}
}

func TestWaitersAreToldOfAHookThatFailsForGood(t *testing.T) {
	for _, hook := range []string{"BeforeConnect", "AfterConnect"} {
		for name, fail := range map[string]func() error{
			"the error":    func() error { return pools.Permanent(errors.New("no key for " + server.Password)) },
			"within one":   func() error { return fmt.Errorf("no key: %w", pools.Permanent(errors.New(server.Password))) },
			"with a panic": func() error { panic(pools.Permanent(errors.New("no key for " + server.Password))) },
		} {
			m := open(t, config(20), pools.WithHooks(failingHooks(hook, fail)))
			err := m.Workspace("w0").Ping(t.Context())
			var dial *model.DialError
			if !errors.As(err, &dial) || dial.Kind != model.Permanent || dial.WorkspaceID != "w0" || !strings.Contains(err.Error(), "hook "+hook) || !strings.Contains(err.Error(), "no key") {
				t.Errorf("%s, %s: %v", hook, name, err)
			}
			if strings.Contains(err.Error()+m.log.String(), server.Password) {
				t.Errorf("%s, %s: the password is in %v or in the log", hook, name, err)
			}
			if err := m.Workspace("w1").Ping(t.Context()); err != nil {
				t.Errorf("%s, %s: another workspace: %v", hook, name, err)
			}
		}
	}
	if pools.Permanent(nil) != nil {
		t.Error("no error is one")
	}
}

func TestAPanicOfAHookCostsNoSlot(t *testing.T) {
	for _, hook := range []string{"BeforeConnect", "AfterConnect"} {
		for name, fail := range map[string]func(){
			"panics":             func() { panic("a bug") },
			"ends its goroutine": runtime.Goexit,
		} {
			var tries atomic.Int64
			m := open(t, config(20), pools.WithHooks(failingHooks(hook, func() error {
				if tries.Add(1) == 1 {
					fail()
				}
				return nil
			})))
			if err := m.Workspace("w0").Ping(t.Context()); err != nil || tries.Load() != 2 {
				t.Errorf("%s %s: %v after %d", hook, name, err, tries.Load())
			}
			if name == "panics" {
				m.log.line(t, "A hook panicked", hook, "TestAPanicOfAHookCostsNoSlot")
			}
			fillBudget(t, m, 20)
		}
	}
}

// Until it has, its connection is nobody else's, and its slot is not lent.
func TestTheSlotOfAHookThatDoesNotReturnIsTakenUntilItHas(t *testing.T) {
	for _, hook := range []string{"BeforeConnect", "AfterConnect"} {
		t.Run(hook, func(t *testing.T) {
			var calls atomic.Int64
			leave := make(chan struct{})
			hooks := failingHooks(hook, func() error {
				if calls.Add(1) == 1 {
					<-leave
				}
				return nil
			})
			hooks.Timeout = 10 * time.Millisecond
			m := open(t, config(20), pools.WithHooks(hooks))
			left := false
			defer func() {
				if !left {
					close(leave)
				}
			}()
			watch := superuser(t)
			if err := m.Workspace("w0").Ping(t.Context()); err != nil { // the second dial's
				t.Fatal(err)
			}
			m.log.line(t, "hook "+hook, "has not returned in time")
			eventually(t, "the server has let go of the connection under the hook", func() bool {
				return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE datname = 'test_ws_w0' AND usename = $1`, server.User) == 1
			})
			if closing := stats(t, m).Workspaces.Closing; closing != 1 {
				t.Errorf("%d connections are closing while the hook runs", closing)
			}
			close(leave)
			left = true
			eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Closing == 0 })
		})
	}
}

func TestAQueryOfAHookEndsWithItsTime(t *testing.T) {
	var tries atomic.Int64
	m := open(t, config(20), pools.WithHooks(pools.Hooks{
		Timeout: 50 * time.Millisecond,
		AfterConnect: func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
			if id == "" || tries.Add(1) > 1 {
				return nil
			}
			_, err := conn.Exec(ctx, `SELECT pg_sleep(60)`)
			return err
		},
	}))
	if err := m.Workspace("w0").Ping(t.Context()); err != nil || tries.Load() != 2 {
		t.Error(err, tries.Load())
	}
}

func TestAnAfterConnectThatLeavesTheConnectionUnusableHasFailed(t *testing.T) {
	for what, leave := range map[string]func(context.Context, *pgx.Conn) error{
		"closed":           func(ctx context.Context, conn *pgx.Conn) error { return conn.Close(ctx) },
		"in a transaction": func(ctx context.Context, conn *pgx.Conn) error { _, err := conn.Begin(ctx); return err },
	} {
		m := open(t, config(20), pools.WithHooks(pools.Hooks{
			AfterConnect: func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
				if id == "" {
					return nil
				}
				return leave(ctx, conn)
			},
		}))
		pools.SetAcquireTimeout(m.Manager, time.Second)
		if err := m.Workspace("w0").Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "it left the connection closed") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestANegativeTimeoutOfHooksIsRefused(t *testing.T) {
	m, err := pools.Open(t.Context(), config(20), pools.WithHooks(pools.Hooks{Timeout: -1}))
	if err == nil {
		closeManager(t, m)
	}
	if err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Error(err)
	}
}
