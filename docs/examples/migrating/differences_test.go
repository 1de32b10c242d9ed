package migrating_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// managedShop is a shop of a program with a ConnectionManager.
type managedShop struct{ ConnectionManager }

func (s managedShop) Order(ctx context.Context, tenant, item string) error {
	db, err := s.GetWorkspaceConnection(ctx, tenant)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO orders (item) VALUES ($1)`, item)
	return err
}

func (s managedShop) Items(ctx context.Context, tenant string) ([]string, error) {
	db, err := s.GetWorkspaceConnection(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return items(ctx, db)
}

func (s managedShop) Close(context.Context) error { return s.ConnectionManager.Close() }

func newHandWritten(t *testing.T) *HandWritten {
	t.Helper()
	system, err := sql.Open("pgx", connStringOf(throwaway.Server.Database))
	if err != nil {
		t.Fatal(err)
	}
	return &HandWritten{connString: connString, system: system, max: 5, workspaces: map[string]*sql.DB{}, lastUsed: map[string]time.Time{}}
}

// pgBouncer starts one in transaction mode and returns its address.
func pgBouncer(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(program); err != nil {
			t.Skip("PgBouncer is not installed")
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	folder := t.TempDir()
	ini := filepath.Join(folder, "pgbouncer.ini")
	s := throwaway.Server
	err = os.WriteFile(ini, fmt.Appendf(nil, `[databases]
* = host=%s port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_user_connections = 20
`, s.Host, s.Port, s.User, s.Password, port), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{ini}
	if os.Geteuid() == 0 { // it refuses to be root
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command(program, args...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address := fmt.Sprint("127.0.0.1:", port)
	throwaway.Eventually(t, "PgBouncer listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

// sqlState is that of the server's error in err, or "".
func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// The server has 57 connections for us. The map's next one is refused; the manager's next
// one waits, and then is told why.
func TestABudgetThatIsFull(t *testing.T) {
	ctx := context.Background()
	tenants := []string{tenant(t, "full-0"), tenant(t, "full-1"), tenant(t, "full-2"), tenant(t, "full-3")}

	manager := open(t, func(cfg *model.Config) { cfg.MaxConnectionsPerDB = 10 })
	for i := range 20 {
		conn, err := manager.Acquire(ctx, model.WorkspaceID(tenants[i%4]))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	soon, stop := context.WithTimeout(ctx, time.Second/2)
	defer stop()
	_, err := manager.Acquire(soon, model.WorkspaceID(tenants[0]))
	var limit *model.ConnectionLimitError
	if !errors.As(err, &limit) || limit.Limit != model.BudgetLimit || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}

	others, err := pgxpool.New(ctx, connStringOf(throwaway.Server.Database)+" pool_max_conns=30")
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	before := newPoolShop()
	defer before.Close(ctx)
	for i := 0; i < 42; i++ {
		pool := others
		if i >= 30 {
			if pool, err = before.pool(ctx, tenants[i%4]); err != nil {
				t.Fatal(err)
			}
		}
		var conn *pgxpool.Conn
		if conn, err = pool.Acquire(ctx); err != nil {
			break
		}
		defer conn.Release()
	}
	if sqlState(err) != pgerrcode.TooManyConnections {
		t.Error(err)
	}
}

func TestADatabaseThatIsMissing(t *testing.T) {
	ctx := context.Background()
	before, after := newPoolShop(), &ManagerShop{open(t)}
	defer before.Close(ctx)
	if err := before.Order(ctx, "missing", "tea"); sqlState(err) != pgerrcode.InvalidCatalogName {
		t.Error(err)
	}
	err := after.Order(ctx, "missing", "tea")
	var dial *model.DialError
	if sqlState(err) != pgerrcode.InvalidCatalogName || !errors.Is(err, model.ErrNoWorkspace) || !errors.As(err, &dial) || dial.Attempts != 0 {
		t.Error(err)
	}
	if err := after.Order(ctx, "no/tenant", "tea"); !errors.As(err, new(*model.WorkspaceIDError)) {
		t.Error(err)
	}
	hand, adapter := newHandWritten(t), Adapter{open(t)}
	defer hand.Close()
	if _, err := hand.GetWorkspaceConnection(ctx, "missing"); sqlState(err) != pgerrcode.InvalidCatalogName {
		t.Error(err)
	}
	db, err := adapter.GetWorkspaceConnection(ctx, "missing")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(ctx); !errors.Is(err, model.ErrNoWorkspace) {
		t.Error(err)
	}
	if err := adapter.CloseWorkspaceConnection("missing"); err != nil {
		t.Error(err)
	}
}

func TestAfterClose(t *testing.T) {
	ctx := context.Background()
	shops := []shop{newPoolShop(), &ManagerShop{open(t)}, &SQLManagerShop{open(t)}}
	name := tenant(t, "closed")
	for i, s := range shops {
		if err := s.Order(ctx, name, "tea"); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Order(ctx, name, "tea"); err == nil || errors.Is(err, model.ErrClosed) != (i > 0) {
			t.Errorf("%T: %v", s, err)
		}
	}
}

// A setting, and a prepared statement, stay with the connection, as in a pgxpool; in a
// cap of one the next lease has it.
func TestASessionStaysWithItsTenant(t *testing.T) {
	ctx := context.Background()
	manager := open(t, func(cfg *model.Config) { cfg.MaxConnectionsPerDB = 1 })
	w := manager.Workspace(model.WorkspaceID(tenant(t, "session")))
	err := w.AcquireFunc(ctx, func(conn *pools.Conn) error {
		_, prepared := conn.Conn().Prepare(ctx, "twice", `SELECT 2 * $1::int`)
		_, set := conn.Exec(ctx, `SET app.customer = 'ann'`)
		return errors.Join(prepared, set)
	})
	if err != nil {
		t.Fatal(err)
	}
	var user string
	var four int
	err = errors.Join(w.QueryRow(ctx, `SHOW app.customer`).Scan(&user), w.QueryRow(ctx, `twice`, 2).Scan(&four))
	if err != nil || user != "ann" || four != 4 {
		t.Error(user, four, err)
	}
	var other *string
	err = manager.Workspace(model.WorkspaceID(tenant(t, "session-other"))).QueryRow(ctx, `SELECT current_setting('app.customer', true)`).Scan(&other)
	if err != nil || other != nil {
		t.Error(other, err)
	}
}

// Whoever asks for a second connection while it holds one can have it only if the cap
// has it, as with MaxConns and SetMaxOpenConns.
func TestASecondConnectionInOneRequest(t *testing.T) {
	ctx := context.Background()
	manager := open(t, func(cfg *model.Config) { cfg.MaxConnectionsPerDB = 1 })
	w := manager.Workspace(model.WorkspaceID(tenant(t, "second")))
	rows, err := w.Query(ctx, `SELECT generate_series(1, 3)`)
	if err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	err = w.Ping(soon)
	var limit *model.ConnectionLimitError
	if !errors.As(err, &limit) || limit.Limit != model.WorkspaceLimit {
		t.Error(err)
	}
	rows.Close()
	if err := w.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// Who holds the *sql.DB of the hand-written manager loses it when it is closed; of the
// adapter only idle connections are.
func TestToCloseAWorkspaceConnection(t *testing.T) {
	ctx := context.Background()
	name := tenant(t, "close-one")
	hand, adapter := newHandWritten(t), Adapter{open(t)}
	defer hand.Close()
	for _, m := range []ConnectionManager{hand, adapter} {
		db, err := m.GetWorkspaceConnection(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.PingContext(ctx); err != nil {
			t.Fatal(err)
		}
		if n := m.GetStats().WorkspaceConnections[name]; n != 1 {
			t.Errorf("%T: %d connections", m, n)
		}
		if err := m.CloseWorkspaceConnection(name); err != nil {
			t.Error(err)
		}
		if n := m.GetStats().WorkspaceConnections[name]; n != 0 {
			t.Errorf("%T: %d connections after it was closed", m, n)
		}
		if err := db.PingContext(ctx); (err == nil) != (m == ConnectionManager(adapter)) {
			t.Errorf("%T: %v", m, err)
		}
		if err := m.GetSystemConnection().PingContext(ctx); err != nil {
			t.Error(err)
		}
	}
}

// In PgBouncer's transaction mode a session is not the client's: nobody hears a
// notification, and a setting is left to whoever comes next.
func TestASessionBehindPgBouncer(t *testing.T) {
	ctx := context.Background()
	name := tenant(t, "bounced")
	address := pgBouncer(t)
	before, after := BouncedShop(address), &ManagerShop{open(t)}
	defer before.Close(ctx)
	pool, err := before.pool(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	bounced, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer bounced.Release()
	own, err := after.pool(name).Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Release()
	for _, conn := range []*pgx.Conn{bounced.Conn(), own.Conn()} {
		if _, err := conn.Exec(ctx, `LISTEN orders`); err != nil {
			t.Fatal(err)
		}
	}
	execIn(t, "shop_"+name, `NOTIFY orders, 'tea'`)
	heard, err := own.Conn().WaitForNotification(ctx)
	if err != nil || heard.Payload != "tea" {
		t.Error(heard, err)
	}
	soon, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	if heard, err := bounced.Conn().WaitForNotification(soon); err == nil {
		t.Errorf("through PgBouncer: %v", heard)
	}

	if err := before.Order(ctx, name, "salt"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `SET app.customer = 'ann'`); err != nil {
		t.Fatal(err)
	}
	stranger := BouncedShop(address)
	defer stranger.Close(ctx)
	if pool, err = stranger.pool(ctx, name); err != nil {
		t.Fatal(err)
	}
	var customer string
	if err := pool.QueryRow(ctx, `SHOW app.customer`).Scan(&customer); err != nil || customer != "ann" {
		t.Errorf("%q, %v", customer, err)
	}
}

// Code of lib/pq that goes on, and code that does not.
func TestCodeOfLibPq(t *testing.T) {
	ctx := context.Background()
	shop := &SQLManagerShop{open(t)}
	name := tenant(t, "pq")
	if err := shop.Order(ctx, name, "tea"); err != nil {
		t.Fatal(err)
	}
	db := shop.db(name)
	for _, drinks := range []any{pq.Array([]string{"tea", "coffee"}), []string{"tea", "coffee"}} {
		var n int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM orders WHERE item = ANY($1)`, drinks).Scan(&n); err != nil || n != 1 {
			t.Errorf("%T: %d, %v", drinks, n, err)
		}
	}
	var items []string
	if err := db.QueryRowContext(ctx, `SELECT array_agg(item) FROM orders`).Scan(pq.Array(&items)); err != nil || len(items) != 1 {
		t.Error(items, err)
	}
	_, err := db.ExecContext(ctx, `INSERT INTO orders (item) VALUES (NULL)`)
	if errors.As(err, new(*pq.Error)) || sqlState(err) != pgerrcode.NotNullViolation {
		t.Error(err)
	}
}

// What is set on a *sql.DB of the Manager does not hold a connection of its workspace.
func TestSettingsOfADB(t *testing.T) {
	ctx := context.Background()
	shop := &SQLManagerShop{open(t)}
	name := tenant(t, "settings")
	shop.db(name).SetMaxIdleConns(3)
	if err := shop.Order(ctx, name, "tea"); err != nil {
		t.Fatal(err)
	}
	throwaway.NothingLent(t, shop.manager)
	if n, err := shop.manager.Evict(ctx, model.WorkspaceID(name)); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// A transaction that is left open does not reach the next holder: as with a pgxpool, the
// connection is closed.
func TestATransactionThatIsLeftOpen(t *testing.T) {
	ctx := context.Background()
	w := open(t, func(cfg *model.Config) { cfg.MaxConnectionsPerDB = 1 }).Workspace(model.WorkspaceID(tenant(t, "left")))
	err := w.AcquireFunc(ctx, func(conn *pools.Conn) error {
		_, err := conn.Exec(ctx, `BEGIN; INSERT INTO orders (item) VALUES ('tea')`)
		return err
	})
	var n int
	if err := errors.Join(err, w.QueryRow(ctx, `SELECT count(*) FROM orders`).Scan(&n)); err != nil || n != 0 {
		t.Error(n, err)
	}
}

// A context that ends a query ends the connection in a pgxpool, and here does not.
func TestAQueryThatIsCancelled(t *testing.T) {
	ctx := context.Background()
	name := tenant(t, "cancelled")
	before, after := newPoolShop(), &ManagerShop{open(t)}
	defer before.Close(ctx)
	pool, err := before.pool(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	old, err := pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	own, err := after.pool(name).Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Release()
	for _, conn := range []*pgx.Conn{old.Conn(), own.Conn()} {
		soon, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		defer stop()
		if _, err := conn.Exec(soon, `SELECT pg_sleep(60)`); err == nil {
			t.Error("it slept")
		}
		if conn.IsClosed() != (conn == old.Conn()) {
			t.Errorf("closed: %v", conn.IsClosed())
		}
	}
}
