package pools

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// querier is what a pgx connection and a pgx transaction have in common.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

// queries are those of a [Conn], a [Workspace] or a transaction. Their errors know of the
// context, and their end gives a borrowed connection back.
type queries struct {
	loan
	to  querier
	err error // why there is no connection; to is nil then
}

// loan is what a statement, a result or a transaction knows of its connection.
type loan struct {
	conn *Conn
	// borrowed: it is lent for this one call, whose end gives it back. After that the
	// result must not touch it: it may be another holder's.
	borrowed bool
}

func (l loan) end() {
	if l.borrowed {
		l.conn.Release()
	}
}

func (l loan) because(ctx context.Context, err error) error {
	return l.conn.backend.because(ctx, err)
}

func (q queries) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if q.err != nil {
		return pgconn.CommandTag{}, q.err
	}
	defer q.end()
	tag, err := q.to.Exec(ctx, sql, args...)
	return tag, q.because(ctx, err)
}

func (q queries) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if q.err != nil {
		return failedRows{q.err}, q.err
	}
	result, err := q.to.Query(ctx, sql, args...)
	if err != nil {
		defer q.end()
		return &rows{result, ctx, loan{conn: q.conn}}, q.because(ctx, err)
	}
	return &rows{result, ctx, q.loan}, nil
}

func (q queries) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if q.err != nil {
		return failedRow{q.err}
	}
	return row{q.to.QueryRow(ctx, sql, args...), ctx, q.loan}
}

func (q queries) SendBatch(ctx context.Context, sent *pgx.Batch) pgx.BatchResults {
	if q.err != nil {
		return pgx.FailedBatchResults(sent, q.err)
	}
	results := q.to.SendBatch(ctx, sent)
	if tx := results.Tx(); tx != nil {
		return &batch{results, ctx, loan{conn: q.conn}, newTransaction(tx, q.loan)}
	}
	return &batch{results, ctx, q.loan, nil}
}

func (q queries) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if q.err != nil {
		return 0, q.err
	}
	defer q.end()
	n, err := q.to.CopyFrom(ctx, table, columns, rows)
	return n, q.because(ctx, err)
}

func (q queries) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	statement, err := q.to.Prepare(ctx, name, sql)
	return statement, q.because(ctx, err)
}

func (q queries) begin(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	if q.err != nil {
		return nil, q.err
	}
	tx, err := q.conn.backend.pgx.BeginTx(ctx, opts)
	if err != nil {
		defer q.end()
		return nil, q.because(ctx, err)
	}
	return newTransaction(tx, q.loan), nil
}

func (q queries) ping(ctx context.Context) error {
	if q.err != nil {
		return q.err
	}
	defer q.end()
	return q.because(ctx, q.conn.backend.pgx.Ping(ctx))
}

type rows struct {
	pgx.Rows
	ctx context.Context
	loan
}

func (r *rows) Err() error { return r.because(r.ctx, r.Rows.Err()) }

func (r *rows) Close() {
	r.Rows.Close()
	r.end()
}

func (r *rows) Next() bool {
	more := r.Rows.Next()
	if !more {
		r.Close()
	}
	return more
}

func (r *rows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close() // as pgx does
	}
	return err
}

func (r *rows) Values() ([]any, error) {
	values, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return values, err
}

type row struct {
	pgx.Row
	ctx context.Context
	loan
}

func (r row) Scan(dest ...any) error {
	defer r.end()
	return r.because(r.ctx, r.Row.Scan(dest...))
}

type batch struct {
	pgx.BatchResults
	ctx context.Context
	loan
	tx *transaction // that it began, if any, which goes on after it
}

func (b *batch) Tx() pgx.Tx {
	if b.tx == nil {
		return nil
	}
	return b.tx
}

func (b *batch) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, b.because(b.ctx, err)
}

func (b *batch) Query() (pgx.Rows, error) {
	result, err := b.BatchResults.Query()
	return &rows{result, b.ctx, loan{conn: b.conn}}, b.because(b.ctx, err)
}

func (b *batch) QueryRow() pgx.Row {
	return row{b.BatchResults.QueryRow(), b.ctx, loan{conn: b.conn}}
}

func (b *batch) Close() error {
	defer b.end()
	err := b.because(b.ctx, b.BatchResults.Close())
	if b.tx == nil {
		return err
	}
	if conn := b.tx.Conn(); conn != nil && (conn.IsClosed() || conn.PgConn().TxStatus() == 'I') {
		b.tx.whole.end() // it did not begin
	}
	return err
}

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
