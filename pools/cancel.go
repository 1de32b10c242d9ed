package pools

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// cancelHandler stops the query whose context is done: it asks the server to
// cancel it. The connection stays usable, which pgx's default (a deadline on the
// network connection) does not leave it; that saves a dial for each cancelled
// request.
//
// A request that overtakes its query finds a backend between queries, which
// drops it (ProcessInterrupts in PostgreSQL); so it is repeated until the query
// has ended.
//
// The server ends the request's own connection after it has signalled the
// backend. So once that end was seen no later query can be hit. When it was not,
// unsure is set and the connection is not used again.
//
// Where nothing runs (WaitForNotification, ReceiveMessage), or nothing is left to run,
// there is nothing to cancel: whoever waits for the server's next message is woken, and
// the connection stays as it is.
type cancelHandler struct {
	network *network
	conn    *pgconn.PgConn
	// ended is closed when the query has ended, stopped when no request is under
	// way any more.
	ended, stopped chan struct{}
	// unsure is written until stopped, and read by the holder of the connection
	// after that.
	unsure bool
	// asked counts the requests that the server has taken; as unsure is.
	asked int
}

// These are variables for tests, which cannot know how soon the machine forks a process
// or runs a goroutine.
var (
	// cancelWithin bounds how long a query may outlive its context.
	cancelWithin = 500 * time.Millisecond
	// wakeAfter is the time for a query to be written whose context ended just before,
	// or to be seen to have ended. Waking it then would cost the connection.
	wakeAfter = time.Millisecond
	// endingTurn is how often a statement of Query that outlives its context is
	// cancelled again. A cancel that comes late costs the connection.
	endingTurn = 100 * time.Millisecond
)

// cancelAgain is the first pause between two requests; it doubles.
const cancelAgain = 25 * time.Millisecond

func (h *cancelHandler) build(conn *pgconn.PgConn) ctxwatch.Handler {
	h.conn = conn
	return h
}

func (h *cancelHandler) HandleCancel(context.Context) {
	deadline := time.Now().Add(cancelWithin)
	_ = h.conn.Conn().SetDeadline(deadline)
	h.ended, h.stopped = make(chan struct{}), make(chan struct{})
	go h.request(deadline)
}

func (h *cancelHandler) HandleUnwatchAfterCancel() {
	close(h.ended)
	<-h.stopped
	h.network.last().woken.Store(false)
	_ = h.conn.Conn().SetDeadline(time.Time{})
}

// request asks until the query has ended.
func (h *cancelHandler) request(deadline time.Time) {
	defer close(h.stopped)
	session := h.network.last()
	if session.answered.Load() && within(h.ended, wakeAfter) {
		return
	}
	if session.answered.Load() {
		session.woken.Store(true)
		_ = h.conn.Conn().SetReadDeadline(time.Now())
		<-h.ended
		return
	}
	ctx, stop := context.WithDeadline(context.Background(), deadline)
	defer stop()
	for pause := cancelAgain; ; pause *= 2 {
		if err := h.conn.CancelRequest(ctx); err != nil || ctx.Err() != nil {
			h.unsure = true
			return
		}
		h.asked++
		if within(h.ended, pause) {
			return
		}
	}
}
