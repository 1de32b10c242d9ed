package pools_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// pgx names its statements after their SQL: a function can put another one in the
// place of any of them, and its command is SELECT.
func TestAStatementPreparedByAFunctionDoesNotStay(t *testing.T) {
	m := open(t, config(20))
	query(t, m, model.Query{SQL: `
		CREATE OR REPLACE FUNCTION replace_prepared() RETURNS int LANGUAGE plpgsql AS $$
		DECLARE n text;
		BEGIN
			FOR n IN SELECT name FROM pg_prepared_statements LOOP
				EXECUTE 'DEALLOCATE ' || n;
				EXECUTE 'PREPARE ' || n || '(int) AS SELECT 666 + 0 * $1';
			END LOOP;
			EXECUTE 'PREPARE another AS SELECT 1';
			RETURN 1;
		END $$`})
	add := func() (sum int) {
		if err := m.Workspace("w20").QueryRow(t.Context(), `SELECT $1::int + 1`, 1).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	for _, readOnly := range []bool{false, true} {
		if sum := add(); sum != 2 {
			t.Fatalf("1 + 1 is %d", sum)
		}
		query(t, m, model.Query{SQL: `SELECT replace_prepared()`, ReadOnly: readOnly})
		if n := fmt.Sprint(one(t, m, `SELECT count(*) FROM pg_prepared_statements WHERE from_sql`)); n != "0" {
			t.Errorf("read-only %v: %s statements are left", readOnly, n)
		}
		if sum := add(); sum != 2 {
			t.Errorf("read-only %v: 1 + 1 is %d", readOnly, sum)
		}
	}
}

// pgx keeps notifications until somebody asks for them; for those of a statement
// nobody does.
func TestNotificationsOfAStatementDoNotFillTheMemory(t *testing.T) {
	m := open(t, config(20))
	query(t, m, model.Query{SQL: `
		CREATE OR REPLACE FUNCTION notify_itself(n int) RETURNS bigint LANGUAGE plpgsql AS $$
		BEGIN
			EXECUTE 'LISTEN x';
			RETURN (SELECT count(pg_notify('x', repeat('a', 7900) || i)) FROM generate_series(1, n) i);
		END $$`})
	const mebibytes = 40
	before := heap()
	for range 2 {
		result := query(t, m, model.Query{SQL: fmt.Sprintf(`SELECT notify_itself(%d)`, mebibytes<<20/2/8000)})
		if got := fmt.Sprint(result.Rows); got != fmt.Sprintf("[[%d]]", mebibytes<<20/2/8000) {
			t.Errorf("the answer is %s", got)
		}
	}
	if grown := heap() - before; grown > mebibytes<<20/4 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
}

// heap is how much of it is in use.
func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// A statement that is to be read-only and says otherwise.
func TestAReadOnlyStatementCannotTalkItsWayOut(t *testing.T) {
	m := open(t, config(20))
	table(t, m, "marks (a int)")
	query(t, m, model.Query{SQL: `
		CREATE OR REPLACE FUNCTION mark() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO marks VALUES (1); RETURN 1; END $$`})
	for _, sql := range []string{
		`COMMIT; INSERT INTO marks VALUES (1)`,
		`SET transaction_read_only = off`,
		`SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE`,
		`COMMIT AND CHAIN`,
		`ROLLBACK AND CHAIN`,
		`SELECT mark()`,
		`SELECT set_config('transaction_read_only', 'off', false), mark()`,
		`DO $$ BEGIN COMMIT; INSERT INTO marks VALUES (1); COMMIT; END $$`,
		`DO $$ BEGIN SET transaction_read_only = off; INSERT INTO marks VALUES (1); END $$`,
		`EXPLAIN ANALYZE INSERT INTO marks VALUES (1)`,
		`WITH m AS (INSERT INTO marks VALUES (1) RETURNING a) SELECT * FROM m`,
		`CREATE TABLE more_marks AS SELECT mark()`,
		`PREPARE TRANSACTION 'marks'`,
	} {
		_, _ = ask(t, m, model.Query{SQL: sql, ReadOnly: true})
		if n := fmt.Sprint(one(t, m, `SELECT count(*) FROM marks`)); n != "0" {
			t.Fatalf("%s: %s rows were written", sql, n)
		}
	}
}
