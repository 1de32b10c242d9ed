package pools

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// ErrReleased: a Conn was used after its Release.
var ErrReleased = errors.New("tenantpool: this connection was released; acquire another")

// Conn is a connection lent to its holder until Release. Like a *pgx.Conn it
// serves one goroutine at a time. Its methods are those of *pgx.Conn; when ctx
// ends a query, the error wraps ctx.Err() and the connection stays usable.
type Conn struct {
	lease    actor.Lease
	backend  *backend
	released atomic.Bool
}

// Release gives the connection back; it does not block. One that is closed, in
// the middle of a result or in a transaction is closed instead of being lent
// again. A second Release does nothing. Nothing of the connection may be used
// afterwards.
func (c *Conn) Release() {
	if c.released.CompareAndSwap(false, true) {
		c.lease.Release(c.backend.health())
	}
}

// release gives it back with the holder's own finding.
func (c *Conn) release(h model.Health) {
	if c.released.CompareAndSwap(false, true) {
		c.lease.Release(h)
	}
}

// Conn returns the pgx connection, which must not be used or kept after Release,
// nor closed; it is nil after Release. When ctx ends one of its queries, its
// error is the server's (SQLSTATE 57014).
func (c *Conn) Conn() *pgx.Conn {
	if c.released.Load() {
		return nil
	}
	return c.backend.pgx
}

// Exec is pgx's Conn.Exec.
func (c *Conn) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if c.released.Load() {
		return pgconn.CommandTag{}, ErrReleased
	}
	tag, err := c.backend.pgx.Exec(ctx, sql, args...)
	return tag, because(ctx, err)
}

// Query is pgx's Conn.Query. The rows must be closed or read to the end before
// Release.
func (c *Conn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if c.released.Load() {
		return failedRows{ErrReleased}, ErrReleased
	}
	rows, err := c.backend.pgx.Query(ctx, sql, args...)
	return &contextRows{rows, ctx}, because(ctx, err)
}

// QueryRow is pgx's Conn.QueryRow.
func (c *Conn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if c.released.Load() {
		return failedRow{ErrReleased}
	}
	return contextRow{c.backend.pgx.QueryRow(ctx, sql, args...), ctx}
}

// SendBatch is pgx's Conn.SendBatch. The results must be closed, and a
// transaction that the batch began be ended, before Release.
func (c *Conn) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if c.released.Load() {
		return pgx.FailedBatchResults(batch, ErrReleased)
	}
	return c.backend.pgx.SendBatch(ctx, batch)
}

// CopyFrom is pgx's Conn.CopyFrom.
func (c *Conn) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if c.released.Load() {
		return 0, ErrReleased
	}
	n, err := c.backend.pgx.CopyFrom(ctx, table, columns, rows)
	return n, because(ctx, err)
}

// Begin starts a transaction, which must end before Release.
func (c *Conn) Begin(ctx context.Context) (pgx.Tx, error) {
	return c.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (c *Conn) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	if c.released.Load() {
		return nil, ErrReleased
	}
	tx, err := c.backend.pgx.BeginTx(ctx, opts)
	return tx, because(ctx, err)
}

// Ping makes a round trip to the server.
func (c *Conn) Ping(ctx context.Context) error {
	if c.released.Load() {
		return ErrReleased
	}
	return because(ctx, c.backend.pgx.Ping(ctx))
}
