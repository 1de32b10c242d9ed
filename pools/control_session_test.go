package pools_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// All connections must be to the server that divides the budget.
func TestAConnectionToAnotherServerThanTheControlSessionsIsRefused(t *testing.T) {
	here := server
	grant(t, 40)
	statements(t, superuser(t), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pgx.Identifier{server.User}.Sanitize(), here.Password))
	t.Cleanup(func() {
		server = strict.Server // until grant's own cleanup
		statements(t, superuser(t), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pgx.Identifier{strict.User}.Sanitize(), strict.Password))
	})
	elsewhere := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
	server = here
	p := startProxy(t)
	cfg := config(30)
	cfg.Host, cfg.Port, cfg.AcquireTimeout = "127.0.0.1", p.port(), time.Second/2
	m := open(t, cfg, pools.WithSharedBudget(newGroup(t)))
	right := *p.to.Load()
	p.to.Store(&elsewhere)
	_, err := m.Workspace("w0").Exec(t.Context(), "SELECT 1")
	var dial *model.DialError
	if !errors.As(err, &dial) || !contains(err, "not the server of the control session") {
		t.Errorf("%v", err)
	}
	p.to.Store(&right)
	eventually(t, "it is the right one again", func() bool {
		_, err := m.Workspace("w0").Exec(t.Context(), "SELECT 1")
		return err == nil
	})
}

// A pooler between has the process's id of another session, or of none.
func TestASharedBudgetThroughAPoolerIsRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	to := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			go forward(behind, client)
			go func() {
				defer func() { _, _ = client.Close(), behind.Close() }()
				buf := make([]byte, 64<<10)
				for {
					n, err := behind.Read(buf)
					if at := bytes.Index(buf[:n], []byte{'K', 0, 0, 0, 12}); at >= 0 && at+9 <= n {
						buf[at+5] ^= 0x40 // another process id
					}
					if _, failed := client.Write(buf[:n]); err != nil || failed != nil {
						return
					}
				}
			}()
		}
	}()
	cfg := config(30)
	cfg.Host, cfg.Port, cfg.SSLMode = "127.0.0.1", listener.Addr().(*net.TCPAddr).Port, "disable"
	_, err = pools.Open(t.Context(), cfg, pools.WithSharedBudget(newGroup(t)), pools.WithLogger(nil))
	var dial *model.DialError
	if !errors.As(err, &dial) || dial.Kind != model.Permanent || !contains(err, "there is a pooler between") {
		t.Errorf("%v", err)
	}
	open(t, cfg) // with a budget of its own nobody asks
}

func TestTheControlSessionHasEndedWhenCloseReturns(t *testing.T) {
	watch := grant(t, 40)
	for range times(20, 200) {
		m, err := pools.Open(t.Context(), config(30), pools.WithSharedBudget("ends"), pools.WithLogger(nil))
		if err != nil {
			t.Fatal(err)
		}
		closeManager(t, m)
		if n := backends(t, watch); n != 0 {
			t.Fatalf("%d connections are left", n)
		}
	}
}

func TestARoleThatMayNotCreateTheTablesHearsWhatToDo(t *testing.T) {
	grant(t, 40) // whose server has no such tables in this database
	db := superuser(t)
	statements(t, db, "CREATE DATABASE elsewhere", "CREATE ROLE poor LOGIN PASSWORD 'poor'")
	t.Cleanup(func() {
		server = strict.Server
		statements(t, superuser(t), "DROP DATABASE elsewhere WITH (FORCE)", "DROP ROLE poor")
	})
	cfg := config(30)
	cfg.User, cfg.Password, cfg.SystemDatabase = "poor", "poor", "elsewhere"
	_, err := pools.Open(t.Context(), cfg, pools.WithSharedBudget("poor"), pools.WithLogger(nil))
	if !contains(err, "42501") || !contains(err, "tenantpool replicas schema") {
		t.Fatalf("%v", err)
	}
	super, err := pgx.ParseConfig(server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	super.Database = "elsewhere"
	conn, err := pgx.ConnectConfig(t.Context(), super)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), replicas.Schema+"; GRANT SELECT, INSERT, UPDATE ON tenantpool_groups, tenantpool_replicas TO poor"); err != nil {
		t.Fatal(err)
	}
	if _, err := pools.Open(t.Context(), cfg, pools.WithSharedBudget("poor"), pools.WithLogger(nil)); !contains(err, "42501") || !contains(err, "tenantpool replicas schema") {
		t.Errorf("it may not delete: %v", err)
	}
	_, err = conn.Exec(t.Context(), replicas.SchemaFor("poor"))
	_ = conn.Close(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, cfg, pools.WithSharedBudget("poor"))
	if all, err := m.SharedBudget(t.Context()); err != nil || len(all.Replicas) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Whatever the sessions of the role are like, a decision is on the disk, and who is late
// with one hears that and no error.
func TestTheControlSessionHasSettingsOfItsOwn(t *testing.T) {
	grant(t, 40)
	cfg := config(30)
	db := elsewhere(t, &cfg)
	for _, sql := range []string{
		replicas.Schema, "GRANT ALL ON tenantpool_groups, tenantpool_replicas TO public",
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.version <> OLD.version AND (current_setting('synchronous_commit') = 'off' OR current_setting('transaction_isolation') <> 'read committed') THEN
				RAISE 'a decision with % and %', current_setting('synchronous_commit'), current_setting('transaction_isolation');
			END IF;
			RETURN NEW;
		END $$`,
		"CREATE TRIGGER refuse BEFORE UPDATE ON tenantpool_groups FOR EACH ROW EXECUTE FUNCTION refuse()",
		"ALTER DATABASE elsewhere SET synchronous_commit = off", "ALTER DATABASE elsewhere SET default_transaction_isolation = serializable",
		"ALTER DATABASE elsewhere SET default_transaction_read_only = on",
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(sql, err)
		}
	}
	m := open(t, cfg, pools.WithSharedBudget("settings"))
	eventually(t, "it has its floor", func() bool { return stats(t, m).Shared.Limit >= 3 })
}

func TestTheTableThatIsMissingIsMade(t *testing.T) {
	grant(t, 40)
	cfg := config(30)
	db := elsewhere(t, &cfg)
	m := open(t, cfg, pools.WithSharedBudget("tables"))
	if _, err := db.Exec(t.Context(), "DROP TABLE tenantpool_groups CASCADE"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is a group again", func() bool {
		all, err := m.SharedBudget(t.Context())
		return err == nil && len(all.Replicas) == 1
	})
}

// What is open can be lent and closed; why there is no control session is in the log.
func TestWhoeverHasLostTheControlSessionCloses(t *testing.T) {
	grant(t, 40)
	var log logBuffer
	m, err := pools.Open(t.Context(), config(30), pools.WithSharedBudget(newGroup(t)), pools.WithLogger(log.logger()))
	if err != nil {
		t.Fatal(err)
	}
	role := pgx.Identifier{server.User}.Sanitize()
	statements(t, superuser(t), "ALTER ROLE "+role+" NOLOGIN")
	t.Cleanup(func() { statements(t, superuser(t), "ALTER ROLE "+role+" LOGIN") })
	statements(t, superuser(t), fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%s%%'", replicas.ControlName))
	eventually(t, "it says why", func() bool { return strings.Contains(log.String(), "no other control session") })
	log.line(t, "no other control session", "is not permitted to log in")
	closeManager(t, m)
}

// A control session's login fails as any other does.
func TestTheLoginOfAControlSessionIsTriedAgainUnlessItIsHopeless(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	cfg := config(30)
	cfg.Host, cfg.Port = "127.0.0.1", listener.Addr().(*net.TCPAddr).Port
	to := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
	go func() {
		for n := 0; ; n++ {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			if n < 2 {
				_ = client.Close()
				continue
			}
			behind, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			go forward(behind, client)
			go forward(client, behind)
		}
	}()
	open(t, cfg, pools.WithSharedBudget(newGroup(t)))
	cfg.Password = "wrong"
	_, err = pools.Open(t.Context(), cfg, pools.WithSharedBudget(newGroup(t)), pools.WithLogger(nil))
	var dial *model.DialError
	if !errors.As(err, &dial) || dial.Kind != model.Permanent || !contains(err, "check DB_USER, DB_PASSWORD") || contains(err, "wrong") {
		t.Errorf("%v", err)
	}
}

// What fails in each control session anew neither floods the log nor keeps the server busy
// with logins.
func TestControlSessionsThatAreLostAtOnceAreOneLossInTheLog(t *testing.T) {
	grant(t, 40)
	cfg := config(30)
	db := elsewhere(t, &cfg)
	for _, sql := range []string{replicas.Schema, "GRANT SELECT, INSERT, UPDATE, DELETE ON tenantpool_groups, tenantpool_replicas TO public"} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	m := open(t, cfg, pools.WithSharedBudget("rights"))
	seq := func() (n int64) {
		if err := db.QueryRow(t.Context(), "SELECT max(seq) FROM tenantpool_replicas WHERE id <> 'gone'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := seq()
	for _, sql := range []string{
		"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$",
		"CREATE TRIGGER refuse BEFORE DELETE ON tenantpool_replicas FOR EACH ROW EXECUTE FUNCTION refuse()",
		`INSERT INTO tenantpool_replicas ("group", id, label, application_name, seq, pid, control, max_dialing, granted, promised) VALUES ('rights', 'gone', '', 'gone', 1, 1, 'gone', 1, 0, 0)`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it has registered again and again", func() bool { return seq() >= before+6 })
	if n := strings.Count(m.log.String(), "The control session is lost"); n > 3 {
		t.Errorf("%d losses in the log", n)
	}
	m.log.line(t, "The control session is lost", "not this one")
}
