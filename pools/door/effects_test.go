package door

import (
	"strings"
	"testing"
)

// verdicts are texts with what they may leave.
var verdicts = []struct {
	sql  string
	want effects
}{
	{"", 0},
	{" ;; -- nothing\n/* /* nor */ this */;", 0},
	{"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;", 0},
	{"SELECT count(*), max(a) FILTER (WHERE b IN (1, 2)) OVER (PARTITION BY (c)) FROM t", 0},
	{"SELECT pg_catalog.lower($1), \"lower\"('A')", 0},
	{"INSERT INTO s.t(a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2) RETURNING (a)", 0},
	{"WITH x(a) AS (SELECT 1), y AS MATERIALIZED (SELECT 2) SELECT CAST(a AS numeric(3)) FROM x", 0},
	{"SELECT * FROM (VALUES (1)) AS v(a), generate_series(1, 3) g(i)", 0},
	{"COPY t(a, b) FROM STDIN", 0},
	{"UPDATE t SET a = 'set_config(''x'',''y'',false)' /* f(1) */ -- g(2)", 0},
	{"SELECT $$f(1); LISTEN x$$, $a$ $$ $a$, E'\\' f(1)', U&'f(1)', \"f(1)\"", 0},
	{"BEGIN; SET LOCAL work_mem = 1; SET TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED; COMMIT", 0},
	{"SELECT set_config('a.b', $1, true), pg_advisory_xact_lock(1)", 0},
	{"VACUUM (ANALYZE) t (a)", 0},
	{"PREPARE TRANSACTION 'x'", 0},
	{"DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", 0},
	{"DISCARD PLANS", 0},
	{"SELECT '\\d+'", 0},

	{"SET work_mem = '1MB'", sets},
	{"sEt/**/SESSION work_mem TO DEFAULT", sets},
	{"SET TIME ZONE 'UTC'; SELECT 1", sets},
	{"SET NAMES 'UTF8'", sets},
	{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", sets},
	{"SET app.user = '1'", sets | unknown},
	{"SET \"app.user\" = '1'", sets | unknown},
	{"SET SESSION app.\"us\"\"er\" = '1'", sets | unknown},
	{"RESET ALL", sets},
	{"SELECT set_config('work_mem', '1MB', false)", sets},
	{"SELECT set_config('work_mem', lower('1MB', true), $1)", sets},
	{"SELECT set_config('app.user', '1', false)", sets | unknown},
	{"SELECT set_config($1, $2, false)", sets | unknown | unpins},
	{"SELECT set_config('ro' || 'le', 'x', false)", sets | unknown | unpins},

	{"SET ROLE x", pins | unpins},
	{"SET \"role\" = x", pins | unpins},
	{"SET SESSION AUTHORIZATION x", pins | unpins},
	{"SET SESSION SESSION AUTHORIZATION x", pins | unpins},
	{"SELECT set_config('role', 'x', false)", pins | unpins},
	{"RESET ROLE", unpins},
	{"RESET SESSION AUTHORIZATION", unpins},
	{"SET LOCAL ROLE x", 0},

	{"/* x */ LISTEN y", pins | listens},
	{"UNLISTEN *", unpins},
	{"CREATE TEMP TABLE t (a int)", pins | unpins},
	{"CREATE LOCAL TEMPORARY TABLE t AS SELECT 1", pins | unpins},
	{"CREATE OR REPLACE TEMP VIEW v AS SELECT 1", pins | unpins},
	{"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", pins | unpins},
	{"SELECT 1 INTO TEMP t", pins | unpins},
	{"WITH x AS (SELECT 1) SELECT * INTO LOCAL TEMP t FROM x", pins | unpins},
	{"SELECT merge INTO TEMP t FROM u", pins | unpins},
	{"WITH x AS (SELECT 1) INSERT INTO t(a) SELECT * FROM x", 0},
	{"EXPLAIN (ANALYZE, COSTS off) CREATE TEMP TABLE t AS SELECT 1", pins | unpins},
	{"CREATE TABLE t (temp varchar(20) REFERENCES u(id), PRIMARY KEY (temp))", unpins},
	{"CREATE INDEX i ON t USING btree (lower(a))", unpins},
	{"DECLARE c CURSOR WITH HOLD FOR SELECT 1", pins},
	{"SELECT pg_advisory_lock(1)", pins},
	{"SELECT pg_catalog.pg_try_advisory_lock_shared(1)", pins},
	{"SELECT pg_advisory_unlock_all()", unpins},
	{"PREPARE x(int) AS SELECT $1", pins},
	{"DROP FUNCTION f(int)", unpins},
	{"CLOSE c", unpins},
	{"LOAD 'x'", pins | spoils},
	{"DISCARD TEMP", unpins},
	{"DISCARD ALL", sets | unpins | spoils},
	{"SELECT 1; DEALLOCATE x", unpins | spoils},
	{"DEALLOCATE PREPARE ALL", unpins | spoils},

	{"SELECT f(1)", unknown},
	{"SELECT public.lower('A')", unknown},
	{"SELECT \"Lower\"('A')", unknown},
	{"SELECT f/* */ -- (\n (1)", unknown},
	{"SELECT DISTINCT ON (a) f(a) FROM t", unknown},
	{"SELECT a OPERATOR(pg_catalog.+) f(a) FROM t", unknown},
	{"SELECT E'a'\n'\\' || f(1) || '", 0}, // one string, which goes on
	{"SELECT E'a' -- \n'\\' || f(1) || '", 0},
	{"SELECT E'a' '\\' || f(1) || '", unknown}, // none that the server takes
	{"SELECT 'a\\', f('')", unknown},
	{"SELECT 'a\\'; LISTEN x --'", pins | listens},
	{"SELECT U&\"\\0066\"(1)", unknown | unpins},
	{"SELECT query_to_xml('SELECT f()', true, true, '')", unknown},
	{"EXECUTE x(1)", unknown | unpins},
	{"EXPLAIN ANALYZE EXECUTE x", unknown | unpins},
	{"CREATE TABLE t AS EXECUTE x", unknown | unpins},
	{"CREATE TABLE t AS SELECT f(1)", unknown | unpins},
	{"CREATE EXTENSION x", unknown | unpins},
	{"DO $$BEGIN PERFORM 1; END$$", unknown | unpins},
	{"DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$", unknown | unpins | spoils},
	{"CALL p(1)", unknown | unpins},
	{"FROBNICATE", unknown | unpins},
	{"SELECT 'unfinished", unknown},
	{"SELECT 1 /* unfinished", unknown},
	{"SELECT pg_create_logical_replication_slot('a', 'b', true)", unknown | spoils},
}

func TestWhatAStatementMayLeaveIsReadOffItsText(t *testing.T) {
	for _, v := range verdicts {
		if got := effectsOf(v.sql); got != v.want {
			t.Errorf("%s\n  is %s, want %s", v.sql, got.words(), v.want.words())
		}
	}
}

func (e effects) words() string {
	var words []string
	for i, word := range []string{"sets", "pins", "unpins", "listens", "unknown", "spoils", "custom"} {
		if e&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return "{" + strings.Join(words, " ") + "}"
}

func TestOnlyOneCommandIsCarriedOutByTheDoor(t *testing.T) {
	long := strings.Repeat("é", 40)
	for _, c := range []struct{ sql, command, name string }{
		{"DISCARD ALL", discardAll, ""},
		{" ; discard /* x */ all ;; -- y", discardAll, ""},
		{"DISCARD PLANS", "", ""},
		{"DISCARD \"all\"", "", ""},
		{"DISCARD ALL; SELECT 1", "", ""},
		{"DISCARD ALL ALL", "", ""},
		{"DISCARD ALL /* unfinished", "", ""},
		{"DEALLOCATE ALL", deallocateAll, ""},
		{"DEALLOCATE PREPARE ALL;", deallocateAll, ""},
		{"DEALLOCATE Prepare \"ALL\"", deallocate, "ALL"},
		{"DEALLOCATE Abc_1$", deallocate, "abc_1$"},
		{"DEALLOCATE prepare", deallocate, "prepare"},
		{"DEALLOCATE \"Abc d\"", deallocate, "Abc d"},
		{"DEALLOCATE \"a\"\"b\"", "", ""},
		{"DEALLOCATE U&\"a\"", deallocate, "a"},
		{"DEALLOCATE U&\"\\0061\"", "", ""},
		{"DEALLOCATE " + long, deallocate, long[:62]},
		{"DEALLOCATE " + strings.Repeat("A", 70), deallocate, strings.Repeat("a", 63)},
		{"DEALLOCATE 1", "", ""},
		{"DEALLOCATE", "", ""},
		{"DEALLOCATE a b", "", ""},
		{"SELECT 1", "", ""},
		{"", "", ""},
	} {
		if command, name := sole(c.sql); command != c.command || name != c.name {
			t.Errorf("%s: %q %q", c.sql, command, name)
		}
		if c.command != "" && effectsOf(c.sql)&spoils == 0 {
			t.Errorf("%s spoils nothing", c.sql)
		}
	}
}

// TestNoFunctionIsInTwoLists: the lists become one map.
func TestNoFunctionIsInTwoLists(t *testing.T) {
	seen := map[string]bool{}
	for name := range strings.FieldsSeq(constructs + " over filter " + harmlessOnes) {
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
}

func TestReadingAStatementAllocatesNothing(t *testing.T) {
	for _, v := range verdicts {
		if n := testing.AllocsPerRun(10, func() { effectsOf(v.sql) }); n > 0 {
			t.Errorf("%s: %v", v.sql, n)
		}
	}
}

func BenchmarkEffects(b *testing.B) {
	for name, sql := range map[string]string{
		"select": "SELECT abalance FROM pgbench_accounts WHERE aid = 1234567;",
		"insert": "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				effectsOf(sql)
			}
		})
	}
}
