package pools

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// because adds the context's error to that of a query which the server cancelled
// for it (see cancelHandler), so that errors.Is finds context.DeadlineExceeded
// and context.Canceled as it does with pgx's own handling.
func because(ctx context.Context, err error) error {
	var cancelled *pgconn.PgError
	if err != nil && ctx.Err() != nil && errors.As(err, &cancelled) && cancelled.Code == "57014" && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// querier is what a pgx connection and a pgx transaction have in common.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

// contextQuerier is a querier whose errors know of the context.
type contextQuerier struct{ to querier }

func (q contextQuerier) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := q.to.Exec(ctx, sql, args...)
	return tag, because(ctx, err)
}

func (q contextQuerier) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := q.to.Query(ctx, sql, args...)
	return &contextRows{rows, ctx}, because(ctx, err)
}

func (q contextQuerier) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return contextRow{q.to.QueryRow(ctx, sql, args...), ctx}
}

func (q contextQuerier) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return &contextBatch{q.to.SendBatch(ctx, batch), ctx}
}

func (q contextQuerier) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	n, err := q.to.CopyFrom(ctx, table, columns, rows)
	return n, because(ctx, err)
}

func (q contextQuerier) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	statement, err := q.to.Prepare(ctx, name, sql)
	return statement, because(ctx, err)
}

type contextRows struct {
	pgx.Rows
	ctx context.Context
}

func (r *contextRows) Err() error { return because(r.ctx, r.Rows.Err()) }

type contextRow struct {
	pgx.Row
	ctx context.Context
}

func (r contextRow) Scan(dest ...any) error { return because(r.ctx, r.Row.Scan(dest...)) }

type contextBatch struct {
	pgx.BatchResults
	ctx context.Context
}

func (b *contextBatch) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, because(b.ctx, err)
}

func (b *contextBatch) Query() (pgx.Rows, error) {
	rows, err := b.BatchResults.Query()
	return &contextRows{rows, b.ctx}, because(b.ctx, err)
}

func (b *contextBatch) QueryRow() pgx.Row { return contextRow{b.BatchResults.QueryRow(), b.ctx} }

func (b *contextBatch) Close() error { return because(b.ctx, b.BatchResults.Close()) }

// failedRow and failedRows carry an error to who asks for results.
type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

type failedRows struct{ err error }

func (r failedRows) Close()                                       {}
func (r failedRows) Err() error                                   { return r.err }
func (r failedRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (r failedRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (r failedRows) Next() bool                                   { return false }
func (r failedRows) Scan(...any) error                            { return r.err }
func (r failedRows) Values() ([]any, error)                       { return nil, r.err }
func (r failedRows) RawValues() [][]byte                          { return nil }
func (r failedRows) Conn() *pgx.Conn                              { return nil }
func (r failedRows) TypeMap() *pgtype.Map                         { return nil }
