package pools

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// transaction is pgx's transaction. Its errors know of the context, and its end
// may give the connection back.
type transaction struct {
	contextQuerier
	tx   pgx.Tx
	conn *Conn
	// borrowed: the connection was borrowed for this transaction alone.
	borrowed bool
}

func newTransaction(tx pgx.Tx, conn *Conn, borrowed bool) *transaction {
	return &transaction{contextQuerier{tx, conn.backend}, tx, conn, borrowed}
}

// Begin sets a savepoint.
func (t *transaction) Begin(ctx context.Context) (pgx.Tx, error) {
	nested, err := t.tx.Begin(ctx)
	if err != nil {
		return nil, t.backend.because(ctx, err)
	}
	return newTransaction(nested, t.conn, false), nil
}

func (t *transaction) Commit(ctx context.Context) error {
	defer t.end()
	return t.backend.because(ctx, t.tx.Commit(ctx))
}

// Rollback takes no notice of ctx's end: it mostly is deferred with the context
// of a request, and a rollback that is not sent costs the connection.
func (t *transaction) Rollback(ctx context.Context) error {
	defer t.end()
	ctx, stop := rollbackContext(ctx)
	defer stop()
	return t.tx.Rollback(ctx)
}

func (t *transaction) end() {
	if t.borrowed {
		t.conn.Release()
	}
}

// LargeObjects are pgx's: when ctx ends one of their queries, the error is the
// server's.
func (t *transaction) LargeObjects() pgx.LargeObjects { return t.tx.LargeObjects() }

// Conn is nil when the connection was released.
func (t *transaction) Conn() *pgx.Conn { return t.conn.Conn() }

// rollbackWithin bounds a rollback. After it, and cancelWithin, the connection is
// closed, which rolls back as well: a request whose network is dead is over within a
// second after its deadline.
const rollbackWithin = 400 * time.Millisecond

func rollbackContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), rollbackWithin)
}

// transactionBatch are the results of a batch that began a transaction, which
// goes on after the batch.
type transactionBatch struct {
	pgx.BatchResults
	tx *transaction
}

func (b *transactionBatch) Tx() pgx.Tx { return b.tx }

func (b *transactionBatch) Close() error {
	err := b.BatchResults.Close()
	if conn := b.tx.Conn(); conn != nil && (conn.IsClosed() || conn.PgConn().TxStatus() == 'I') {
		b.tx.end() // it did not begin
	}
	return err
}
