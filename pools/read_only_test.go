package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// setReadOnly makes the server refuse writes, or not, in all sessions at once. It
// returns when new ones begin so.
func setReadOnly(t *testing.T, s *localpg.Server, on bool) {
	t.Helper()
	admin, err := sql.Open("pgx", s.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	admin.SetMaxIdleConns(-1)
	setting := map[bool]string{true: "on", false: "off"}[on]
	statements(t, admin, `ALTER SYSTEM SET default_transaction_read_only = `+setting, `SELECT pg_reload_conf()`)
	eventually(t, "sessions begin read-only: "+setting, func() bool {
		var now string
		return admin.QueryRow(`SHOW default_transaction_read_only`).Scan(&now) == nil && now == setting
	})
}

func isReadOnly(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "25006"
}

// write makes a table of that number, and leaves nothing behind.
func write(ctx context.Context, w *pools.Workspace, number int) error {
	_, err := w.Exec(ctx, fmt.Sprintf(`CREATE TABLE written_%[1]d (); DROP TABLE written_%[1]d`, number), pgx.QueryExecModeSimpleProtocol)
	return err
}

func TestAConnectionWhoseServerHasBecomeReadOnlyIsNotLentAgain(t *testing.T) {
	pools.ReadOnlyStays(t, time.Hour)
	m := open(t, config(20))
	w := m.Workspace("w0")
	old := map[int]bool{}
	for _, pid := range idle(t, w, 3) {
		old[pid] = true
	}
	setReadOnly(t, server, true)
	t.Cleanup(func() { setReadOnly(t, server, false) })
	eventually(t, "a write is refused", func() bool { return isReadOnly(write(t.Context(), w, 0)) })
	stats(t, m) // the supervisor knows of it
	var held []*pools.Conn
	for range 3 { // the others were not refused anything
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		if old[int(conn.Conn().PgConn().PID())] {
			t.Error("an old one was lent")
		}
		held = append(held, conn)
	}
	release(held)
	dials := stats(t, m).Workspaces.Counters.Dials
	for range 10 {
		if err := write(t.Context(), w, 0); !isReadOnly(err) {
			t.Fatal(err)
		}
	}
	if n := stats(t, m).Workspaces.Counters.Dials - dials; n != 0 {
		t.Errorf("the server stays read-only, and for ten writes there were %d dials", n)
	}
	pools.ReadOnlyStays(t, 0)
	if err := write(t.Context(), w, 0); !isReadOnly(err) { // a dial might find another server now
		t.Fatal(err)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is given up after a while", func() bool {
		return stats(t, m).Workspaces.Counters.Closes[model.NotReusable] == 4
	})
}

func TestARefusedWriteInAReadOnlyTransactionCostsNoConnection(t *testing.T) {
	pools.ReadOnlyStays(t, 0)
	m := open(t, config(20))
	const statement = `CREATE TABLE never ()`
	for range 3 {
		tx, err := m.Workspace("w0").BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), statement); !isReadOnly(err) {
			t.Error(err)
		}
		_ = tx.Rollback(t.Context())
		if _, err := m.Workspace("w0").Exec(t.Context(), `BEGIN READ ONLY; `+statement, pgx.QueryExecModeSimpleProtocol); !isReadOnly(err) {
			t.Error(err)
		}
		var refused *model.SQLError
		if _, err := m.Query(t.Context(), model.Query{Workspace: "w0", SQL: statement, ReadOnly: true}); !errors.As(err, &refused) || refused.Code != "25006" {
			t.Error(err)
		}
	}
	c := stats(t, m).Workspaces.Counters
	if c.Dials-c.Closes[model.NotReusable] != 1 || c.Closes[model.NotReusable] > 3 { // BEGIN left a transaction
		t.Errorf("%+v", c)
	}
}

// The primary and its successor take turns; nobody closes a connection.
func TestWritesFollowTheServerThatTakesThem(t *testing.T) {
	other, err := localpg.Start(t.Context(), localpg.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Stop() })
	if err := other.CreateDatabases(t.Context(), databaseNames(2)...); err != nil {
		t.Fatal(err)
	}
	shareRole(t, other)
	setReadOnly(t, other, true)
	cfg := config(20)
	cfg.Host = fmt.Sprintf("%s:%d,%s", other.Host, other.Port, server.Host)
	cfg.TargetSessionAttrs = "read-write"
	m := open(t, cfg)

	const workers, most = 4, 2 * 3 // two workspaces, at their caps
	var succeeded, refused, failed atomic.Int64
	var failure atomic.Value
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for worker := range workers {
		w := m.Workspace(workspaceID(worker % 2))
		wg.Go(func() {
			for ctx.Err() == nil {
				switch err := write(context.Background(), w, worker); {
				case err == nil:
					succeeded.Add(1)
				case isReadOnly(err):
					refused.Add(1)
				default:
					failed.Add(1)
					failure.Store(err.Error())
				}
			}
		})
	}
	for _, turn := range []struct{ from, to *localpg.Server }{{server, other}, {other, server}} {
		before := succeeded.Load()
		eventually(t, "writes succeed", func() bool { return succeeded.Load() > before+50 })
		setReadOnly(t, turn.from, true)
		setReadOnly(t, turn.to, false)
		before = succeeded.Load()
		eventually(t, "writes succeed on the other server", func() bool { return succeeded.Load() > before+50 })
		var port int
		if err := m.Workspace("w0").QueryRow(t.Context(), `SELECT inet_server_port()`).Scan(&port); err != nil || port != turn.to.Port {
			t.Errorf("connected to port %d, the other server has %d: %v", port, turn.to.Port, err)
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d writes succeeded, %d were refused", succeeded.Load(), refused.Load())
	if n := refused.Load(); n > 2*most { // each connection at most once, in each turn
		t.Errorf("%d writes were refused, on %d connections", n, most)
	}
	if failed.Load() > 0 {
		t.Errorf("%d writes failed, one with: %v", failed.Load(), failure.Load())
	}
}

// shareRole lets the server know the application's role of the tests' own.
func shareRole(t *testing.T, s *localpg.Server) {
	t.Helper()
	admin, err := sql.Open("pgx", s.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	statements(t, admin, fmt.Sprintf(`ALTER ROLE %s PASSWORD '%s'`, pgx.Identifier{server.User}.Sanitize(), server.Password))
}

func TestOfSeveralHostsTheOneThatFitsIsTaken(t *testing.T) {
	dead := closedPort(t)
	silent := listen(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<20)); <-t.Context().Done() })
	for _, hosts := range []string{
		fmt.Sprintf("127.0.0.1:%d,%s", dead, server.Host),
		fmt.Sprintf("%s,127.0.0.1:%d", server.Host, dead),
	} {
		for _, attrs := range []string{"", "any", "read-write", "primary", "prefer-standby"} {
			cfg := config(20)
			cfg.Host, cfg.TargetSessionAttrs = hosts, attrs
			if err := openOnly(t, cfg); err != nil {
				t.Errorf("%s of %s: %v", attrs, hosts, err)
			}
		}
	}
	cfg := config(20)
	cfg.Host, cfg.DialTimeout = fmt.Sprintf("%s,%s", silent, server.Host), 2*time.Second
	if err := openOnly(t, cfg); err != nil {
		t.Errorf("after a silent one: %v", err)
	}
	for _, attrs := range []string{"read-only", "standby"} {
		cfg := config(20)
		cfg.TargetSessionAttrs, cfg.AcquireTimeout = attrs, failsSoon(t)
		if err := openOnly(t, cfg); err == nil || !strings.Contains(err.Error(), "DB_TARGET_SESSION_ATTRS") {
			t.Errorf("%s: %v", attrs, err)
		}
	}
}

func closedPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	n, _ := strconv.Atoi(port)
	return n
}
