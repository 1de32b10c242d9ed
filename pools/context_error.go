package pools

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenantpool/tenantpool/model"
)

// because says more of a failed statement than pgx does. Where the session has ended,
// and not by us, errors.Is finds model.ErrConnectionLost. Where the server cancelled
// the statement for its context (see cancelHandler) it finds context.DeadlineExceeded
// or context.Canceled, as it does with pgx's own handling.
func (b *backend) because(ctx context.Context, err error) error {
	var said *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case b.lostBy(ctx, err):
		return fmt.Errorf("%w: %w", model.ErrConnectionLost, err)
	case ctx.Err() != nil && errors.As(err, &said) && said.Code == pgerrcode.QueryCanceled && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// lostBy tells whether a statement failed with err because the server or the network
// ended the session. A network that is silent after ctx has ended is none of it: the
// context's end says more.
func (b *backend) lostBy(ctx context.Context, err error) bool {
	if errors.Is(err, model.ErrConnectionLost) {
		return false // it says so already
	}
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return endsSession(said)
	}
	var network net.Error
	return ctx.Err() == nil && b.network.last().lost.Load() &&
		(errors.As(err, &network) || pgconn.SafeToRetry(err) || isAny(err, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn))
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
type contextQuerier struct {
	to      querier
	backend *backend
}

func (q contextQuerier) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := q.to.Exec(ctx, sql, args...)
	return tag, q.backend.because(ctx, err)
}

func (q contextQuerier) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := q.to.Query(ctx, sql, args...)
	return &contextRows{rows, ctx, q.backend}, q.backend.because(ctx, err)
}

func (q contextQuerier) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return contextRow{q.to.QueryRow(ctx, sql, args...), ctx, q.backend}
}

func (q contextQuerier) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return &contextBatch{q.to.SendBatch(ctx, batch), ctx, q.backend}
}

func (q contextQuerier) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	n, err := q.to.CopyFrom(ctx, table, columns, rows)
	return n, q.backend.because(ctx, err)
}

func (q contextQuerier) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	statement, err := q.to.Prepare(ctx, name, sql)
	return statement, q.backend.because(ctx, err)
}

type contextRows struct {
	pgx.Rows
	ctx     context.Context
	backend *backend
}

func (r *contextRows) Err() error { return r.backend.because(r.ctx, r.Rows.Err()) }

type contextRow struct {
	pgx.Row
	ctx     context.Context
	backend *backend
}

func (r contextRow) Scan(dest ...any) error { return r.backend.because(r.ctx, r.Row.Scan(dest...)) }

type contextBatch struct {
	pgx.BatchResults
	ctx     context.Context
	backend *backend
}

func (b *contextBatch) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, b.backend.because(b.ctx, err)
}

func (b *contextBatch) Query() (pgx.Rows, error) {
	rows, err := b.BatchResults.Query()
	return &contextRows{rows, b.ctx, b.backend}, b.backend.because(b.ctx, err)
}

func (b *contextBatch) QueryRow() pgx.Row {
	return contextRow{b.BatchResults.QueryRow(), b.ctx, b.backend}
}

func (b *contextBatch) Close() error { return b.backend.because(b.ctx, b.BatchResults.Close()) }

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
