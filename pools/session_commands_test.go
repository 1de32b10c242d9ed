package pools_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Whatever the server's parser takes for one of these commands is refused, however it
// is written; the server's tag shows what it took it for.
func TestACommandThatIsAboutTheSessionIsRefused(t *testing.T) {
	m := open(t, config(20))
	table(t, m, `kept (a int)`)
	other := open(t, config(20)) // ask looks for leases in m
	conn, err := other.Acquire(t.Context(), "w20")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	const prepared, declared = `PREPARE p AS SELECT 1; `, `DECLARE c CURSOR FOR SELECT 1; `
	for _, test := range []struct{ tag, after, sql string }{
		{"BEGIN", "", `BEGIN`},
		{"BEGIN", "", " \t\r\n\fbegin"},
		{"BEGIN", "", `;; /* a /* nested */ comment */ -- and one more` + "\n" + `Begin READ WRITE`},
		{"BEGIN", "", "/**/--\rBEGIN;"},
		{"START TRANSACTION", "", `START TRANSACTION READ WRITE`},
		{"COMMIT", "", `COMMIT`},
		{"COMMIT", "", `END`},
		{"ROLLBACK", "", `ABORT`},
		{"ROLLBACK", "", `ROLLBACK`},
		{"SAVEPOINT", "", `SAVEPOINT s`},
		{"RELEASE", "", `RELEASE s`},
		{"ROLLBACK", "", `ROLLBACK TO s`},
		{"LOCK TABLE", "", `LOCK kept`},
		{"SET", "", `SET work_mem = '123MB'`},
		{"SET", "", `SET LOCAL work_mem = '123MB'`},
		{"SET", "", `SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`},
		{"SET CONSTRAINTS", "", `SET CONSTRAINTS ALL DEFERRED`},
		{"RESET", "", `RESET work_mem`},
		{"DISCARD PLANS", "", `DISCARD PLANS`},
		{"LISTEN", "", `LISTEN news`},
		{"UNLISTEN", "", `UNLISTEN *`},
		{"PREPARE", "", `PREPARE p AS SELECT 1`},
		{"SELECT 1", prepared, `EXECUTE p`},
		{"DEALLOCATE", prepared, `DEALLOCATE p`},
		{"DECLARE CURSOR", "", `DECLARE c CURSOR FOR SELECT 1`},
		{"FETCH 1", declared, `FETCH c`},
		{"MOVE 1", declared, `MOVE c`},
		{"CLOSE CURSOR", declared, `CLOSE c`},
	} {
		if tag := theServersTag(t, conn, test.after, test.sql); tag != test.tag {
			t.Errorf("%q is a %s for the server, want %s", test.sql, tag, test.tag)
		}
		for _, readOnly := range []bool{false, true} {
			_, err := ask(t, m, model.Query{SQL: test.sql, ReadOnly: readOnly})
			if e := refused(t, err, "0A000"); e.Hint == "" || !strings.Contains(e.Message, "not supported here") {
				t.Errorf("%q: %+v", test.sql, e)
			}
		}
	}
	_, err = ask(t, m, model.Query{SQL: `LOAD 'plpgsql'`}) // a superuser's, elsewhere
	refused(t, err, "0A000")
	// Nothing was dialed for them but for the table, and what only looks like them is
	// carried out.
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials", n)
	}
	for _, sql := range []string{
		`SELECT 'BEGIN'`, `(SELECT 1)`, `/* BEGIN */ SELECT 1`, "-- BEGIN\nSELECT 1", `DO $$ BEGIN NULL; END $$`,
		`WITH set AS (SELECT 1) SELECT * FROM set`, `VALUES (1)`, `TABLE kept`, `EXPLAIN SELECT 1`, `NOTIFY news`,
		`ALTER ROLE CURRENT_USER SET work_mem = '4MB'`, `ALTER ROLE CURRENT_USER RESET work_mem`,
	} {
		query(t, m, model.Query{SQL: sql})
	}
	for _, sql := range []string{`COMMIT PREPARED 'nothing'`, `rollback /**/ prepared 'nothing'`} {
		_, err := ask(t, m, model.Query{SQL: sql})
		refused(t, err, "42704") // the server's own
	}
	for _, sql := range []string{`BEGINS`, `SET1`, `"BEGIN"`, `lock_`, `é`, `/* BEGIN`, `--`} {
		_, err := ask(t, m, model.Query{SQL: sql})
		if err != nil {
			refused(t, err, "42601") // the server's own
		}
	}
}

// theServersTag runs the command in a transaction where what it speaks of is there.
func theServersTag(t *testing.T, conn *pools.Conn, after, sql string) string {
	t.Helper()
	answers, err := conn.Conn().PgConn().Exec(t.Context(), "BEGIN; SAVEPOINT s; "+after+sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if _, err := conn.Conn().PgConn().Exec(t.Context(), "ROLLBACK; DEALLOCATE ALL").ReadAll(); err != nil {
		t.Fatal(err)
	}
	return answers[len(answers)-1].CommandTag.String()
}

func TestTheServersNoticesAreInTheResult(t *testing.T) {
	m := open(t, config(20))
	result := query(t, m, model.Query{SQL: `DO $$ BEGIN
		RAISE WARNING 'careful' USING DETAIL = 'it is hot', HINT = 'wait', ERRCODE = '01001';
		RAISE NOTICE 'by the way';
	END $$`})
	want := []model.Notice{
		{Severity: "WARNING", Code: "01001", Message: "careful", Detail: "it is hot", Hint: "wait"},
		{Severity: "NOTICE", Code: "00000", Message: "by the way"},
	}
	if fmt.Sprint(result.Notices) != fmt.Sprint(want) || result.NoticesLost != 0 {
		t.Errorf("%+v, want %+v", result, want)
	}
	for _, test := range []struct {
		each, count, kept int
		cut               bool
	}{{1, 1000, 20, false}, {3000, 5, 5, true}, {9000, 30, 20, true}, {2048, 1, 1, false}} {
		result := query(t, m, model.Query{SQL: fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP RAISE WARNING '%%', repeat('x', %d); END LOOP; END $$`, test.count, test.each)})
		if len(result.Notices) != test.kept || result.NoticesLost != test.count-test.kept {
			t.Errorf("%+v: %d notices, %d lost", test, len(result.Notices), result.NoticesLost)
		}
		for _, n := range result.Notices {
			if n.Cut != test.cut || len(n.Message) != min(test.each, 2048) {
				t.Errorf("%+v: %d bytes, cut %v", test, len(n.Message), n.Cut)
			}
		}
	}
	// No character is cut in two, and what was said after a long one is kept.
	result = query(t, m, model.Query{SQL: `DO $$ BEGIN
		RAISE WARNING '%', repeat('ä', 1000) || 'x' USING DETAIL = repeat('€', 1000), HINT = 'wait';
		RAISE NOTICE 'by the way';
	END $$`})
	want = []model.Notice{
		{Severity: "WARNING", Code: "01000", Message: strings.Repeat("ä", 1000) + "x", Detail: strings.Repeat("€", 15), Hint: "wa", Cut: true},
		{Severity: "NOTICE", Code: "00000", Message: "by the way"},
	}
	if fmt.Sprint(result.Notices) != fmt.Sprint(want) || result.NoticesLost != 0 {
		t.Errorf("%+v, want %+v", result, want)
	}
	// Nor does one statement tell what another was told.
	if result := query(t, m, model.Query{SQL: `SELECT 1`, Args: nil}); len(result.Notices) != 0 || result.Rows[0][0] != json.Number("1") {
		t.Errorf("%+v", result)
	}
}
