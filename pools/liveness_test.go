//go:build unix

package pools_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// idle leaves n connections of the workspace unused, and returns their processes. What
// prepare does runs on each.
func idle(t *testing.T, w *pools.Workspace, n int, prepare ...string) (pids []int) {
	t.Helper()
	var held []*pools.Conn
	for range n {
		conn, err := w.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range prepare {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		held = append(held, conn)
		pids = append(pids, int(conn.Conn().PgConn().PID()))
	}
	release(held)
	return pids
}

// lieIdle lets so much time pass that a connection unused since before is looked at.
func lieIdle() { <-time.After(2 * pools.LookAfter) }

func gone(t *testing.T, admin *sql.DB, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, "the server ends its process", func() bool { return backendCount(t, admin, pid) == 0 })
	}
	lieIdle()
}

func terminate(t *testing.T, admin *sql.DB, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		statements(t, admin, fmt.Sprintf(`SELECT pg_terminate_backend(%d)`, pid))
	}
	gone(t, admin, pids...)
}

func TestAConnectionThatTheServerEndedWhileItWasIdleIsNotLent(t *testing.T) {
	const each = 3
	ends := map[string]func(t *testing.T, admin *sql.DB, m *manager, w *pools.Workspace){
		"terminated": func(t *testing.T, admin *sql.DB, _ *manager, w *pools.Workspace) {
			terminate(t, admin, idle(t, w, each)...)
		},
		"its idle time is over": func(t *testing.T, admin *sql.DB, _ *manager, w *pools.Workspace) {
			gone(t, admin, idle(t, w, each, `SET idle_session_timeout = '50ms'`)...)
		},
		"known to the supervisor as idle": func(t *testing.T, admin *sql.DB, m *manager, w *pools.Workspace) {
			pids := idle(t, w, each)
			stats(t, m) // no seat holds them any more
			terminate(t, admin, pids...)
		},
	}
	uses := map[string]func(m *manager, w *pools.Workspace) error{
		"Exec": func(_ *manager, w *pools.Workspace) error {
			_, err := w.Exec(context.Background(), `SELECT 1`)
			return err
		},
		"DB": func(_ *manager, w *pools.Workspace) error {
			_, err := w.DB().ExecContext(context.Background(), `SELECT 1`)
			return err
		},
		"Manager.Query": func(m *manager, w *pools.Workspace) error {
			_, err := m.Query(context.Background(), model.Query{Workspace: w.ID(), SQL: `SELECT 1`})
			return err
		},
	}
	admin := superuser(t)
	for _, ssl := range []string{"disable", "require"} {
		if ssl == "require" {
			speakTLS(t, admin)
		}
		cfg := config(20)
		cfg.SSLMode = ssl
		m := open(t, cfg)
		for how, end := range ends {
			for name, use := range uses {
				end(t, admin, m, m.Workspace("w0"))
				errs := make(chan error, each)
				for range each { // in the same millisecond
					go func() { errs <- use(m, m.Workspace("w0")) }()
				}
				for range each {
					if err := <-errs; err != nil {
						t.Errorf("sslmode %s, %s, %s: %v", ssl, how, name, err)
					}
				}
			}
		}
		terminate(t, admin, idle(t, m.System(), each)...)
		if err := m.System().Ping(t.Context()); err != nil {
			t.Errorf("sslmode %s, the system database: %v", ssl, err)
		}
	}
}

func TestADeathThatWasSeenCastsNoDoubtOnOthers(t *testing.T) {
	m := open(t, config(20))
	admin := superuser(t)
	others := idle(t, m.Workspace("w1"), 3)
	terminate(t, admin, idle(t, m.Workspace("w0"), 1)...)
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := lastQuery(t, admin, others[0])
	for range others {
		conn, err := m.Acquire(t.Context(), "w1")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	if again := lastQuery(t, admin, others[0]); again != asked {
		t.Error("another connection was tested")
	}
	if n := stats(t, m).Workspaces.Counters.Closes[model.NotReusable]; n != 1 {
		t.Errorf("%d connections were closed", n)
	}
}

// lastQuery is when the process began its last query.
func lastQuery(t *testing.T, admin *sql.DB, pid int) (began time.Time) {
	t.Helper()
	if err := admin.QueryRow(`SELECT query_start FROM pg_stat_activity WHERE pid = $1`, pid).Scan(&began); err != nil {
		t.Fatal(err)
	}
	return began
}

func TestAfterARestartNoRequestIsGivenAConnectionThatWasIdle(t *testing.T) {
	for _, mode := range []localpg.Mode{localpg.Fast, localpg.Immediate, localpg.Kill} {
		t.Run(mode.String(), func(t *testing.T) {
			const workspaces, each = 5, 3
			m := open(t, config(20))
			for i := range workspaces {
				idle(t, m.Workspace(workspaceID(i)), each)
			}
			lieIdle()
			restart(t, mode)
			errs := make(chan error, workspaces*each)
			for i := range workspaces * each {
				go func() { errs <- m.Workspace(workspaceID(i % workspaces)).Ping(context.Background()) }()
			}
			for range workspaces * each {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			fillBudget(t, m, workspaces)
		})
	}
}

func TestAConnectionThatAProxyEndedWhileItWasIdleIsNotLent(t *testing.T) {
	for name, hard := range map[string]bool{"end of file": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t)
			cfg := config(20)
			cfg.Host, cfg.Port = "127.0.0.1", p.port()
			m := open(t, cfg)
			conn, err := m.Acquire(t.Context(), "w0")
			if err != nil {
				t.Fatal(err)
			}
			pair := p.find(t, conn)
			conn.Release()
			if hard {
				pair.reset()
			}
			_, _ = pair.client.Close(), pair.server.Close()
			lieIdle()
			if err := m.Workspace("w0").Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestANotificationToAnIdleConnectionIsKeptForItsNextHolder(t *testing.T) {
	m := open(t, config(20))
	listener, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Exec(t.Context(), `LISTEN news`); err != nil {
		t.Fatal(err)
	}
	sender, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Release()
	pid := listener.Conn().PgConn().PID()
	for range 3 {
		listener.Release()
		if _, err := sender.Exec(t.Context(), `NOTIFY news, 'first'; NOTIFY news, 'second'`); err != nil {
			t.Fatal(err)
		}
		lieIdle()
		if listener, err = m.Acquire(t.Context(), "w0"); err != nil {
			t.Fatal(err)
		}
		if listener.Conn().PgConn().PID() != pid {
			t.Fatal("it was taken for dead")
		}
		for _, want := range []string{"first", "second"} {
			got, err := listener.Conn().WaitForNotification(t.Context())
			if err != nil || got.Payload != want {
				t.Errorf("%v, %v; want %s", got, err, want)
			}
		}
	}
	listener.Release()
}

// The proxy says on the server's behalf what the server might.
func TestOnlyAnEndIsTheEndOfAnIdleConnection(t *testing.T) {
	news := encoded(t, &pgproto3.NotificationResponse{Channel: "news", Payload: "hello"})
	parameter := encoded(t, &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"})
	notice := encoded(t, &pgproto3.NoticeResponse{Severity: "WARNING", Code: "01000", Message: "careful"})
	fatal := encoded(t, &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P05", Message: "your time is over"})
	mistake := encoded(t, &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "XX000", Message: "nobody asked"})
	p := startProxy(t)
	cfg := config(20)
	cfg.Host, cfg.Port = "127.0.0.1", p.port()
	m := open(t, cfg)
	for name, test := range map[string]struct {
		said []byte
		dies bool
		rest []byte // is said to the next holder
	}{
		"nothing":                     {nil, false, news},
		"a notification":              {news, false, nil},
		"a parameter":                 {parameter, false, news},
		"a notice":                    {notice, false, news},
		"all of them":                 {slices.Concat(parameter, notice, news), false, nil},
		"a part of a header":          {news[:3], false, news[3:]},
		"a part of a body":            {slices.Concat(notice, news[:11]), false, news[11:]},
		"a fatal error":               {fatal, true, nil},
		"a fatal error at last":       {slices.Concat(news, parameter, fatal), true, nil},
		"an error without a question": {mistake, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := m.Acquire(t.Context(), "w0")
			if err != nil {
				t.Fatal(err)
			}
			pid, pair := conn.Conn().PgConn().PID(), p.find(t, conn)
			conn.Release()
			if _, err := pair.client.Write(test.said); err != nil {
				t.Fatal(err)
			}
			lieIdle()
			if conn, err = m.Acquire(t.Context(), "w0"); err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			if died := conn.Conn().PgConn().PID() != pid; died != test.dies {
				t.Fatalf("it was taken for dead: %t", died)
			}
			if test.dies {
				return
			}
			if _, err := pair.client.Write(test.rest); err != nil {
				t.Fatal(err)
			}
			got, err := conn.Conn().WaitForNotification(t.Context())
			if err != nil || got.Payload != "hello" {
				t.Errorf("%v, %v", got, err)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func encoded(t *testing.T, m pgproto3.Message) []byte {
	t.Helper()
	text, err := m.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
