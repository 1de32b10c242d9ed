package pools

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model/core"
)

// ErrReleased: a Conn was used after its Release.
var ErrReleased = errors.New("tenantpool: this connection was released; acquire another")

// Conn is a connection lent to its holder until Release. Like a *pgx.Conn it
// serves one goroutine at a time. Its methods block and fail as those of
// *pgx.Conn: an error of the server is a *pgconn.PgError. When ctx ends a query,
// the error wraps ctx.Err() and the connection stays usable; the server is told
// to stop, which a query may outlive by at most half a second. When the server or the
// network ends the session, the error wraps model.ErrConnectionLost. After Release
// they return ErrReleased.
type Conn struct {
	lease   actor.Lease
	backend *backend
	// ending is what its Release takes besides; nil: nothing.
	ending *ending
}

// ending is what few leases have, so that the handles of the others are small.
type ending struct {
	// traced tells the tracer, or is nil.
	traced func()
	// hooks has an AfterRelease, or is nil.
	hooks *hooks
	// returned: its holder has given it back, and a hook has it, or who hijacked it.
	returned atomic.Bool
}

// end returns its ending, for the holder to add to.
func (c *Conn) end() *ending {
	if c.ending == nil {
		c.ending = new(ending)
	}
	return c.ending
}

// newConn makes the handle of a lease. Each lease has one of its own, never used
// again, so that whoever still holds it after Release holds nothing.
func newConn(lease actor.Lease) *Conn {
	b := lease.Conn().(*backend)
	if len(b.handles) == 0 {
		b.handles = make([]Conn, handlesAtOnce)
	}
	c := &b.handles[0]
	b.handles = b.handles[1:]
	c.lease, c.backend = lease, b
	if b.traced {
		b.acquired.Store(newCallers())
	}
	return c
}

// handlesAtOnce: one allocation for so many leases.
const handlesAtOnce = 32

// Release gives the connection back; it does not block. One that is closed, in
// the middle of a result or in a transaction is closed instead of being lent
// again. A second Release does nothing. Nothing of the connection may be used
// afterwards.
func (c *Conn) Release() {
	if !c.ends() {
		return
	}
	c.giveBack()
}

// giveBack releases a connection in the state that it is in, after the hook that is asked
// about a clean one.
func (c *Conn) giveBack() {
	health := c.backend.health()
	if c.ending == nil || c.ending.hooks == nil || health != core.Clean {
		c.lease.Release(health)
		return
	}
	go c.ending.hooks.afterRelease(c)
}

// Discard is Release of a connection that is not to be lent again: it is closed. It does
// not block.
func (c *Conn) Discard() {
	if c.ends() {
		c.giveUp()
	}
}

// Hijack takes the connection out of the Manager's hands, as for pglogrepl: the caller owns
// it from now on, and has to close it. Its slot stays taken until then, and until the
// server has let go; [Manager.Close] waits for it. The Conn is as after Release. It is nil
// after Release.
func (c *Conn) Hijack() *pgx.Conn {
	if !c.ends() {
		return nil
	}
	c.end().returned.Store(true)
	c.backend.hijacked = true
	network := c.backend.network.last()
	go func() {
		select {
		case <-network.closed:
		case <-network.ended:
		}
		c.release(core.Unclean)
	}()
	return c.backend.pgx
}

// ended tells whether its holder has given it back.
func (c *Conn) ended() bool {
	return c.lease.Ended() || c.ending != nil && c.ending.returned.Load()
}

// ends tells whether the lease is still to be released, of which a tracer is told.
func (c *Conn) ends() bool {
	e := c.ending
	if c.ended() || e != nil && e.hooks != nil && !e.returned.CompareAndSwap(false, true) {
		return false
	}
	if e != nil && e.traced != nil {
		e.traced()
	}
	return true
}

// giveUp releases a connection to be closed, which a hook may still have.
func (c *Conn) giveUp() {
	health := core.Unclean
	if c.backend.overrun == nil {
		health = max(health, c.backend.health())
	}
	c.release(health)
}

// looksAlive reports whether the connection, which was just lent, is still open. It
// looks at the socket if the connection was idle for lookAfter, and releases a dead one.
func (c *Conn) looksAlive() bool {
	if c.lease.Idle() < lookAfter || c.backend.alive() {
		return true
	}
	c.release(core.Unclean) // and not Lost: this says nothing about the others
	return false
}

// release gives it back with the holder's own finding.
func (c *Conn) release(h core.Health) { c.lease.Release(h) }

// Conn returns the pgx connection, which must not be used or kept after Release; it is
// nil after Release. Closing it ends the session, and Release then frees the slot. When
// ctx ends one of its queries, its error is the server's (SQLSTATE 57014).
// WaitForNotification and other waits without a query return within milliseconds of their
// context's end, and the connection stays usable.
func (c *Conn) Conn() *pgx.Conn {
	if c.ended() {
		return nil
	}
	return c.backend.pgx
}

// queries fail after Release.
func (c *Conn) queries() queries {
	if c.ended() {
		return queries{err: ErrReleased}
	}
	return queries{loan: loan{conn: c}, to: c.backend.pgx}
}

// Exec is pgx's Conn.Exec.
func (c *Conn) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return c.queries().Exec(ctx, sql, args...)
}

// Query is pgx's Conn.Query. The rows must be closed or read to the end before
// the next query, and before Release.
func (c *Conn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return c.queries().Query(ctx, sql, args...)
}

// QueryRow is pgx's Conn.QueryRow. The row must be scanned before the next
// query, and before Release.
func (c *Conn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return c.queries().QueryRow(ctx, sql, args...)
}

// SendBatch is pgx's Conn.SendBatch. The results must be closed, and a
// transaction that the batch began be ended, before Release.
func (c *Conn) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return c.queries().SendBatch(ctx, batch)
}

// CopyFrom is pgx's Conn.CopyFrom.
func (c *Conn) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return c.queries().CopyFrom(ctx, table, columns, rows)
}

// Begin starts a transaction, which must end before Release. As with pgx, ctx
// is for the BEGIN only; its end does not roll back. Rollback is sent also when
// its own ctx is done, and blocks for at most a second.
func (c *Conn) Begin(ctx context.Context) (pgx.Tx, error) {
	return c.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (c *Conn) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return c.queries().begin(ctx, opts)
}

// Ping makes a round trip to the server.
func (c *Conn) Ping(ctx context.Context) error { return c.queries().ping(ctx) }
