package pools

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
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
	closed    chan struct{} // closed by Close
	endOnce   sync.Once
	closeOnce sync.Once
	// reset: the end was an error, or nobody asked for it, as when a device in
	// between gave up, and says nothing about the backend. Valid after ended.
	reset bool
	// farewell: we ended the session, or the server said that it does. It never goes
	// without a word unless it crashes, so any other end-of-file may be a device's.
	farewell atomic.Bool
	// terminated: the server was sent a Terminate, so it ends the session by itself.
	terminated atomic.Bool
	// broken: sending failed. The system tells an error once, to whoever sends or
	// receives next, and then shows an end-of-file that is none of the server's.
	broken atomic.Bool
	// lost: the server or the network ended the session, not we or who had it.
	lost atomic.Bool
	// answered: the server is ready for the next query (see answers), and was sent
	// nothing since.
	answered atomic.Bool
	// woken: a reader is to give up, which says nothing about the network.
	woken atomic.Bool
	// peeking: Read does not wait for what has not arrived (backend.alive).
	peeking atomic.Bool
}

func newExactConn(raw net.Conn) *exactConn {
	return &exactConn{Conn: raw, ended: make(chan struct{}), closed: make(chan struct{})}
}

func (c *exactConn) Read(p []byte) (int, error) {
	if c.peeking.Load() && c.peek() == nothing {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.woken.Load() {
		// Nothing came although the server was told to stop: a network that is
		// silent here may be so on other connections too.
		c.lost.Store(true)
	}
	c.note(err)
	return n, tunnelled(err)
}

func (c *exactConn) Write(p []byte) (int, error) {
	c.answered.Store(false)
	n, err := c.Conn.Write(p)
	c.noteWrite(err)
	return n, tunnelled(err)
}

// noteWrite records that sending failed.
func (c *exactConn) noteWrite(err error) {
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.broken.Store(true) // what the server sent before may still arrive: not an end
		c.lost.Store(true)
	}
}

// tunnelError is of the TLS that a hook's DialFunc speaks. It is below ours, of which such
// an error says nothing.
type tunnelError struct{ error }

func (e tunnelError) Unwrap() error { return e.error }

// tunnelled marks such an error: nothing else comes from below and is one of TLS.
func tunnelled(err error) error {
	if err != nil && tlsRemedy(err) != "" {
		return tunnelError{err}
	}
	return err
}

// note records the end of the server's side.
func (c *exactConn) note(err error) {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	if !within(c.closed, 0) {
		c.lost.Store(true)
	}
	c.endOnce.Do(func() {
		c.reset = c.broken.Load() || !c.farewell.Load() || !errors.Is(err, io.EOF)
		close(c.ended)
	})
}

// Close ends our side, and returns. The connection is given back to the system
// when the server has ended its side or abandon is called. Calling it again does
// nothing.
func (c *exactConn) Close() error {
	c.farewell.Store(true)
	c.closeOnce.Do(func() {
		close(c.closed)
		go c.linger()
	})
	return nil
}

func (c *exactConn) linger() {
	defer func() { _ = c.Conn.Close() }()
	if c.terminated.Load() && !c.broken.Load() {
		// A proxy that knows no half-closed connections would answer the end of our
		// side with one of its own, and the backend might live on. So the server has
		// time to end first.
		err := c.drain(time.Now().Add(silence))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.note(err)
			return
		}
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			c.broken.Store(true)
		}
	}
	err := os.ErrDeadlineExceeded
	for errors.Is(err, os.ErrDeadlineExceeded) {
		// pgx may still set deadlines; they are not the server's end.
		err = c.drain(time.Time{})
	}
	c.note(err)
}

// drain reads to the end, which it returns.
func (c *exactConn) drain(until time.Time) error {
	_ = c.SetDeadline(until)
	if _, err := io.Copy(io.Discard, c.Conn); err != nil {
		return err
	}
	return io.EOF
}

// abandon ends a lingering connection whose backend is known to be gone.
func (c *exactConn) abandon() { _ = c.Conn.Close() }

// network opens the network connections of one backend and follows them.
type network struct {
	connect pgconn.DialFunc
	onError pgconn.PgErrorHandler // a hook's, or pgx's own
	// opened holds those of the login attempts, of which there may be several,
	// with and without TLS or for several addresses of a host. All but the last
	// have ended. Only the dialing goroutine adds to it.
	opened []*exactConn
	// address is that of the last of them.
	address string
	// refusedWrite: the server has refused to write (25006); refusedOutside: when no
	// transaction had been begun. The holder's.
	refusedWrite, refusedOutside bool
}

// attempt is the key that marks the context of a login. What pgx dials in another
// one, at any time and on a goroutine of its own, is a cancel request: the server
// answers it without a slot.
type attempt struct{}

// dial is the DialFunc of pgx. A further attempt waits until the server has let
// go of the one before: together they hold one slot. At another address there is
// another server, as a rule: then the wait for one that is silent ends.
func (n *network) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	if ctx.Value(attempt{}) == nil {
		return n.open(ctx, protocol, address)
	}
	if before := n.last(); before != nil {
		if address != n.address {
			patience := silence
			if deadline, ok := ctx.Deadline(); ok {
				patience = min(patience, time.Until(deadline)/2)
			}
			if !within(before.ended, patience) {
				before.abandon()
			}
		}
		select {
		case <-before.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	raw, err := n.open(ctx, protocol, address)
	if err != nil {
		return nil, err
	}
	c := newExactConn(raw)
	n.opened, n.address = append(n.opened, c), address
	return c, nil
}

// open calls connect, which may be a hook's.
func (n *network) open(ctx context.Context, protocol, address string) (raw net.Conn, err error) {
	err = recovered(func() (err error) {
		if raw, err = n.connect(ctx, protocol, address); raw == nil && err == nil {
			err = errors.New("DialFunc returned neither a connection nor an error")
		}
		return err
	})
	if errors.As(err, new(*PanicError)) {
		raw, err = nil, fmt.Errorf("DialFunc: %w", err)
	}
	return raw, tunnelled(err)
}

// noteError is the OnPgError of pgx. After a FATAL error the session is over,
// which the end-of-file says only later; pgx closes what is not true.
func (n *network) noteError(pg *pgconn.PgConn, err *pgconn.PgError) bool {
	if err.Code == pgerrcode.ReadOnlySQLTransaction {
		n.refusedWrite = true
		n.refusedOutside = n.refusedOutside || pg.TxStatus() == 'I'
	}
	fatal := endsSession(err)
	if fatal {
		n.last().farewell.Store(true)
		n.last().lost.Store(true)
	}
	open := n.onError == nil || n.onError(pg, err)
	return open && !fatal
}

// endsSession tells whether the server ends the session with this error.
func endsSession(err *pgconn.PgError) bool {
	return err.SeverityUnlocalized == "FATAL" || err.SeverityUnlocalized == "PANIC"
}

// last is the connection that may hold the slot, or nil.
func (n *network) last() *exactConn {
	if len(n.opened) == 0 {
		return nil
	}
	return n.opened[len(n.opened)-1]
}

// answers reads what a server sends, and notes when it is ready for the next query.
// Only here, above TLS and below pgx, is that to be seen: pgx has no word for whether
// a caller waits for a query or for a notification.
//
// With several Syncs in flight (pgx's Pipeline) the first answer counts for all. A
// context that ends then costs the connection, as it does with pgx's own handlers.
type answers struct {
	io.Reader
	session *exactConn
	head    [5]byte // of the message being read: its kind and length
	read    int     // how many bytes of head are there
	body    int     // how many bytes of its body are still to come
}

func (a *answers) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.follow(p[:n])
	return n, err
}

// follow goes from message to message, without a look at what is in them.
func (a *answers) follow(p []byte) {
	for len(p) > 0 {
		if a.read == 0 && len(p) >= len(a.head) {
			if end := 1 + bodyAndLength(p); end <= len(p) { // a whole message, as nearly all are
				a.ended(p[0])
				p = p[end:]
				continue
			}
		}
		if a.read < len(a.head) {
			n := copy(a.head[a.read:], p)
			a.read += n
			p = p[n:]
			if a.read < len(a.head) {
				return
			}
			a.body = bodyAndLength(a.head[:]) - 4
		}
		n := min(a.body, len(p))
		a.body -= n
		p = p[n:]
		if a.body > 0 {
			return
		}
		a.read = 0
		a.ended(a.head[0])
	}
}

func (a *answers) ended(kind byte) {
	if kind == 'Z' { // ReadyForQuery
		a.session.answered.Store(true)
	}
}

// bodyAndLength is what a message's length counts: its body and the length itself.
func bodyAndLength(head []byte) int { return max(4, int(binary.BigEndian.Uint32(head[1:]))) }
