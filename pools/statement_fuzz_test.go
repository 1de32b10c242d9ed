package pools_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// What a statement does is the server's; whatever it is, the answer can be written
// as JSON and keeps to its limits, an error is the server's or the context's, no slot
// is lost, and the next statement finds a session as new.
func FuzzStatements(f *testing.F) {
	for _, seed := range []struct{ sql, args string }{
		{"SELECT $1::text", `["a"]`}, {"SELECT $1::int, $2::jsonb", `[1,{"a":[null]}]`}, {"SELECT generate_series(1, 1000)", `[]`},
		{"SELECT repeat('x', 100000)", `[]`}, {"SELECT (repeat('[', 12000) || repeat(']', 12000))::json", `[]`}, {`SELECT '"\ud800"'::json`, `[]`},
		{"SELECT 'NaN'::float8, '1e-300'::float8, '-0'::float4", `[]`}, {"SELECT", `[]`}, {"", `[]`}, {"SELECT 1; SELECT 2", `[]`},
		{"BEGIN", `[]`}, {"COMMIT", `[]`}, {"SET application_name = 'other'", `[]`}, {"SET SESSION AUTHORIZATION DEFAULT", `[]`},
		{"CREATE TEMP TABLE t (a int)", `[]`}, {"LISTEN a", `[]`}, {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", `[]`}, {"PREPARE p AS SELECT 1", `[]`},
		{"COPY (SELECT 1) TO STDOUT", `[]`}, {"COPY pg_class FROM STDIN", `[]`}, {"DO $$ BEGIN PERFORM 1; END $$", `[]`}, {"DISCARD ALL", `[]`},
		{"SELECT pg_advisory_lock(1)", `[]`}, {"SELECT pg_sleep(10)", `[]`}, {"SELECT pg_terminate_backend(pg_backend_pid())", `[]`},
		{"EXPLAIN SELECT 1", `[]`}, {"SELECT $1", `["\u0000"]`}, {"SELECT 1/$1::int", `[0]`}, {"SHOW ALL", `[]`},
	} {
		f.Add(seed.sql, seed.args, true)
		f.Add(seed.sql, seed.args, false)
	}
	own := server
	if own == nil { // a search runs no tests, and TestMain started no server
		var err error
		if own, err = localpg.Start(context.Background(), localpg.Options{InMemory: true}); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = own.Stop() })
		if err := own.CreateDatabases(context.Background(), "test_ws_w20"); err != nil {
			f.Fatal(err)
		}
	}
	cfg := configOf(own, 20)
	cfg.MaxConnectionsPerDB = 1 // so that each statement follows on the one before
	m, err := pools.Open(context.Background(), cfg, pools.WithLogger((&logBuffer{}).logger()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		defer stop()
		if err := m.Close(ctx); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, sql, text string, readOnly bool) {
		var args []any
		if json.Unmarshal([]byte(text), &args) != nil {
			t.Skip("no list")
		}
		for i, arg := range args {
			if n, ok := arg.(float64); ok {
				args[i] = json.Number(must(json.Marshal(n)))
			}
		}
		q := model.Query{Workspace: "w20", SQL: sql, Args: args, ReadOnly: readOnly, MaxRows: 100, MaxBytes: 10_000}
		ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer stop()
		result, err := m.Query(ctx, q)
		var refused *model.SQLError
		if err != nil && !errors.As(err, &refused) && !errors.Is(err, model.ErrConnectionLost) && ctx.Err() == nil { // it may terminate its own session
			t.Errorf("%q: %v", sql, err)
		}
		if _, err := json.Marshal(result.Rows); err != nil || len(result.Rows) > q.MaxRows {
			t.Errorf("%q: %d rows, %v", sql, len(result.Rows), err)
		}
		after, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		st, err := m.Stats(after)
		if err != nil || st.Workspaces.InUse != 0 {
			t.Errorf("after %q: %+v, %v", sql, st.Workspaces.Counts, err)
		}
		q.SQL, q.Args, q.ReadOnly = sessionTraces, nil, false
		traces, err := m.Query(after, q)
		if err != nil || len(traces.Rows) != 1 || traces.Rows[0][0] != json.Number("0") {
			t.Errorf("after %q: %v, %v", sql, traces.Rows, err)
		}
	})
}

// sessionTraces counts what a statement may leave to the next one.
const sessionTraces = `
SELECT (SELECT count(*) FROM pg_listening_channels()) + (SELECT count(*) FROM pg_cursors WHERE name <> '')
     + (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
     + (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())
     + (SELECT count(*) FROM pg_settings WHERE source = 'session')
     + (CASE WHEN session_user = current_user THEN 0 ELSE 1 END)`

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
