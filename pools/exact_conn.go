package pools

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// exactConn is a network connection whose Close waits, on a goroutine of its
// own, for the server's end-of-file.
//
// PostgreSQL keeps a session's socket open until its backend process is gone,
// so that a client can wait for the end of the connection and then be sure that
// the backend has exited (the comment in socket_close, src/backend/libpq/
// pqcomm.c). A client that closes its side and goes away does not know; its slot
// may be taken for milliseconds, or for as long as a query runs that is not
// told to stop.
type exactConn struct {
	net.Conn
	ended     chan struct{} // closed when the server's side has ended
	endOnce   sync.Once
	closeOnce sync.Once
	// reset: the end was an error, as when a device in between gave up, and says
	// nothing about the backend. Valid after ended.
	reset bool
	// broken: sending failed. The system tells an error once, to whoever sends or
	// receives next, and then shows an end-of-file that is none of the server's.
	broken atomic.Bool
	// lost: the server or the network ended the session, not we.
	lost atomic.Bool
}

func newExactConn(raw net.Conn) *exactConn {
	return &exactConn{Conn: raw, ended: make(chan struct{})}
}

func (c *exactConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.note(err)
	return n, err
}

func (c *exactConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.broken.Store(true) // what the server sent before may still arrive: not an end
		c.lost.Store(true)
	}
	return n, err
}

// note records the end of the server's side.
func (c *exactConn) note(err error) {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	c.lost.Store(true)
	c.endOnce.Do(func() {
		c.reset = c.broken.Load() || !errors.Is(err, io.EOF)
		close(c.ended)
	})
}

// Close ends our side, and returns. The connection is given back to the system
// when the server has ended its side or abandon is called. Calling it again does
// nothing.
func (c *exactConn) Close() error {
	c.closeOnce.Do(func() { go c.linger() })
	return nil
}

func (c *exactConn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			c.broken.Store(true)
		}
	}
	err := os.ErrDeadlineExceeded
	for errors.Is(err, os.ErrDeadlineExceeded) {
		// pgx may still set deadlines; they are not the server's end.
		_ = c.SetDeadline(time.Time{})
		if _, err = io.Copy(io.Discard, c.Conn); err == nil {
			err = io.EOF
		}
	}
	c.note(err)
	_ = c.Conn.Close()
}

// abandon ends a lingering connection whose backend is known to be gone.
func (c *exactConn) abandon() { _ = c.Conn.Close() }

// network opens the network connections of one backend and follows them.
type network struct {
	dialer net.Dialer
	// opened holds those of the login attempts, of which there may be several,
	// with and without TLS or for several addresses of a host. All but the last
	// have ended. Only the dialing goroutine adds to it.
	opened []*exactConn
}

// attempt is the key that marks the context of a login. What pgx dials in another
// one, at any time and on a goroutine of its own, is a cancel request: the server
// answers it without a slot.
type attempt struct{}

// dial is the DialFunc of pgx. A further attempt waits until the server has let
// go of the one before: together they hold one slot.
func (n *network) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	if ctx.Value(attempt{}) == nil {
		return n.dialer.DialContext(ctx, protocol, address)
	}
	if before := n.last(); before != nil {
		select {
		case <-before.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	raw, err := n.dialer.DialContext(ctx, protocol, address)
	if err != nil {
		return nil, err
	}
	c := newExactConn(raw)
	n.opened = append(n.opened, c)
	return c, nil
}

// noteError is the OnPgError of pgx. After a FATAL error the session is over,
// which the end-of-file says only later; pgx closes what is not true.
func (n *network) noteError(_ *pgconn.PgConn, err *pgconn.PgError) bool {
	fatal := err.SeverityUnlocalized == "FATAL" || err.SeverityUnlocalized == "PANIC"
	if fatal {
		n.last().lost.Store(true)
	}
	return !fatal
}

// last is the connection that may hold the slot, or nil.
func (n *network) last() *exactConn {
	if len(n.opened) == 0 {
		return nil
	}
	return n.opened[len(n.opened)-1]
}
