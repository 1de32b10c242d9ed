package pools

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// backend is one slot: a connection and the server process behind it. It is
// what the supervisor lends (an actor.Conn). At each moment it has one owner:
// the dialer, the supervisor, the holder of a lease, or the goroutine that
// closes it.
type backend struct {
	network *network
	// driver and pgx are the same connection in two shapes. Both are nil when
	// the login failed.
	driver *stdlib.Conn
	pgx    *pgx.Conn
	// began is when the server process began; with the process id it names the
	// process for as long as the server lives. While it is zero, the server has not
	// said the time yet, and dialed and welcomed, by our clock, are all that is known.
	began            span
	dialed, welcomed time.Time
	cancel           *cancelHandler
	// dialedReadOnly: the session was read-only when it was dialed. mayBeReadOnly is
	// the dialer's.
	dialedReadOnly, mayBeReadOnly bool
	// workspace is what the hooks are told: "" for the system database. managersOwn: it
	// has none but BeforeConnect.
	workspace   model.WorkspaceID
	managersOwn bool
	// place is where it was dialed; asOf is when that was last known to be right, the
	// holder's, and zero without a resolver.
	place    place
	password string // of the login; it is never shown
	// opening is how the session began by its workspace's settings.
	opening opening
	// bare: the session was reset, and lacks what AfterConnect did to it.
	bare bool
	// interrupts counts the calls of interrupt.
	interrupts int
	// dirty: the session was lent to a user and has not been reset since.
	dirty bool
	// wire is what holders of its wire leave with it; nil: there was none.
	wire *wireMemory
	// cut: the server was sent a part of a message.
	cut bool
	// handles are those of future leases; the holder's.
	handles []Conn
	// traced: each lease stores in acquired the stack of its acquire.
	traced   bool
	acquired atomic.Pointer[callers]
	closer   *closer
	// overrun is closed when the hook has returned that did not in time; nil: there is
	// none. Until then the connection is the hook's, and may only be closed.
	overrun <-chan error
	// hijacked: somebody else's for good.
	hijacked bool
	hooks    *hooks // nil until the dial has ended, and for the manager's own
	// typeNames are those that pgx does not know and a Manager.Query asked for.
	typeNames map[uint32]string
}

// span is some time between two moments of the server's clock.
type span struct{ from, to time.Time }

// identify asks the server for the time. It is the test of a connection: a real
// query, in one round trip. And our process began before that moment, but not before
// we dialed, whereas whoever gets its id next begins later.
//
// To ask for the process's exact start takes a new process twice as long: it has
// to read the catalog first. The time comes in binary, or the database's DateStyle
// would have a say in it.
func (b *backend) identify(ctx context.Context) error {
	answer := b.pgx.PgConn().ExecParams(ctx, `SELECT current_timestamp`, nil, nil, nil, []int16{pgx.BinaryFormatCode}).Read()
	if answer.Err != nil {
		return answer.Err
	}
	if len(answer.Rows) != 1 || len(answer.Rows[0]) != 1 {
		return errForeignRow // this is a goroutine of its own, which must not panic
	}
	var now time.Time
	if err := b.pgx.TypeMap().Scan(pgtype.TimestamptzOID, pgx.BinaryFormatCode, answer.Rows[0][0], &now); err != nil {
		return err
	}
	b.began = span{now.Add(-time.Since(b.dialed) - clocksDiffer), now}
	return nil
}

// identifyBy is for a backend that welcomed us and was not heard of again: the
// server has just said the time to somebody else.
func (b *backend) identifyBy(now time.Time) {
	b.began = span{now.Add(-time.Since(b.dialed) - clocksDiffer), now.Add(-time.Since(b.welcomed) + clocksDiffer)}
}

// clocksDiffer is how much more than ours the server's clock may go forward during
// a dial.
const clocksDiffer = time.Second

// test tells whether the connection still works.
func (b *backend) test(ctx context.Context) error {
	_, err := b.pgx.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	return err
}

// health tells in which state a holder gives the connection back.
func (b *backend) health() core.Health {
	conn := b.pgx.PgConn()
	switch {
	case b.network.last().lost.Load():
		return core.Lost
	case conn.IsClosed(), conn.IsBusy(), conn.TxStatus() != 'I', b.cancel.unsure:
		return core.Unclean
	case b.network.refusedWrite:
		return b.afterRefusedWrite()
	}
	return core.Clean
}

// Close ends the session and waits until the server has let go of the slot.
func (b *backend) Close(model.CloseReason) {
	if b.hooks != nil && b.overrun == nil && !b.hijacked {
		b.hooks.beforeClose(b)
	}
	if b.overrun != nil || b.hijacked {
		if conn := b.network.last(); conn != nil {
			_ = conn.Close()
			b.closer.wait(b, false)
		}
		if b.overrun != nil {
			for range b.overrun { // until the hook has returned
			}
		}
		return
	}
	nothingRuns := b.pgx == nil || b.health() == core.Clean
	if b.pgx != nil {
		b.terminate()
	}
	b.closer.wait(b, nothingRuns)
}

// terminate tells the server that the session is over.
func (b *backend) terminate() {
	if b.pgx.PgConn().IsBusy() {
		// The server reads the Terminate only after the running query.
		b.cancelQuery()
	}
	conn := b.network.last()
	conn.farewell.Store(true)
	conn.terminated.Store(!b.pgx.PgConn().IsClosed() && !b.cut) // or pgx has closed it, in whatever way
	_ = conn.SetWriteDeadline(time.Now().Add(terminateWithin))
	// A context that can end would bring in the cancelHandler.
	_ = b.pgx.Close(context.WithoutCancel(context.Background()))
}

// cancelQuery asks the server to cancel what the session runs. The session must
// be ending: the request may come after the query that it is meant for.
func (b *backend) cancelQuery() {
	if b.pgx == nil {
		return // the login failed: there is none
	}
	ctx, stop := context.WithTimeout(context.Background(), terminateWithin)
	defer stop()
	_ = b.pgx.PgConn().CancelRequest(ctx)
}

// interrupt asks the server to cancel what its holder runs. If it cannot be known
// that the request has taken effect or never will, the connection is not used again
// (see cancelHandler).
func (b *backend) interrupt() {
	ctx, stop := context.WithTimeout(context.Background(), cancelWithin)
	defer stop()
	b.interrupts++
	if b.pgx.PgConn().CancelRequest(ctx) != nil {
		b.cancel.unsure = true
	}
}

// cancels is how many cancel requests there have been.
func (b *backend) cancels() int { return b.cancel.asked + b.interrupts }

// terminateWithin bounds telling the server; waiting for it comes after.
const terminateWithin = time.Second
