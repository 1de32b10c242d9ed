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

// contextRows are rows whose errors know of the context.
type contextRows struct {
	pgx.Rows
	ctx context.Context
}

func (r *contextRows) Err() error             { return because(r.ctx, r.Rows.Err()) }
func (r *contextRows) Scan(dest ...any) error { return because(r.ctx, r.Rows.Scan(dest...)) }

type contextRow struct {
	pgx.Row
	ctx context.Context
}

func (r contextRow) Scan(dest ...any) error { return because(r.ctx, r.Row.Scan(dest...)) }

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
