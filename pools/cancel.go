package pools

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// cancelHandler stops the query whose context is done: it asks the server to
// cancel it, and waits until the server has taken the request. The connection
// stays usable, which pgx's default (a deadline on the network connection) does
// not leave it; that saves a dial for each cancelled request.
//
// The server ends the request's own connection after it has signalled the
// backend, and a backend that is between queries drops the signal
// (ProcessInterrupts in PostgresMain). So once that end was seen no later query
// can be hit. When it was not, unsure is set and the connection is not used
// again.
type cancelHandler struct {
	conn *pgconn.PgConn
	// unsure is written while a context is watched, and read by the holder of
	// the connection after that.
	unsure bool
}

// cancelWithin bounds how long a query may outlive its context: the server's
// answer to the cancel request must come, and the query must end.
const cancelWithin = 500 * time.Millisecond

func (h *cancelHandler) build(conn *pgconn.PgConn) ctxwatch.Handler {
	h.conn = conn
	return h
}

func (h *cancelHandler) HandleCancel(context.Context) {
	deadline := time.Now().Add(cancelWithin)
	_ = h.conn.Conn().SetDeadline(deadline)
	ctx, stop := context.WithDeadline(context.Background(), deadline)
	defer stop()
	if err := h.conn.CancelRequest(ctx); err != nil || ctx.Err() != nil {
		h.unsure = true
	}
}

func (h *cancelHandler) HandleUnwatchAfterCancel() {
	_ = h.conn.Conn().SetDeadline(time.Time{})
}
