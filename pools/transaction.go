package pools

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// transaction is pgx's transaction. Its errors know of the context, and its end
// may give the connection back.
type transaction struct {
	queries // none of which ends the loan
	tx      pgx.Tx
	whole   loan
}

func newTransaction(tx pgx.Tx, whole loan) *transaction {
	return &transaction{queries{loan: loan{conn: whole.conn}, to: tx}, tx, whole}
}

// Begin sets a savepoint.
func (t *transaction) Begin(ctx context.Context) (pgx.Tx, error) {
	nested, err := t.tx.Begin(ctx)
	if err != nil {
		return nil, t.because(ctx, err)
	}
	return newTransaction(nested, t.loan), nil
}

func (t *transaction) Commit(ctx context.Context) error {
	defer t.whole.end()
	return t.because(ctx, t.tx.Commit(ctx))
}

// Rollback takes no notice of ctx's end: it mostly is deferred with the context
// of a request, and a rollback that is not sent costs the connection.
func (t *transaction) Rollback(ctx context.Context) error {
	defer t.whole.end()
	ctx, stop := rollbackContext(ctx)
	defer stop()
	return t.tx.Rollback(ctx)
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
