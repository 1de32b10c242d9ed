package door

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// judge is a session whose server says what is left in it.
type judge struct {
	t    rapid.TB
	conn *pgconn.PgConn
}

// judges starts a server, and returns a function that opens sessions on it.
func judges(t *testing.T) func(options ...string) judge {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	server, err := localpg.Start(ctx, localpg.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	return func(options ...string) judge {
		conn, err := pgconn.Connect(ctx, server.SuperuserDSN()+" "+strings.Join(options, " "))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return judge{t, conn}
	}
}

// try sends a simple query, and returns the rows of its last SELECT.
func (j judge) try(sql string) (rows [][]string, err error) {
	results, err := j.conn.Exec(context.Background(), sql).ReadAll()
	for _, r := range results {
		if len(r.FieldDescriptions) > 0 {
			rows = nil
		}
		for _, row := range r.Rows {
			var texts []string
			for _, value := range row {
				texts = append(texts, string(value))
			}
			rows = append(rows, texts)
		}
	}
	return rows, err
}

func (j judge) ask(sql string) [][]string {
	j.t.Helper()
	rows, err := j.try(sql)
	if err != nil {
		j.t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// found is what there is in a session.
type found struct{ settings, custom, things, listens, prepared string }

// look asks without the door's own questions.
func (j judge) look() found {
	j.t.Helper()
	row := j.ask(`SELECT
		(SELECT coalesce(string_agg(name || '=' || setting, ',' ORDER BY name), '') FROM pg_settings WHERE name NOT LIKE 'transaction%' AND source = 'session'),
		coalesce(current_setting('app.who', true), ''),
		concat_ws(' ', (SELECT string_agg(relname, ',') FROM pg_class WHERE relpersistence = 't' AND relnamespace = pg_my_temp_schema()),
			(SELECT string_agg(proname, ',') FROM pg_proc WHERE pronamespace = pg_my_temp_schema()),
			(SELECT string_agg(typname, ',') FROM pg_type WHERE typnamespace = pg_my_temp_schema()),
			(SELECT string_agg(name, ',') FROM pg_cursors WHERE name <> ''),
			(SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE from_sql),
			(SELECT string_agg(mode, ',') FROM pg_locks WHERE locktype = 'advisory'),
			nullif(current_user, 'postgres'), nullif(session_user, 'postgres')),
		(SELECT coalesce(string_agg(c, ','), '') FROM pg_listening_channels() c),
		(SELECT coalesce(string_agg(name, ','), '') FROM pg_prepared_statements WHERE NOT from_sql)`)[0]
	return found{row[0], row[1], row[2], row[3], row[4]}
}

// fresh brings the session to its begin, with one statement that the protocol has prepared.
func (j judge) fresh() {
	j.t.Helper()
	for _, sql := range []string{"ROLLBACK", "RESET SESSION AUTHORIZATION", "RESET standard_conforming_strings", "DISCARD ALL",
		"DROP TABLE IF EXISTS t, y; CREATE TABLE t (a int)"} {
		j.ask(sql)
	}
	if _, err := j.conn.Prepare(context.Background(), "own", "SELECT 1", nil); err != nil {
		j.t.Fatal(err)
	}
}

// carryOut has the server carry out a text, and compares what it left with what the door
// makes of the text.
func (j judge) carryOut(sql string) {
	j.t.Helper()
	before := j.look()
	_, err := j.try(sql)
	if j.conn.TxStatus() != 'I' {
		_, _ = j.try("ROLLBACK")
	}
	after := j.look()
	does := effectsOf(sql)
	missed := func(what, was, is string) {
		j.t.Errorf("%s\n  (error: %v)\nleaves %s: %q, was %q\n  and is said to be %s", sql, err, what, is, was, does.words())
	}
	if after.settings != before.settings && does&(sets|unknown) == 0 {
		missed("settings", before.settings, after.settings)
	}
	if after.custom != before.custom && does&unknown == 0 {
		missed("a setting of nobody's", before.custom, after.custom)
	}
	if does, names := customs(nil).effectsOf(sql); after.custom != before.custom && does&unknown == 0 && !slices.Contains(names, "app.who") {
		j.t.Errorf("%s\nsets app.who, and not %q", sql, names)
	}
	if after.things != before.things && does&(pins|unpins|unknown) == 0 {
		missed("things", before.things, after.things)
	}
	if after.listens != before.listens && does&(pins|unpins|unknown) == 0 {
		missed("channels", before.listens, after.listens)
	}
	if after.prepared != before.prepared && does&(spoils|unknown) == 0 { // a function may do it, too
		missed("prepared statements", before.prepared, after.prepared)
	}
	pinned, listening := leftoversOf(j.ask(askLeftovers))
	if pinned != (after.things+after.listens != "") || listening != (after.listens != "") {
		j.t.Errorf("%s\nleaves %+v; the door's question says %v, %v", sql, after, pinned, listening)
	}
}

// harmful are statements that leave something, with a space wherever there may be white
// space; but for those of one word in quotes.
var harmful = []string{
	`SET work_mem = '77'`, `SET SESSION work_mem TO 77`, `SET "work_mem" TO 77`, `SET TIME ZONE 'UTC'`, `SET TIME ZONE INTERVAL '2' HOUR`,
	`SET NAMES 'LATIN1'`, `SET SCHEMA 'x'`, `SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`, `SET XML OPTION DOCUMENT`, `SET app . who = 'x'`,
	`SET "app" . "who" TO 'x'`, `SET "app.who" TO 'x'`, `SET SESSION "app.who" = 'x'`, `SET ROLE pg_monitor`, `SET SESSION ROLE 'pg_monitor'`, `SET role = 'pg_monitor'`, `SET SESSION AUTHORIZATION pg_monitor`,
	`SET SESSION SESSION AUTHORIZATION 'pg_monitor'`, `SET session_authorization TO pg_monitor`, `SELECT set_config ( 'work_mem' , '77' , false )`,
	`SELECT set_config ( 'work_mem' , '77' , true and false )`, `SELECT set_config ( 'app.who' , 'x' , false )`, `SELECT set_config ( 'role' , 'pg_monitor' , false )`,
	`SELECT set_config ( 'ro' || 'le' , 'pg_monitor' , false )`, `SELECT pg_catalog . set_config ( 'work_mem' , '77' , false )`,
	`SELECT "set_config" ( 'work_mem' , '77' , false )`, `SELECT set_config ( 'app.who' , set_config ( 'work_mem' , '77' , false ) , true )`, `SELECT U&"set\005fconfig" ( 'work_mem' , '77' , false )`,
	`LISTEN x`, `CREATE TEMP TABLE x ( a int )`, `CREATE LOCAL TEMPORARY TABLE x AS SELECT 1`, `CREATE TABLE pg_temp . x ( a int )`, `CREATE TABLE "pg_temp" . x ( a int )`,
	`CREATE TEMP SEQUENCE x`, `CREATE OR REPLACE TEMP VIEW x AS SELECT 1`, `CREATE TYPE pg_temp . x AS ( a int )`, `CREATE VIEW pg_temp . x AS SELECT 1`,
	`CREATE FUNCTION pg_temp . x ( ) RETURNS int LANGUAGE sql AS 'select 1'`, `SELECT 1 INTO TEMP x`, `SELECT 1 INTO LOCAL TEMPORARY TABLE x`,
	`SELECT 1 INTO pg_temp . x`, `WITH a AS ( SELECT 1 ) SELECT * INTO TEMP x FROM a`, `( SELECT 1 INTO TEMP x )`, `EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1`,
	`EXPLAIN ( ANALYZE , COSTS off ) SELECT set_config ( 'work_mem' , '77' , false )`, `BEGIN ; DECLARE x CURSOR WITH HOLD FOR SELECT 1 ; COMMIT`,
	`SELECT pg_advisory_lock ( 1 )`, `SELECT pg_try_advisory_lock_shared ( 1 , 2 )`, `SELECT count ( pg_try_advisory_lock ( 1 ) )`, `PREPARE x AS SELECT 1`,
	`PREPARE x ( int ) AS SELECT $1`, `DEALLOCATE own`, `DEALLOCATE PREPARE ALL`, `DEALLOCATE "own"`, `SET search_path = pg_temp ; CREATE TABLE x ( a int )`,
	`SET LOCAL search_path = pg_temp ; SELECT 1 AS a INTO x`, `BEGIN ; SET LOCAL search_path = pg_temp ; SELECT 1 AS a INTO x ; COMMIT`,
	`SELECT DISTINCT ON ( 1 ) run ( 'LISTEN x' )`, `SELECT 1 OPERATOR ( pg_catalog . + ) length ( run ( 'LISTEN x' ) )`, `CREATE TABLE y AS SELECT run ( 'LISTEN x' )`,
	`PREPARE x AS SELECT run ( 'LISTEN x' ) ; CREATE TEMP TABLE z AS EXECUTE x`, `COPY ( SELECT run ( 'LISTEN x' ) ) TO STDOUT`,
	`INSERT INTO t ( a ) SELECT length ( run ( 'LISTEN x' ) )`, `INSERT INTO t VALUES ( 1 ) RETURNING run ( 'LISTEN x' )`, `SELECT public . run ( 'LISTEN x' )`,
	`SELECT * FROM run ( 'LISTEN x' ) AS r ( a )`, `ALTER TABLE t ADD COLUMN b text DEFAULT run ( 'LISTEN x' )`, `SELECT E'\'' || run ( 'LISTEN x' )`,
	`SELECT query_to_xml ( 'select pg_advisory_lock(1)' , true , true , '' )`, `SELECT '\' , run ( 'LISTEN x' )`, `SELECT E'a'` + "\n" + `'\'' , run ( 'LISTEN x' )`,
	`SELECT $a$ $b$ ' $a$ , run ( 'LISTEN x' )`, `SELECT 1 AS "a""" , run ( 'LISTEN x' )`, `SELECT over ( 'LISTEN x' )`, `SELECT '\'' , run ( 'LISTEN x' ) --'`,
}

// innocent ones leave nothing.
var innocent = []string{
	`SELECT 1`, `SELECT 'LISTEN x'`, `SELECT $$ ; SET work_mem = 77 ; $$`, `SELECT "a" FROM t`, `INSERT INTO t ( a ) VALUES ( 1 )`, `BEGIN`, `COMMIT`, `ROLLBACK`,
	`SET LOCAL work_mem = 77`, `SET LOCAL ROLE pg_monitor`, `SET LOCAL SESSION AUTHORIZATION pg_monitor`, `SET TRANSACTION READ ONLY`, `SET CONSTRAINTS ALL DEFERRED`,
	`SELECT set_config ( 'work_mem' , '77' , true )`, `SELECT pg_advisory_xact_lock ( 1 )`, `SHOW work_mem`, `DISCARD PLANS`, `SELECT '\n'`, `SELECT E'\''`,
	`WITH a ( b ) AS ( SELECT 1 ) SELECT count ( * ) FROM a`, `CREATE TABLE IF NOT EXISTS y ( a varchar ( 3 ) )`, `NOTIFY x`, `ANALYZE t ( a )`, ``, `SELECT setseed ( 0.5 )`,
	`SELECT nextval ( 's' )`, `DECLARE x CURSOR FOR SELECT 1`, `DISCARD SEQUENCES`, `SELECT 1 FROM t AS r ( a ) FOR UPDATE`,
}

const judgesFunctions = `CREATE FUNCTION run(sql text) RETURNS text LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; RETURN sql; END';` +
	`CREATE FUNCTION over(sql text) RETURNS text LANGUAGE plpgsql AS 'BEGIN EXECUTE sql; RETURN sql; END';` +
	`CREATE SEQUENCE s`

// What a statement leaves in its session, the door knows beforehand.
func TestNoStatementLeavesWhatTheDoorDoesNotKnow(t *testing.T) {
	j := judges(t)()
	j.ask(judgesFunctions)
	leaves := func(sql string) {
		j.fresh()
		_, err := j.try(sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
		}
		if now := j.look(); now == (found{prepared: "own"}) {
			t.Errorf("%s leaves nothing: it is no case of this test", sql)
		}
	}
	for _, sql := range harmful {
		if !strings.Contains(sql, `'\'`) && !strings.HasPrefix(sql, "CREATE TABLE y") && !strings.HasPrefix(sql, "ALTER") {
			leaves(sql)
		}
		j.fresh()
		j.carryOut(sql)
		j.fresh()
		j.ask("SET standard_conforming_strings = off")
		j.carryOut(sql)
	}
	for _, sql := range innocent {
		j.fresh()
		before := j.look()
		_, _ = j.try(sql)
		_, _ = j.try("ROLLBACK")
		if after := j.look(); after != before {
			t.Errorf("%s leaves %+v", sql, after)
		}
	}
	if t.Failed() {
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		j := judge{t, j.conn}
		sql := drawText(t)
		j.fresh()
		if rapid.Bool().Draw(t, "escapes") {
			j.ask("SET standard_conforming_strings = off")
		}
		j.carryOut(sql)
	})
}

// drawText draws one of some statements.
func drawText(t *rapid.T) string {
	n := rapid.IntRange(1, 3).Draw(t, "statements")
	var texts []string
	for range n {
		one := rapid.SampledFrom(append(harmful, innocent...)).Draw(t, "statement")
		switch rapid.IntRange(0, 8).Draw(t, "in") {
		case 0:
			one = "DO $do$ BEGIN EXECUTE $sql$" + one + "$sql$ ; END $do$"
		case 1:
			one = "SELECT run ( $sql$" + one + "$sql$ )"
		case 2:
			one = "WITH c AS ( " + one + " ) SELECT * FROM c"
		case 3:
			one = "EXPLAIN ANALYZE " + one
		case 4:
			one = "BEGIN ; " + one + " ; COMMIT"
		case 5:
			one = "PREPARE q AS " + one + " ; EXECUTE q"
		}
		texts = append(texts, one)
	}
	var b strings.Builder
	for word := range strings.SplitSeq(strings.Join(texts, ";"), " ") {
		if !strings.ContainsAny(word, `'"$\`) && rapid.Bool().Draw(t, "upper") {
			word = strings.ToUpper(word)
		}
		b.WriteString(word)
		b.WriteString(rapid.SampledFrom([]string{" ", " ", "\n", "\t\f", "/**/", "/* ' ; /* \" */ $$ */", "-- ' ; $$\n", "--\r"}).Draw(t, "white"))
	}
	return b.String()
}

func TestSettingsGoFromSessionToSession(t *testing.T) {
	open := judges(t)
	a, b, plain := open(), open(), open()
	learned := func(j judge) *settings { return settingsOf(j.ask(askSettings), false) }
	bring := func(j judge, to, from *settings) {
		t.Helper()
		if sql := to.replay(from); sql != "" {
			j.ask(sql)
		}
		if got := learned(j); fmt.Sprint(got.all()) != fmt.Sprint(to.all()) {
			t.Errorf("brought to\n%v\nit is\n%v", to.all(), got.all())
		}
	}
	if got := learned(a); got != nil {
		t.Fatalf("a new session has %v", got.list)
	}
	var states []*settings
	for _, sql := range []string{
		`BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE; SET LOCAL work_mem = 77; SELECT setseed(0.5); COMMIT`,
		`SET search_path = "$user", "odd ""name", public; SET DateStyle = 'SQL, DMY'; SET TIME ZONE INTERVAL '2' HOUR; SET IntervalStyle = iso_8601`,
		`SET client_encoding = LATIN1; SET application_name = 'it''s \ ok'; SET standard_conforming_strings = off`,
		`SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE; SET statement_timeout = '60s'`,
		`RESET client_encoding; SET work_mem = '77MB'; SET temp_tablespaces = ''; SET extra_float_digits = -3; SET escape_string_warning = off; SET backslash_quote = off`,
		`SET statement_timeout = '70s'; SET XML OPTION DOCUMENT; SET lock_timeout = 100; SET local_preload_libraries = DEFAULT`,
		`RESET ALL`,
	} {
		_, err := a.try(sql)
		if err != nil && !strings.Contains(sql, "local_preload") {
			t.Fatal(sql, err)
		}
		states = append(states, learned(a))
	}
	if states[0] != nil || states[len(states)-1] != nil {
		t.Errorf("what ends with its transaction is left: %v, %v", states[0].all(), states[len(states)-1].all())
	}
	if len(states[3].all()) < 11 {
		t.Errorf("only %v", states[3].all())
	}
	begin := plain.look()
	for _, from := range states {
		for _, to := range states {
			bring(b, from, learned(b))
			bring(b, to, from)
		}
	}
	if now := b.look(); now != begin {
		t.Errorf("in the end there is %+v", now)
	}
	odd := []parameter{{"APP.who", "häßlich \\ '' €"}, {"work_mem", "2MB"}, {"application_name", "é"}}
	b.ask(settingsAsked(odd).replay(nil))
	if got := b.ask("SELECT current_setting('app.who'), current_setting('work_mem')")[0]; got[0] != odd[0].value || got[1] != "2MB" {
		t.Errorf("got %q", got)
	}
	b.ask((*settings)(nil).replay(settingsAsked(odd)))
	if now := b.look(); now != begin {
		t.Errorf("in the end there is %+v", now)
	}
}

func TestAResetLeavesNothingButWhatTheProtocolHasPrepared(t *testing.T) {
	j := judges(t)()
	j.ask(judgesFunctions)
	for _, sql := range harmful {
		j.fresh()
		_, _ = j.try(sql)
		_, _ = j.try("ROLLBACK")
		left := j.look()
		_, err := j.try(resetSession)
		_, _ = j.try("ROLLBACK")
		now := j.look()
		if prepares := strings.HasPrefix(sql, "PREPARE"); prepares != (err != nil) {
			t.Errorf("%s: the reset says %v", sql, err)
		} else if !prepares && now != (found{prepared: left.prepared}) {
			t.Errorf("after %s and a reset there is %+v", sql, now)
		}
	}
}

// The door's role is no superuser.
func TestAnyRoleMayAskTheDoorsQuestions(t *testing.T) {
	open := judges(t)
	open().ask("CREATE ROLE other; CREATE ROLE plain LOGIN PASSWORD 'plain' IN ROLE other")
	j := open("user=plain", "password=plain")
	for _, c := range []struct {
		sql               string
		pinned, listening bool
	}{
		{"SELECT 1", false, false},
		{"LISTEN x", true, true},
		{"UNLISTEN x; CREATE TEMP TABLE t (a int)", true, false},
		{"DROP TABLE t; SELECT pg_advisory_lock(1)", true, false},
		{"SELECT pg_advisory_unlock(1); PREPARE p AS SELECT 1", true, false},
		{"DEALLOCATE p; SET ROLE other", true, false},
		{"RESET ROLE", false, false},
	} {
		j.ask(c.sql)
		if pinned, listening := leftoversOf(j.ask(askLeftovers)); pinned != c.pinned || listening != c.listening {
			t.Errorf("after %s: %v, %v", c.sql, pinned, listening)
		}
	}
	j.ask("SET work_mem = 77; SET app.who = 'x'")
	if got := settingsOf(j.ask(customs{"app.who"}.askSettings()), false).all(); len(got) != 2 {
		t.Errorf("its settings are %q", got)
	}
	j.ask(resetSession)
	if got := settingsOf(j.ask(askSettings), false).all(); got != nil {
		t.Errorf("after a reset its settings are %q", got)
	}
}

func BenchmarkQuestions(b *testing.B) {
	server, err := localpg.Start(b.Context(), localpg.Options{InMemory: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	conn, err := pgconn.Connect(b.Context(), server.SuperuserDSN())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for name, sql := range map[string]string{"leftovers": askLeftovers, "settings": askSettings, "reset": resetSession, "nothing": "SELECT 1"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := conn.Exec(b.Context(), sql).ReadAll(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
