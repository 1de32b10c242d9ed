package clients

import (
	"database/sql"
	"os"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
)

// superuser runs statements as one, on the server.
func superuser(t *testing.T, statements ...string) {
	t.Helper()
	db, err := sql.Open("pgx", server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	// This one waits two minutes for the end of a server process whose number the client
	// was told: it was its session's.
	notOfPgxThrough = "^TestConnCopyFromConnectionTerminated$"
	// This one ends the server process of a transaction that is over. Another client, of a
	// test beside it, may have that process then.
	notOfPqThrough = "^TestPing$"
)

func TestSuiteOfPgx(t *testing.T) {
	onlyLong(t)
	// As its testsetup/postgresql_setup.sql has it, but for the users that only other
	// variables of its environment name.
	superuser(t, `DROP ROLE IF EXISTS " tricky, ' } "" \ test user "`, `CREATE ROLE " tricky, ' } "" \ test user "`)
	psql := ofPostgreSQL(t, "psql")
	pgx := suite{module: "github.com/jackc/pgx/v5@v5.12.0", known: "pgx_known.txt", options: []string{"./..."}, notThrough: notOfPgxThrough}.copy(t)
	suite := func(t *testing.T, at place) {
		at.direct().run(t, "CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE DOMAIN uint64 AS numeric(20,0);", psql, "-v", "ON_ERROR_STOP=1")
		pgx.run(t, at, "PGX_TEST_DATABASE="+at.url())
	}
	if os.Getenv("TENANTPOOL_TEST_PLACES") == "direct" { // nothing fails there, and it takes minutes
		at(t, suite, "direct")
		return
	}
	at(t, suite, "transaction", "session")
}

// What is left out of lib/pq's suite asks for its own server's users, certificates and
// names, and says nothing of ours.
const notOfPq = "^(TestSSL.*|TestAuth|TestConnectMulti|TestNewConnector|TestService|TestStartupParameters)$"

func TestSuiteOfPq(t *testing.T) {
	onlyLong(t)
	pq := suite{module: "github.com/lib/pq@v1.12.3", known: "pq_known.txt", options: []string{"./..."}, notOf: notOfPq, notThrough: notOfPqThrough}.copy(t)
	everywhere(t, func(t *testing.T, at place) { pq.run(t, at) })
}
