package pools

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// lookAfter is how long a connection may lie idle and still be lent without a look at
// its socket. The look takes about a microsecond; a busy connection does without.
const lookAfter = 5 * time.Millisecond

// readAtMost bounds the messages that one look reads. A session that listens may have
// been sent any number.
const readAtMost = 10_000

// alive looks, without a round trip, whether the server has ended the session while
// the connection lay idle: because it restarts, somebody terminated the session, or its
// time was over (idle_session_timeout, or that of a proxy in between). Then there is
// something to read: a FATAL error, the end of the stream, or both.
//
// A notification, a notice or a parameter's new value says nothing of the kind; pgx
// keeps the notification for whoever waits for it. Nor does one end say anything about
// other connections, each of which is looked at by itself. What sends no word, as a
// network that drops everything, is found out by [backend.test].
func (b *backend) alive() bool {
	conn, pg := b.network.last(), b.pgx.PgConn()
	for range readAtMost {
		switch arrived := conn.peek(); {
		case pg.Frontend().ReadBufferLen() > 0, arrived == something:
		case arrived == nothing:
			return true
		default:
			return false // pgx would dial once more, to cancel what does not run
		}
		conn.peeking.Store(true)
		message, err := pg.ReceiveMessage(context.Background()) // any other would bring in the cancelHandler
		conn.peeking.Store(false)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true // a part of a message; or nothing but TLS's own
		}
		switch message.(type) {
		case *pgproto3.NotificationResponse, *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			return false // it failed, or nobody asked for this
		}
	}
	return true
}

// arrived is what a look at a socket finds.
type arrived uint8

const (
	nothing arrived = iota
	something
	theEnd // the server's side has ended
)
