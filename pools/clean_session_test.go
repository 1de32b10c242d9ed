package pools_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// leave runs statements in a lease of w20 that does not clean up, and returns the
// process id of its connection.
func leave(t *testing.T, m *manager, sql ...string) (pid uint32) {
	t.Helper()
	conn, err := m.Acquire(t.Context(), "w20")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	dirty(t, conn, sql...)
	return conn.Conn().PgConn().PID()
}

// dirty runs statements with the simple protocol, which prepares nothing.
func dirty(t *testing.T, conn *pools.Conn, sql ...string) {
	t.Helper()
	for _, s := range sql {
		if _, err := conn.Exec(t.Context(), s, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// mayBecome creates a role without rights that the application's may SET ROLE to.
func mayBecome(t *testing.T, name string) {
	t.Helper()
	admin := superuser(t)
	role(t, admin, name, "none")
	statements(t, admin, fmt.Sprintf(`GRANT %s TO %s`, name, server.User))
}

// ordered creates public.orders with the row 1, archive.orders with the row 999, and
// a function that reads whichever is meant.
func ordered(t *testing.T, m *manager) {
	t.Helper()
	leave(t, m, `DROP SCHEMA IF EXISTS archive CASCADE; DROP TABLE IF EXISTS orders; DROP SEQUENCE IF EXISTS numbers;
		CREATE TABLE orders (n int); INSERT INTO orders VALUES (1);
		CREATE SCHEMA archive; CREATE TABLE archive.orders (n int); INSERT INTO archive.orders VALUES (999);
		CREATE SEQUENCE numbers;
		CREATE OR REPLACE FUNCTION first_order() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT n FROM orders); END $$`)
	t.Cleanup(func() {
		_, err := m.Workspace("w20").Exec(context.Background(), `RESET ALL; DISCARD TEMP;
			DROP FUNCTION first_order(); DROP SCHEMA archive CASCADE; DROP TABLE orders; DROP SEQUENCE numbers`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Error(err)
		}
	})
}

func TestAQueryDoesNotSeeWhatALeaseLeftInTheSession(t *testing.T) {
	m := open(t, config(20))
	ordered(t, m)
	mayBecome(t, "helpless")
	number := func(n int) any { return json.Number(fmt.Sprint(n)) }
	for _, test := range []struct {
		left, sql string
		want      any // a value, or the SQLSTATE of an error
	}{
		{`SET search_path = archive`, `SELECT n FROM orders`, number(1)},
		{`SELECT set_config('search_path', 'archive', false)`, `SELECT n FROM orders`, number(1)},
		{`CREATE TEMP TABLE orders (n int); INSERT INTO orders VALUES (-5)`, `SELECT n FROM orders`, number(1)},
		{`CREATE TEMP VIEW orders AS SELECT -5 AS n`, `SELECT n FROM orders`, number(1)},
		{`SET search_path = archive; SELECT public.first_order()`, `SELECT first_order()`, number(1)}, // its plan is kept
		{`CREATE TEMP TABLE orders (n int); SELECT first_order()`, `SELECT first_order()`, number(1)},
		{`SET ROLE helpless`, `SELECT n FROM orders WHERE current_user = session_user`, number(1)},
		{`SET statement_timeout = 20`, `SELECT 'x' FROM pg_sleep(0.1)`, "x"},
		{`SET lock_timeout = 20`, `SELECT current_setting('lock_timeout')`, "0"},
		{`SET default_transaction_isolation = serializable`, `SELECT current_setting('transaction_isolation')`, "read committed"},
		{`SET client_encoding = LATIN1`, `SELECT length('ä')`, number(1)},
		{`SET DateStyle = 'SQL, DMY'`, `SELECT date '2026-02-03'`, "2026-02-03"},
		{`SET IntervalStyle = iso_8601`, `SELECT interval '1 day'`, "1 day"},
		{`SET bytea_output = escape`, `SELECT '\x00ff'::bytea`, `\x00ff`},
		{`SET extra_float_digits = -10`, `SELECT 0.1::float8 + 0.2::float8`, json.Number("0.30000000000000004")},
		{`SET standard_conforming_strings = off`, `SELECT 'a\\b'`, `a\\b`},
		{`SET app.tenant = 'another'`, `SELECT current_setting('app.tenant', true)`, ""},
		{`DECLARE c CURSOR WITH HOLD FOR SELECT 1`, `SELECT count(*) FROM pg_cursors WHERE name = 'c'`, number(0)},
		{`SELECT nextval('numbers')`, `SELECT currval('numbers')`, sqlState("55000")},
		{`SELECT nextval('numbers')`, `SELECT lastval()`, sqlState("55000")},
		{`SELECT pg_advisory_lock(42)`, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`, number(0)},
		{`LISTEN something; NOTIFY something`, `SELECT count(*) FROM pg_listening_channels()`, number(0)},
		{`PREPARE p AS SELECT -5`, `SELECT count(*) FROM pg_prepared_statements WHERE from_sql`, number(0)},
	} {
		for _, readOnly := range []bool{false, true} {
			leave(t, m, test.left)
			result, err := ask(t, m, model.Query{SQL: test.sql, ReadOnly: readOnly})
			if code, ok := test.want.(sqlState); ok {
				if e := (*model.SQLError)(nil); !errors.As(err, &e) || e.Code != string(code) {
					t.Errorf("%s after %s (read-only %v): %v %v, want SQLSTATE %s", test.sql, test.left, readOnly, result.Rows, err, code)
				}
			} else if want := [][]any{{test.want}}; err != nil || !reflect.DeepEqual(result.Rows, want) {
				t.Errorf("%s after %s (read-only %v): %v %v, want %v", test.sql, test.left, readOnly, result.Rows, err, want)
			}
		}
	}
}

type sqlState string

func TestAnUpdateAfterALeaseChangesTheRightTable(t *testing.T) {
	m := open(t, config(20))
	ordered(t, m)
	for i, left := range []string{
		`SET search_path = archive`,
		`CREATE TEMP TABLE orders (n int); INSERT INTO orders VALUES (-5)`,
		`SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`,
		`SET default_transaction_read_only = on`,
	} {
		leave(t, m, left)
		query(t, m, model.Query{SQL: `UPDATE orders SET n = n + 1`})
		if n := one(t, m, `SELECT n FROM public.orders`); n != json.Number(fmt.Sprint(i+2)) {
			t.Errorf("after %s: %v", left, n)
		}
	}
}

// The reset is a transaction of its own: a failing statement does not undo it, and a
// statement that must not run in a transaction does not notice it. It costs no
// connection.
func TestTheResetBeforeAQueryStandsByItself(t *testing.T) {
	m := open(t, config(20))
	ordered(t, m)
	dials := stats(t, m).Workspaces.Counters.Dials
	leave(t, m, `SET search_path = archive`)
	_, err := ask(t, m, model.Query{SQL: `SELECT 1 / 0`})
	refused(t, err, "22012")
	if n := one(t, m, `SELECT n FROM orders`); n != json.Number("1") {
		t.Errorf("after a failed statement: %v", n)
	}
	leave(t, m, `SET statement_timeout = 0; SET search_path = archive`)
	query(t, m, model.Query{SQL: `VACUUM orders`})
	leave(t, m, `SET search_path = archive`)
	result := query(t, m, model.Query{SQL: `SELECT n FROM orders, generate_series(1, 9)`, MaxRows: 5, ReadOnly: true})
	if len(result.Rows) != 5 || !result.Truncated || len(result.Columns) != 1 || result.Columns[0].Type != "int4" {
		t.Errorf("%+v", result)
	}
	if now := stats(t, m).Workspaces.Counters.Dials; now != dials {
		t.Errorf("%d dials, %d before", now, dials)
	}
}

// A read-only, deferrable transaction waits for every serializable one that writes.
func TestTheResetWaitsForNobodysTransaction(t *testing.T) {
	m := open(t, config(20))
	ordered(t, m)
	writer, err := m.Workspace("w20").BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.Serializable})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Rollback(context.Background()) }()
	if _, err := writer.Exec(t.Context(), `UPDATE archive.orders SET n = 1000`); err != nil {
		t.Fatal(err)
	}
	leave(t, m, `SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE`)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if _, err := m.Query(ctx, model.Query{Workspace: "w20", SQL: `SELECT 1`}); err != nil {
		t.Error(err)
	}
}

// Sessions that cannot be reset are closed, and the statement runs on another
// connection, once.
func TestAQueryLeavesSessionsAloneThatCannotBeReset(t *testing.T) {
	m := open(t, config(20))
	ordered(t, m)
	if _, err := m.Evict(t.Context(), "w20"); err != nil {
		t.Fatal(err)
	}
	before := stats(t, m).Workspaces.Counters.Dials
	var held []*pools.Conn
	for range 3 { // its cap
		conn, err := m.Acquire(t.Context(), "w20")
		if err != nil {
			t.Fatal(err)
		}
		dirty(t, conn, `SET search_path = archive; PREPARE p AS SELECT -5`)
		held = append(held, conn)
	}
	for _, conn := range held {
		conn.Release()
	}
	result := query(t, m, model.Query{SQL: `UPDATE orders SET n = n + 1 RETURNING n`})
	if want := [][]any{{json.Number("2")}}; !reflect.DeepEqual(result.Rows, want) {
		t.Errorf("%v, want %v", result.Rows, want)
	}
	if dials := stats(t, m).Workspaces.Counters.Dials - before; dials != 4 {
		t.Errorf("%d dials, want one for each lease and one for the query", dials)
	}
}

func TestAContextThatEndsWhileTheSessionIsResetIsTold(t *testing.T) {
	m := open(t, config(20))
	for i := range 30 {
		leave(t, m, `SET work_mem = '1MB'`)
		ctx, stop := context.WithTimeout(t.Context(), time.Duration(i)*60*time.Microsecond)
		_, err := m.Query(ctx, model.Query{Workspace: "w20", SQL: `SELECT 1`})
		stop()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	fillBudget(t, m, 10)
}

// What the application leaves in the system database decides nothing of the
// manager's own work there.
func TestTheManagersWorkOverTheSystemDatabaseIsInACleanSession(t *testing.T) {
	m := open(t, config(20))
	mayBecome(t, "helpless")
	t.Cleanup(func() { statements(t, superuser(t), `DROP DATABASE IF EXISTS test_ws_clean`) })
	spoil := func() {
		conn, err := m.System().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		dirty(t, conn,
			`RESET ROLE`, `RESET ALL`,
			`CREATE TEMP TABLE IF NOT EXISTS pg_database (datname text, datallowconn bool, datistemplate bool)`,
			`CREATE TEMP TABLE IF NOT EXISTS pg_stat_activity (pid int, backend_start timestamptz)`,
			`SET search_path = pg_temp, pg_catalog`,
			`SET default_transaction_read_only = on`,
			`SET ROLE helpless`, // who may not create databases
		)
	}
	spoil()
	if err := m.CreateWorkspace(t.Context(), "clean"); err != nil {
		t.Fatal(err)
	}
	spoil()
	if err := m.CreateWorkspace(t.Context(), "clean"); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Errorf("the second time: %v", err)
	}
	spoil()
	if ids, err := m.Workspaces(t.Context()); err != nil || len(ids) <= serverWorkspaces {
		t.Errorf("%d workspaces, %v", len(ids), err)
	}
	spoil()
	if _, err := m.SetLimits(t.Context(), 20, 3); err != nil {
		t.Error(err)
	}
	spoil()
	if err := m.DropWorkspace(t.Context(), "clean"); err != nil {
		t.Error(err)
	}
}

// However many connections of the system database the application holds.
func TestTheManagersOwnConnectionIsNeverLent(t *testing.T) {
	m := open(t, config(20))
	for range stats(t, m).System.PerWorkspace {
		conn, err := m.System().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	if _, err := m.Workspaces(t.Context()); err != nil {
		t.Error(err)
	}
}

// BenchmarkQueryAfterALease is the price of the reset.
func BenchmarkQueryAfterALease(b *testing.B) {
	m := openForBenchmark(b)
	for name, lease := range map[string]bool{"clean": false, "dirty": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if lease {
					conn, err := m.Acquire(b.Context(), "w20")
					if err != nil {
						b.Fatal(err)
					}
					conn.Release()
				}
				if _, err := m.Query(b.Context(), model.Query{Workspace: "w20", SQL: `SELECT 1`}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
