package otelpgx_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/otelpgx"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

// Whichever way a query goes.
func TestEachQueryHasASpan(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	manager := throwaway.Open(t, pools.WithHooks(pools.Hooks{BeforeConnect: otelpgx.BeforeConnect(provider)}))
	w := throwaway.Workspace(t, manager, `CREATE TABLE orders (item text)`)
	if n := len(spans.GetSpans()); n != 0 {
		t.Errorf("there are %d spans, and nobody has begun a trace", n)
	}

	ctx, request := provider.Tracer("test").Start(context.Background(), "request")
	read := func(rows pgx.Rows, err error) error {
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		return err
	}
	ways := []struct {
		sql string
		run func(sql string) error
	}{
		{`INSERT INTO orders VALUES ('by Exec')`, func(sql string) error { _, err := w.Exec(ctx, sql); return err }},
		{`SELECT item, 'by Query' FROM orders`, func(sql string) error { return read(w.Query(ctx, sql)) }},
		{`SELECT 'by QueryRow'`, func(sql string) error { return w.QueryRow(ctx, sql).Scan(new(string)) }},
		{`INSERT INTO orders VALUES ('by DB')`, func(sql string) error { _, err := w.DB().ExecContext(ctx, sql); return err }},
		{`SELECT 'by DB'`, func(sql string) error { return w.DB().QueryRowContext(ctx, sql).Scan(new(string)) }},
		{`DELETE FROM orders WHERE item = 'by DB'`, func(sql string) error {
			tx, err := w.DB().BeginTx(ctx, nil)
			if err == nil {
				_, err = tx.ExecContext(ctx, sql)
				err = errors.Join(err, tx.Rollback())
			}
			return err
		}},
		{`SELECT 'by a transaction'`, func(sql string) error {
			return pgx.BeginFunc(ctx, w, func(tx pgx.Tx) error { return read(tx.Query(ctx, sql)) })
		}},
		{`SELECT 'by a connection'`, func(sql string) error {
			return w.AcquireFunc(ctx, func(c *pools.Conn) error { return read(c.Query(ctx, sql)) })
		}},
		{`SELECT 'by a batch'`, func(sql string) error {
			batch := &pgx.Batch{}
			batch.Queue(sql)
			return w.SendBatch(ctx, batch).Close()
		}},
	}
	const broken = `VALUES (broken)`
	want := map[string]int{broken: 1, "begin": 2, "commit": 1, "rollback": 1}
	for _, way := range ways {
		if err := way.run(way.sql); err != nil {
			t.Fatalf("%s: %v", way.sql, err)
		}
		want[way.sql] = 1
	}
	if err := w.QueryRow(ctx, broken, pgx.QueryExecModeExec).Scan(new(string)); err == nil {
		t.Error("no error")
	}
	request.End()
	throwaway.NothingLent(t, manager)

	seen := make(map[string]int)
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID() != request.SpanContext().TraceID() {
			t.Errorf("the span %q is in another trace", span.Name)
		}
		attributes := make(map[string]string)
		for _, a := range span.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
		sql := attributes["db.query.text"]
		if sql == "" || attributes["pgx.prepare_stmt.name"] != "" { // preparing it is another
			continue
		}
		seen[sql]++
		if database := attributes["db.namespace"]; database != "tenantpool_ws_TestEachQueryHasASpan" {
			t.Errorf("%s: it ran in %q", sql, database)
		}
		if state := attributes["pgx.sql_state"]; (sql == broken) != (state == "42703") {
			t.Errorf("%s: SQLSTATE %q", sql, state)
		}
	}
	if !maps.Equal(seen, want) {
		t.Errorf("spans: %v", seen)
	}
}
