package faults

import (
	"context"
	"fmt"
	"testing"

	"github.com/tenantpool/tenantpool/pools"
)

// The workspace that a quarter of the requests is for.
const victim = 0

// terminate ends our sessions on a database, or on all of them.
func terminate(t *testing.T, databases string) {
	admin(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND datname LIKE $2`, server.User, databases)
}

func TestADatabaseGoesAwayAndComesBack(t *testing.T) {
	fault{
		name:  "a database dropped, created again",
		begin: func(t *testing.T) { admin(t, fmt.Sprintf(`DROP DATABASE %q WITH (FORCE)`, database(victim))) },
		heal:  func(t *testing.T) { must(t, createWorkspace(victim)) },
		shows: []cause{"3D000"},
	}.run(t)

	connect := fmt.Sprintf(`CONNECT ON DATABASE %q`, database(victim))
	fault{
		name: "the right to CONNECT to a database revoked, granted again", variant: true,
		begin: func(t *testing.T) {
			admin(t, fmt.Sprintf(`REVOKE %s FROM PUBLIC, %s`, connect, server.User))
			terminate(t, database(victim))
		},
		heal:  func(t *testing.T) { admin(t, fmt.Sprintf(`GRANT %s TO PUBLIC, %s`, connect, server.User)) },
		shows: []cause{"42501"},
	}.run(t)
}

func TestTheRoleChanges(t *testing.T) {
	role := func(t *testing.T, change string, args ...any) {
		admin(t, fmt.Sprintf(`ALTER ROLE %s %s`, server.User, fmt.Sprintf(change, args...)))
	}
	fault{
		name: "the role's password changed, changed back",
		begin: func(t *testing.T) {
			role(t, `PASSWORD 'changed'`)
			terminate(t, "fault_ws_w_") // a quarter of them: the sessions of the others go on
		},
		heal:  func(t *testing.T) { role(t, `PASSWORD '%s'`, server.Password) },
		shows: []cause{"28P01"},
	}.run(t)

	// Nobody tells us. A request fails only if its own session was idle for so long
	// between two statements, so the server says whether the fault happens.
	ended := func(t *testing.T) (n int) {
		must(t, control.QueryRow(`SELECT sum(sessions_fatal) FROM pg_stat_database`).Scan(&n))
		return n
	}
	before := 0
	fault{
		name: "the server ends sessions that are idle for 10 ms",
		begin: func(t *testing.T) {
			role(t, `SET idle_session_timeout = '10ms'`)
			terminate(t, "%")
			before = ended(t)
		},
		during: func(_ context.Context, t *testing.T) {
			if !eventually(mustHappen, func() bool { return ended(t) >= before+5 }) {
				t.Errorf("the server ended %d sessions", ended(t)-before)
			}
		},
		heal: func(t *testing.T) {
			role(t, `RESET idle_session_timeout`)
			terminate(t, "%")
		},
	}.run(t)
}

// full is how large a file may become: a table's file of that size cannot be
// extended by a whole page. The server's own largest files, those of its log, have
// 16 MB and fit.
const full = "16781312" // 16 MB and half a page

func TestTheDiskIsFull(t *testing.T) {
	// 4 rows fill a page of 8 kB.
	const rows = `INSERT INTO bulk SELECT repeat('x', 1900) FROM generate_series(1, %d)`
	fault{
		name: "the disk is full for one database",
		begin: func(t *testing.T) {
			limitFiles(t, full)
			if err := onDatabase(t.Context(), victim, fmt.Sprintf(rows, 20<<20/2048)); err == nil || causeOf(err) != "53100" {
				t.Fatal("20 MB fit, or did not for another reason:", err)
			}
		},
		heal: func(t *testing.T) {
			limitFiles(t, unlimited)
			must(t, onDatabase(t.Context(), victim, `TRUNCATE bulk`))
		},
		work: func(ctx context.Context, conn *pools.Conn) error {
			_, err := conn.Exec(ctx, fmt.Sprintf(rows, 40))
			return err
		},
		shows: []cause{"53100"},
	}.run(t)
}
