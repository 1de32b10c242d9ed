package pools_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// advised are the blocks of SQL in SECURITY.md: for the server, and for each
// workspace's database.
func advised(t *testing.T) (forServer, forWorkspace string) {
	t.Helper()
	text, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("SECURITY.md has %d blocks of SQL", len(blocks))
	}
	return blocks[0][1], blocks[1][1]
}

// in is a superuser's session in another database.
func in(t *testing.T, database string) *sql.DB {
	t.Helper()
	dsn := strings.Replace(server.SuperuserDSN(), "dbname=postgres", "dbname="+database, 1)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var name string
	if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil || name != database {
		t.Fatalf("%q, %v", name, err)
	}
	return db
}

// Statements run as the role of all workspaces. What it may do with another one's
// database is decided by its rights.
func TestWithTheRightsOfSECURITYmdAStatementReachesNoOtherWorkspace(t *testing.T) {
	forServer, forWorkspace := advised(t)
	watch := superuser(t)
	drop := func() {
		statements(t, watch, `DROP DATABASE IF EXISTS shop_ws_a WITH (FORCE)`, `DROP DATABASE IF EXISTS shop_ws_b WITH (FORCE)`,
			`DROP DATABASE IF EXISTS shop WITH (FORCE)`, `DROP ROLE IF EXISTS app`)
	}
	drop()
	t.Cleanup(drop)
	for statement := range strings.SplitSeq(forServer, ";\n") { // CREATE DATABASE wants to be alone
		statements(t, watch, statement)
	}
	statements(t, watch, `CREATE DATABASE shop_ws_b`)
	for _, database := range []string{"shop_ws_a", "shop_ws_b"} {
		admin := in(t, database)
		statements(t, admin, strings.ReplaceAll(forWorkspace, "shop_ws_a", database))
		_ = admin.Close()
	}
	cfg := configAs("app", "change-me")
	cfg.Prefix, cfg.SystemDatabase = "shop", "shop"
	m := open(t, cfg)
	run := func(id model.WorkspaceID, sql string) (model.QueryResult, error) {
		return m.Query(t.Context(), model.Query{Workspace: id, SQL: sql})
	}
	for _, sql := range []string{`CREATE TABLE cards (number text)`, `INSERT INTO cards VALUES ('4111')`, `SELECT number FROM cards`} {
		if _, err := run("b", sql); err != nil {
			t.Fatalf("what a workspace is for: %s: %v", sql, err)
		}
	}
	other, err := m.Acquire(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release()
	if _, err := other.Exec(t.Context(), `SELECT '4111' AS "what others have asked"`); err != nil {
		t.Fatal(err)
	}

	// (An autovacuum worker, which may be there as well, is nobody's.)
	seen, err := run("a", `SELECT count(*), count(nullif(query, '')) FROM pg_stat_activity WHERE datname = 'shop_ws_b' AND usename = current_user`)
	if got := fmt.Sprint(seen.Rows); err != nil || got != "[[1 0]]" {
		t.Errorf("sessions and queries seen: %s, %v", got, err)
	}
	for _, sql := range []string{
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop_ws_b'`,
		`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = 'shop_ws_b'`,
		`CREATE DATABASE shop_ws_c TEMPLATE shop_ws_b`,
		`DROP DATABASE shop_ws_b WITH (FORCE)`,
		`ALTER DATABASE shop_ws_b RENAME TO shop_ws_c`,
		`ALTER DATABASE shop_ws_b SET search_path = nowhere`,
		`ALTER DATABASE shop_ws_b CONNECTION LIMIT 0`,
		`REVOKE CONNECT ON DATABASE shop_ws_b FROM app`,
		`ALTER ROLE app SET track_activities = on`,
		`ALTER ROLE app RESET track_activities`,
		`SELECT set_config('track_activities', 'on', false)`,
		`ALTER ROLE app SUPERUSER`,
		`SELECT set_config('role', 'pg_read_all_data', false)`,
		`SELECT set_config('role', 'pg_signal_backend', false)`,
		`COPY cards TO PROGRAM 'cat'`,
		`COPY pg_class TO '/tmp/classes'`,
		`SELECT pg_read_file('postgresql.conf')`,
		`SELECT lo_export(1, '/tmp/object')`,
		`CREATE ROLE another`,
	} {
		_, err := run("a", sql)
		var refused *model.SQLError
		allowed := !errors.As(err, &refused) || refused.Code != "42501" // insufficient_privilege
		if strings.HasPrefix(sql, "REVOKE") {
			allowed = false // a warning, and nothing is revoked: see below
		}
		if strings.Contains(sql, "cards") {
			allowed = err == nil // there is no such table in a
		}
		if allowed {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := run("b", `SELECT number FROM cards`); err != nil {
		t.Errorf("the other workspace: %v", err)
	}
	if err := other.Ping(t.Context()); err != nil {
		t.Errorf("its connection: %v", err)
	}
	// The manager itself, over the system database, ends the sessions that linger.
	from, to := pools.Began(other)
	if gone, err := pools.TerminateBackend(t.Context(), m.Manager, other, from, to); gone || err != nil {
		t.Errorf("gone: %v, %v", gone, err)
	}
	if err := other.Ping(t.Context()); err == nil {
		t.Error("the manager could not end its own session")
	}
}
