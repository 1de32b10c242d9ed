package pools_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// query runs a statement in w20, which must succeed.
func query(t *testing.T, m *manager, q model.Query) model.QueryResult {
	t.Helper()
	result, err := ask(t, m, q)
	if err != nil {
		t.Fatalf("%s: %v", q.SQL, err)
	}
	return result
}

// ask runs a statement in w20, and checks that no slot is lost by it.
func ask(t *testing.T, m *manager, q model.Query) (model.QueryResult, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	q.Workspace = "w20"
	result, err := m.Query(ctx, q)
	if st := stats(t, m).Workspaces; st.InUse != 0 {
		t.Errorf("after %s: %+v", q.SQL, st.Counts)
	}
	return result, err
}

// refused is the server's error about a statement.
func refused(t *testing.T, err error, code string) *model.SQLError {
	t.Helper()
	var refused *model.SQLError
	if !errors.As(err, &refused) || refused.Code != code {
		t.Fatalf("the error is %v, want SQLSTATE %s", err, code)
	}
	return refused
}

// table creates an empty table in w20 for the test.
func table(t *testing.T, m *manager, definition string) {
	t.Helper()
	name := strings.Fields(definition)[0]
	query(t, m, model.Query{SQL: "DROP TABLE IF EXISTS " + name})
	query(t, m, model.Query{SQL: "CREATE TABLE " + definition})
	t.Cleanup(func() {
		if _, err := m.Workspace("w20").Exec(context.Background(), "DROP TABLE IF EXISTS "+name); err != nil {
			t.Error(err)
		}
	})
}

func one(t *testing.T, m *manager, sql string) any {
	t.Helper()
	return query(t, m, model.Query{SQL: sql}).Rows[0][0]
}

func TestValuesBecomeWhatJSONHasForThem(t *testing.T) {
	m := open(t, config(20))
	for _, test := range []struct {
		sql, column string
		want        any
	}{
		{`true`, "bool", true},
		{`false`, "bool", false},
		{`1::int2`, "int2", json.Number("1")},
		{`-2`, "int4", json.Number("-2")},
		{`9223372036854775807`, "int8", json.Number("9223372036854775807")},
		{`5::oid`, "oid", json.Number("5")},
		{`1e20::float8`, "float8", json.Number("1e+20")},
		{`0.1::float4`, "float4", json.Number("0.1")},
		{`'NaN'::float8`, "float8", "NaN"},
		{`'-Infinity'::float4`, "float4", "-Infinity"},
		{`1.50`, "numeric", "1.50"},
		{`'{"a": 1}'::json`, "json", json.RawMessage(`{"a": 1}`)},
		{`'{"a":1}'::jsonb`, "jsonb", json.RawMessage(`{"a": 1}`)},
		{`NULL::int`, "int4", nil},
		{`NULL`, "text", nil},
		{`''`, "text", ""},
		{`'ä"\'`, "text", `ä"\`},
		{`'\x00ff'::bytea`, "bytea", `\x00ff`},
		{`date '2026-02-03'`, "date", "2026-02-03"},
		{`timestamptz '2026-02-03 04:05:06+00' AT TIME ZONE 'UTC'`, "timestamp", "2026-02-03 04:05:06"},
		{`interval '1 day'`, "interval", "1 day"},
		{`ARRAY[1,2]`, "_int4", "{1,2}"},
		{`'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid`, "uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
	} {
		for _, readOnly := range []bool{false, true} {
			result := query(t, m, model.Query{SQL: "SELECT " + test.sql + " AS x", ReadOnly: readOnly, MaxRows: 10, MaxBytes: 1000})
			want := model.QueryResult{
				Columns: []model.Column{{Name: "x", Type: test.column}}, Rows: [][]any{{test.want}},
				Command: "SELECT 1", RowsAffected: 1,
			}
			if !reflect.DeepEqual(result, want) {
				t.Errorf("%s: %#v, want %#v", test.sql, result, want)
			}
			if _, err := json.Marshal(result.Rows); err != nil {
				t.Errorf("%s: %v", test.sql, err)
			}
		}
	}
	if st := stats(t, m).Workspaces; st.Counters.Dials != 1 {
		t.Errorf("%d dials", st.Counters.Dials)
	}
}

func TestADatabasesOwnTypesHaveTheirNames(t *testing.T) {
	m := open(t, config(20))
	query(t, m, model.Query{SQL: `CREATE TYPE mood AS ENUM ('good', 'bad')`})
	defer query(t, m, model.Query{SQL: `DROP TYPE mood`})
	for range 2 { // the second time it is known
		result := query(t, m, model.Query{SQL: `SELECT 'good'::mood AS a, 1 AS b, ARRAY['bad'::mood] AS c, 'bad'::mood AS d`, ReadOnly: true})
		want := []model.Column{{Name: "a", Type: "mood"}, {Name: "b", Type: "int4"}, {Name: "c", Type: "_mood"}, {Name: "d", Type: "mood"}}
		if !reflect.DeepEqual(result.Columns, want) || result.Rows[0][0] != "good" || result.Rows[0][2] != "{bad}" {
			t.Errorf("%+v", result)
		}
	}
}

// The server must be told that the client's text is UTF-8, and hear it again from a
// reset, or it takes it for the database's encoding.
func TestADatabaseOfAnotherEncodingSpeaksUTF8(t *testing.T) {
	m := open(t, config(20))
	statements(t, dropLater(t, "test_ws_latin"),
		`CREATE DATABASE test_ws_latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`)
	w := m.Workspace("latin")
	var length int
	if err := w.QueryRow(t.Context(), `SELECT length($1)`, "ä").Scan(&length); err != nil || length != 1 {
		t.Errorf("a lease: length %d, %v", length, err)
	}
	if _, err := w.Exec(t.Context(), `SET client_encoding = LATIN1`); err != nil {
		t.Fatal(err)
	}
	result, err := m.Query(t.Context(), model.Query{
		Workspace: "latin", SQL: `SELECT chr(228), length('ä'), length($1::text)`, Args: []any{"ä"},
	})
	if want := [][]any{{"ä", json.Number("1"), json.Number("1")}}; err != nil || !reflect.DeepEqual(result.Rows, want) {
		t.Errorf("%q %v, want %q", result.Rows, err, want)
	}
}

func TestParametersAreBound(t *testing.T) {
	m := open(t, config(20))
	table(t, m, `bound (a int, b text, c bool, d jsonb, e float8, f jsonb)`)
	result := query(t, m, model.Query{
		SQL:  `INSERT INTO bound VALUES ($1, $2, $3, $4, $5, $6), (NULL, $7, NULL, NULL, NULL, NULL)`,
		Args: []any{json.Number("7"), `'); DROP TABLE bound; --`, true, map[string]any{"x": json.Number("1")}, json.Number("1e3"), []any{"a", nil}, ""},
	})
	if result.Command != "INSERT 0 2" || result.RowsAffected != 2 || len(result.Columns) != 0 {
		t.Errorf("%+v", result)
	}
	result = query(t, m, model.Query{SQL: `SELECT * FROM bound ORDER BY a LIMIT $1`, Args: []any{json.Number("2")}, ReadOnly: true})
	want := [][]any{
		{json.Number("7"), `'); DROP TABLE bound; --`, true, json.RawMessage(`{"x": 1}`), json.Number("1000"), json.RawMessage(`["a", null]`)},
		{nil, "", nil, nil, nil, nil},
	}
	if !reflect.DeepEqual(result.Rows, want) {
		t.Errorf("%#v", result.Rows)
	}
	for name, q := range map[string]model.Query{
		"08P01": {SQL: `SELECT $1::int`, Args: []any{}}, // too few
		"22P02": {SQL: `SELECT $1::int`, Args: []any{"seven"}},
		"22021": {SQL: `SELECT $1::text`, Args: []any{"a\x00b"}},
		"54023": {SQL: `SELECT 1`, Args: make([]any, 65536)},
	} {
		_, err := ask(t, m, q)
		refused(t, err, name)
	}
	_, err := ask(t, m, model.Query{SQL: "SELECT 1\x00, 2"})
	refused(t, err, "22021")
	if _, err := ask(t, m, model.Query{SQL: `SELECT $1`, Args: []any{7}}); err == nil || !strings.Contains(err.Error(), "$1 is a int") {
		t.Errorf("a Go int: %v", err)
	}
}

func TestAServersErrorIsToldInFull(t *testing.T) {
	m := open(t, config(20))
	for _, readOnly := range []bool{false, true} {
		_, err := ask(t, m, model.Query{SQL: `SELECT nothing FROM generate_series(1, 2)`, ReadOnly: readOnly})
		if e := refused(t, err, "42703"); e.Position != 8 || !strings.Contains(e.Message, "nothing") || !strings.Contains(err.Error(), `workspace "w20"`) {
			t.Errorf("%+v, %v", e, err)
		}
		_, err = ask(t, m, model.Query{SQL: `SELECT 1; SELECT 2`, ReadOnly: readOnly})
		refused(t, err, "42601") // one statement
		_, err = ask(t, m, model.Query{SQL: `SELECT 1 / (i - 3) FROM generate_series(1, 5) i`, ReadOnly: readOnly})
		refused(t, err, "22012") // after some rows
		_, err = ask(t, m, model.Query{SQL: `COPY (SELECT 1) TO STDOUT`, ReadOnly: readOnly})
		refused(t, err, "0A000")
	}
	table(t, m, `parents (id int PRIMARY KEY)`)
	table(t, m, `children (id int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`)
	_, err := ask(t, m, model.Query{SQL: `INSERT INTO children VALUES (1)`})
	refused(t, err, "23503") // at the commit
	if n := one(t, m, `SELECT count(*) FROM children`); n != json.Number("0") {
		t.Errorf("%v rows", n)
	}
	query(t, m, model.Query{SQL: `DROP TABLE children`}) // before the parents
	if result := query(t, m, model.Query{SQL: ` -- nothing`}); result.Command != "" || len(result.Rows) != 0 {
		t.Errorf("%+v", result)
	}
	_, err = ask(t, m, model.Query{SQL: `SELECT pg_terminate_backend(pg_backend_pid())`})
	if !errors.Is(err, model.ErrConnectionLost) || !strings.Contains(err.Error(), "57P01") {
		t.Errorf("%v", err)
	}
	var bad *model.WorkspaceIDError
	if _, err := m.Query(t.Context(), model.Query{Workspace: "a/b", SQL: "SELECT 1"}); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
	fillBudget(t, m, 10)
}

func TestACopyFromTheClientIsAnErrorAndDoesNotHang(t *testing.T) {
	m := open(t, config(20))
	table(t, m, `copied (a int)`)
	for range 3 {
		_, err := ask(t, m, model.Query{SQL: `COPY copied FROM STDIN`})
		refused(t, err, "0A000")
	}
	_, err := ask(t, m, model.Query{SQL: `COPY copied FROM STDIN`, ReadOnly: true})
	refused(t, err, "25006")
	fillBudget(t, m, 10)
}

func TestAReadOnlyStatementChangesNothing(t *testing.T) {
	m := open(t, config(20))
	table(t, m, `guarded (a int)`)
	for _, sql := range []string{
		`INSERT INTO guarded VALUES (1)`,
		`WITH x AS (INSERT INTO guarded VALUES (1) RETURNING a) SELECT * FROM x`,
		`DROP TABLE guarded`,
		`DO $$ BEGIN INSERT INTO guarded VALUES (1); END $$`,
		`DO $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO guarded VALUES (1); END $$`,
		`DO $$ BEGIN COMMIT; INSERT INTO guarded VALUES (1); END $$`,
		`SELECT set_config('transaction_read_only', 'off', true)`,
		`SELECT 1; INSERT INTO guarded VALUES (1)`,
	} {
		if _, err := ask(t, m, model.Query{SQL: sql, ReadOnly: true}); err == nil {
			t.Errorf("no error: %s", sql)
		}
	}
	if result := query(t, m, model.Query{SQL: `SELECT current_setting('transaction_read_only'), count(*) FROM guarded`}); result.Rows[0][0] != "off" || result.Rows[0][1] != json.Number("0") {
		t.Errorf("afterwards: %v", result.Rows)
	}
	// All that, and the connection was never lost, but after the DO blocks' errors
	// nothing forbids to keep it.
	if st := stats(t, m).Workspaces; st.Counters.Dials != 1 {
		t.Errorf("%d dials", st.Counters.Dials)
	}
}

func TestTheRowsEndAtTheLimits(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	for _, readOnly := range []bool{false, true} {
		series := func(n, maxRows, maxBytes int) model.QueryResult {
			return query(t, m, model.Query{SQL: fmt.Sprintf(`SELECT i, 'x' FROM generate_series(1, %d) i`, n), MaxRows: maxRows, MaxBytes: maxBytes, ReadOnly: readOnly})
		}
		for _, test := range []struct {
			n, maxRows, maxBytes, rows int
			truncated                  bool
		}{
			{5, 0, 0, 5, false},
			{5, 5, 0, 5, false},
			{6, 5, 0, 5, true},
			{0, 5, 5, 0, false},
			{5, 0, 240, 5, false}, // a row is two values of at least 24 bytes
			{5, 0, 239, 4, true},
			{6, 5, 240, 5, true},
			{5, 0, 3, 0, true},
			{100_000, 100, 0, 100, true},
			{100_000, 0, 2000, 41, true},
		} {
			result := series(test.n, test.maxRows, test.maxBytes)
			if len(result.Rows) != test.rows || result.Truncated != test.truncated {
				t.Errorf("%+v gives %d rows, truncated %v", test, len(result.Rows), result.Truncated)
			}
			if !test.truncated && result.Command != fmt.Sprintf("SELECT %d", test.n) {
				t.Errorf("%+v: %q", test, result.Command)
			}
		}
	}
	if st := stats(t, m).Workspaces; st.Counters.Dials != 1 {
		t.Errorf("limits cost connections: %d dials", st.Counters.Dials)
	}
}

// A read-only statement is stopped, and not read to its end of some 100 TB.
func TestAHugeAnswerIsStopped(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	const huge = `SELECT repeat('x', 100000), generate_series(1, 1000000000)`
	began := time.Now()
	result := query(t, m, model.Query{SQL: huge, MaxBytes: 1 << 20, ReadOnly: true})
	if len(result.Rows) != 10 || !result.Truncated {
		t.Errorf("%d rows, truncated %v", len(result.Rows), result.Truncated)
	}
	_, err := ask(t, m, model.Query{SQL: huge, MaxBytes: 1 << 20})
	refused(t, err, "54000")
	if took := time.Since(began); took > patience/2 { // all the time there was
		t.Errorf("it took %v", took)
	}
	if st := stats(t, m).Workspaces; st.Counters.Dials != 1 {
		t.Errorf("%d dials", st.Counters.Dials)
	}
	// The rows beyond MaxRows are not even computed.
	for _, readOnly := range []bool{false, true} {
		result = query(t, m, model.Query{SQL: `SELECT i, pg_sleep(CASE WHEN i > 10 THEN 60 ELSE 0 END) FROM generate_series(1, 1000) i`, MaxRows: 5, ReadOnly: readOnly})
		if len(result.Rows) != 5 || !result.Truncated {
			t.Errorf("%+v", result)
		}
	}
	// One row of 20 MB is not even taken into memory.
	_, err = ask(t, m, model.Query{SQL: `SELECT repeat('x', 20000000)`, MaxBytes: 1 << 20, ReadOnly: true})
	refused(t, err, "54000")
	fillBudget(t, m, 10)
}

func TestWhatATruncatedStatementDidIsKept(t *testing.T) {
	m := open(t, config(20))
	table(t, m, `kept (a int, b text)`)
	for name, limits := range map[string]model.Query{"rows": {MaxRows: 3}, "bytes": {MaxBytes: 100}} {
		limits.SQL = `INSERT INTO kept SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) i RETURNING *`
		result := query(t, m, limits)
		if !result.Truncated {
			t.Errorf("%s: %+v", name, result)
		}
		if n := one(t, m, `SELECT count(*) FROM kept`); n != json.Number("5000") {
			t.Errorf("limited by %s, %v rows are kept", name, n)
		}
		query(t, m, model.Query{SQL: `TRUNCATE kept`})
	}
	// Beyond what is worth reading it is an error, and then nothing is kept.
	// So is what a SELECT did.
	query(t, m, model.Query{SQL: `CREATE FUNCTION keep_one(i int) RETURNS text LANGUAGE sql AS $$ INSERT INTO kept VALUES (i) RETURNING repeat('x', 100) $$`})
	defer query(t, m, model.Query{SQL: `DROP FUNCTION keep_one`})
	result := query(t, m, model.Query{SQL: `SELECT keep_one(i) FROM generate_series(1, 20000) i`, MaxBytes: 1000})
	if n := one(t, m, `SELECT count(*) FROM kept`); n != json.Number("20000") || !result.Truncated {
		t.Errorf("%v rows are kept, truncated %v", n, result.Truncated)
	}
	query(t, m, model.Query{SQL: `TRUNCATE kept`})
	query(t, m, model.Query{SQL: `CREATE FUNCTION keep(i int) RETURNS text LANGUAGE sql AS $$ INSERT INTO kept VALUES (i) RETURNING repeat('x', 1000000) $$`})
	defer query(t, m, model.Query{SQL: `DROP FUNCTION keep`})
	_, err := ask(t, m, model.Query{SQL: `SELECT keep(i) FROM generate_series(1, 10000) i`, MaxBytes: 100})
	refused(t, err, "54000")
	if n := one(t, m, `SELECT count(*) FROM kept`); n != json.Number("0") {
		t.Errorf("%v rows are kept", n)
	}
}

// endless has a deadline that the test decides about.
type endless struct {
	context.Context
	done chan struct{}
}

func (e *endless) Done() <-chan struct{} { return e.done }

func (e *endless) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestAStatementThatRunsTooLongIsCancelledAndKeepsItsConnection(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	watch := superuser(t)
	running := func() int {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid()`)
	}
	for _, q := range []model.Query{
		{SQL: `SELECT pg_sleep(6000)`},
		{SQL: `SELECT pg_sleep(6000)`, ReadOnly: true},
		{SQL: `SELECT i, pg_sleep(0.01) FROM generate_series(1, 600000) i`}, // rows come all the time
	} {
		q.Workspace = "w20"
		ctx := &endless{Context: t.Context(), done: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- second(m.Query(ctx, q)) }()
		eventually(t, "it runs", func() bool { return running() == 1 })
		close(ctx.done)
		err := <-ended
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		refused(t, err, "57014")
		if n := running(); n != 0 {
			t.Errorf("%d run on", n)
		}
	}
	// Before PostgreSQL 17 the server signals a backend twice for one request. Once in a
	// thousand times the second signal is late and hits the reset.
	if st := stats(t, m).Workspaces; st.Counters.Dials > 2 {
		t.Errorf("%+v", st)
	}
}

func TestAContextThatEndsAtAnyMomentLosesNoSlotAndNoTruth(t *testing.T) {
	m := open(t, config(20))
	table(t, m, `moments (a int)`)
	done := 0
	for i := range 300 {
		ctx, stop := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		_, err := m.Query(ctx, model.Query{Workspace: "w20", SQL: `INSERT INTO moments VALUES ($1)`, Args: []any{json.Number(fmt.Sprint(i))}})
		stop()
		if err == nil {
			done++
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	}
	var n int
	if err := m.Workspace("w20").QueryRow(t.Context(), `SELECT count(*) FROM moments`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	// One whose answer was not seen any more may have been carried out.
	if n < done {
		t.Errorf("%d were told that they succeeded, %d did", done, n)
	}
	t.Logf("%d of 300 succeeded, %d were carried out, %d dials", done, n, stats(t, m).Workspaces.Counters.Dials)
	fillBudget(t, m, 10)
}

func TestAStatementLeavesNothingBehind(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	locks := func() int { return count(t, watch, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`) }
	for _, readOnly := range []bool{false, true} {
		for _, sql := range []string{
			`SELECT set_config('work_mem', '123MB', false)`,
			`SELECT set_config('search_path', 'nowhere', false)`,
			`SELECT set_config('role', 'pg_monitor', false)`,
			`SELECT pg_advisory_lock(42)`,
			`CREATE TEMP TABLE left_behind (a int)`,
			`DO $$ BEGIN EXECUTE 'LISTEN something'; END $$`,
			`DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END $$`,
			`DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 1'; END $$`,
			`DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$`,
			`DO $$ BEGIN EXECUTE 'DISCARD PLANS'; END $$`,
		} {
			before := one(t, m, `SELECT pg_backend_pid()`)
			_, err := ask(t, m, model.Query{SQL: sql, ReadOnly: readOnly})
			if err != nil && !readOnly && !strings.Contains(sql, "role") {
				t.Errorf("%s: %v", sql, err)
			}
			left := query(t, m, model.Query{SQL: `
				SELECT current_setting('work_mem') = (SELECT reset_val || 'kB' FROM pg_settings WHERE name = 'work_mem') OR current_setting('work_mem') = '4MB',
				       current_setting('search_path'), current_user = session_user,
				       (SELECT count(*) FROM pg_class WHERE relname = 'left_behind'),
				       (SELECT count(*) FROM pg_listening_channels()),
				       (SELECT count(*) FROM pg_cursors WHERE name = 'c'),
				       (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
				       current_setting('transaction_isolation')`})
			zero := json.Number("0")
			want := []any{true, `"$user", public`, true, zero, zero, zero, zero, "read committed"}
			if !reflect.DeepEqual(left.Rows[0], want) {
				t.Errorf("after %s (read-only %v): %v", sql, readOnly, left.Rows[0])
			}
			if n := locks(); n != 0 {
				t.Errorf("after %s: %d locks", sql, n)
			}
			after := one(t, m, `SELECT pg_backend_pid()`)
			if kept := before == after; kept && strings.HasPrefix(sql, "DO") {
				t.Errorf("%s: the connection was not closed", sql)
			}
			if kept := before == after; !kept && strings.HasPrefix(sql, "S") {
				t.Errorf("%s: the connection was closed", sql)
			}
		}
	}
}

// Who uses the same connections through pgx has its statements prepared there.
func TestQueriesAndPgxShareConnections(t *testing.T) {
	m := open(t, config(20))
	for range 3 {
		var n int
		if err := m.Workspace("w20").QueryRow(t.Context(), `SELECT $1::int + 1`, 1).Scan(&n); err != nil || n != 2 {
			t.Fatalf("%d, %v", n, err)
		}
		query(t, m, model.Query{SQL: `SELECT $1::int + 1`, Args: []any{json.Number("1")}})
		query(t, m, model.Query{SQL: `SELECT 1`, ReadOnly: true, MaxRows: 1})
	}
	if st := stats(t, m).Workspaces; st.Counters.Dials != 1 {
		t.Errorf("%d dials", st.Counters.Dials)
	}
}

// The server lets in exactly as many as the budget has, and counts.
func TestAllKindsOfQueriesAtOnceLoseNoSlotAndTakeNoneTooMany(t *testing.T) {
	grant(t, 20)
	m := open(t, config(20))
	kinds := []model.Query{
		{SQL: `SELECT 1`},
		{SQL: `SELECT 1`, ReadOnly: true},
		{SQL: `SELECT pg_sleep(0.02)`},
		{SQL: `BEGIN`},
		{SQL: `COPY (SELECT 1) TO STDOUT`},
		{SQL: `CREATE TEMP TABLE copied (a int)`},
		{SQL: `no SQL`, ReadOnly: true},
		{SQL: `SELECT repeat('x', 1000) FROM generate_series(1, 100000)`, ReadOnly: true, MaxBytes: 10000},
		{SQL: `SELECT i FROM generate_series(1, 100000) i`, MaxRows: 10},
		{SQL: `SELECT repeat('x', 8000000)`, MaxBytes: 1000},
		{SQL: `SELECT pg_terminate_backend(pg_backend_pid())`},
	}
	ended := make(chan int)
	for i := range 16 {
		go func() {
			succeeded := 0
			for n := range times(15, 40) {
				q := kinds[(i+n)%len(kinds)]
				q.Workspace = workspaceID((i * n) % 30)
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+(i*7+n*13)%50*(n%10))*time.Millisecond)
				if _, err := m.Query(ctx, q); err == nil {
					succeeded++
				}
				stop()
			}
			ended <- succeeded
		}()
	}
	succeeded := 0
	for range 16 {
		succeeded += <-ended
	}
	st := stats(t, m).Workspaces
	t.Logf("%d succeeded; %+v", succeeded, st.Counters)
	if succeeded == 0 || st.Counters.ServerRefusals != 0 || st.InUse != 0 {
		t.Errorf("%d succeeded, %d refusals, %+v", succeeded, st.Counters.ServerRefusals, st.Counts)
	}
	fillBudget(t, m, 30)
}

// BenchmarkQuery compares a statement through Query with the same through pgx.
func BenchmarkQuery(b *testing.B) {
	m := openForBenchmark(b)
	for name, q := range map[string]model.Query{
		"read-only":  {Workspace: "w20", SQL: `SELECT $1::int`, Args: []any{json.Number("1")}, ReadOnly: true, MaxRows: 100},
		"read-write": {Workspace: "w20", SQL: `SELECT $1::int`, Args: []any{json.Number("1")}, MaxRows: 100},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.Query(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("pgx", func(b *testing.B) {
		var n int
		for b.Loop() {
			if err := m.Workspace("w20").QueryRow(b.Context(), `SELECT $1::int`, 1).Scan(&n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A control character takes six bytes of an answer, which keeps to its limit.
func TestTheLimitOfBytesCountsWhatJSONEscapes(t *testing.T) {
	m := open(t, config(20))
	for _, test := range []struct {
		sql       string
		truncated bool
	}{
		{`SELECT repeat('x', 600)`, false},
		{`SELECT repeat(chr(1), 100)`, false},
		{`SELECT repeat(chr(1), 101)`, true},
		{`SELECT repeat('"', 300)`, false},
		{`SELECT repeat('"', 301)`, true},
	} {
		if result := query(t, m, model.Query{SQL: test.sql, MaxBytes: 601, ReadOnly: true}); result.Truncated != test.truncated {
			t.Errorf("%s: truncated %v", test.sql, result.Truncated)
		}
	}
}
