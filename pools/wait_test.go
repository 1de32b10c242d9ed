package pools_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// counted leads to the server through a proxy, which counts connections: those that
// are no dials of the manager's are cancel requests.
func counted(t *testing.T, cfg model.Config) (model.Config, *atomic.Int64) {
	t.Helper()
	connections := &atomic.Int64{}
	to := net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port))
	proxy := listen(t, func(client net.Conn) {
		connections.Add(1)
		server, err := net.Dial("tcp", to)
		if err == nil {
			relay(client, server)
		}
	})
	cfg.Host, cfg.Port = proxy.IP.String(), proxy.Port
	return cfg, connections
}

func cancelRequests(t *testing.T, m *manager, connections *atomic.Int64) int {
	t.Helper()
	st := stats(t, m)
	return int(connections.Load()) - int(st.Workspaces.Counters.Dials) - int(st.System.Counters.Dials)
}

// A wait for the server's next message runs no query: when its context ends there is
// nothing to cancel, and the connection serves on.
func TestAWaitWithoutAQueryEndsWithItsContextAndKeepsItsConnection(t *testing.T) {
	for _, mode := range []string{"disable", "require"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "require" {
				speakTLS(t, superuser(t))
			}
			cfg := config(20)
			cfg.SSLMode = mode
			cfg, connections := counted(t, cfg)
			m := open(t, cfg)
			conn, err := m.Acquire(t.Context(), "w20")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			dirty(t, conn, `LISTEN waited`)
			for what, wait := range map[string]func(context.Context) error{
				"WaitForNotification": func(ctx context.Context) error {
					_, err := conn.Conn().WaitForNotification(ctx)
					return err
				},
				"ReceiveMessage": func(ctx context.Context) error {
					_, err := conn.Conn().PgConn().ReceiveMessage(ctx)
					return err
				},
			} {
				ctx, stop := context.WithTimeout(t.Context(), 5*time.Millisecond)
				if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", what, err)
				}
				stop()
				ctx, stop = context.WithCancel(t.Context())
				time.AfterFunc(time.Millisecond, stop)
				if err := wait(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := m.Workspace("w20").Exec(t.Context(), `NOTIFY waited, 'hello'`); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Conn().WaitForNotification(t.Context()); err != nil || n.Payload != "hello" {
				t.Fatalf("%+v, %v", n, err)
			}
			dirty(t, conn, `UNLISTEN *`)
			conn.Release()
			if st := stats(t, m).Workspaces; st.Idle != 2 { // it, and that of the NOTIFY
				t.Errorf("the connection was thrown away: %+v", st.Counts)
			}
			if n := cancelRequests(t, m, connections); n != 0 {
				t.Errorf("%d cancel requests for nothing", n)
			}
		})
	}
}

// The server has sent it all, and runs nothing that could be cancelled.
func TestRowsThatHaveArrivedAreReadAfterTheirContextEnded(t *testing.T) {
	cfg, connections := counted(t, config(20))
	m := open(t, cfg)
	conn, err := m.Acquire(t.Context(), "w20")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rows, err := conn.Query(ctx, `SELECT generate_series(1, 3)`)
	if err != nil || !rows.Next() {
		t.Fatal(err, rows.Err())
	}
	stop()
	read, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil || len(read) != 2 {
		t.Errorf("%v, %v", read, err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if n := cancelRequests(t, m, connections); n != 0 {
		t.Errorf("%d cancel requests for nothing", n)
	}
}

// What runs is cancelled as ever, also after a wait that was woken.
func TestAQueryAfterAWaitIsCancelledByItsContext(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	conn, err := m.Acquire(t.Context(), "w20")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for range 3 {
		waiting, stop := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := conn.Conn().WaitForNotification(waiting); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		stop()
		if _, err := cancelWhileItSleeps(t, watch, conn, `SELECT pg_sleep(60)`); !errors.Is(err, context.Canceled) || conn.Conn().IsClosed() {
			t.Errorf("%v; closed %v", err, conn.Conn().IsClosed())
		}
	}
}

// BenchmarkSelect1 shows what following the answers costs a query.
func BenchmarkSelect1(b *testing.B) {
	m := openForBenchmark(b)
	conn, err := m.Acquire(b.Context(), "w20")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	for name, sql := range map[string]string{"1 row": `SELECT 1`, "10000 rows": `SELECT generate_series(1, 10000)`} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				rows, err := conn.Query(b.Context(), sql)
				if err != nil {
					b.Fatal(err)
				}
				for rows.Next() {
				}
				if rows.Err() != nil {
					b.Fatal(rows.Err())
				}
			}
		})
	}
}
