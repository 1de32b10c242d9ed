package otelsql_test

import (
	"context"
	"slices"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/otelsql"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestEachStatementHasASpan(t *testing.T) {
	ctx := context.Background()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	manager := throwaway.Open(t)
	w := throwaway.Workspace(t, manager, `CREATE TABLE orders (item text)`)
	db := otelsql.Open(w, provider)

	if _, err := db.ExecContext(ctx, `INSERT INTO orders VALUES ($1)`, "tea"); err != nil {
		t.Fatal(err)
	}
	var item string
	if err := db.QueryRowContext(ctx, `SELECT item FROM orders`).Scan(&item); err != nil || item != "tea" {
		t.Fatal(item, err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM orders`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, `SELECT broken`); err == nil {
		t.Fatal("no error")
	}
	throwaway.NothingLent(t, manager) // though db keeps database/sql's connections

	var statements []string
	for _, span := range spans.GetSpans() {
		var statement, workspace string
		for _, a := range span.Attributes {
			switch a.Key {
			case "db.query.text", "db.statement":
				statement = a.Value.AsString()
			case "workspace.id":
				workspace = a.Value.AsString()
			}
		}
		if workspace != string(w.ID()) {
			t.Errorf("the span %s is of workspace %q", span.Name, workspace)
		}
		if statement != "" {
			statements = append(statements, statement)
		}
	}
	want := []string{`INSERT INTO orders VALUES ($1)`, `SELECT item FROM orders`, `DELETE FROM orders`, `SELECT broken`}
	if !slices.Equal(statements, want) {
		t.Errorf("there are spans for %q", statements)
	}

	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := w.DB().PingContext(ctx); err != nil {
		t.Error("the *sql.DB that others have:", err)
	}
}
