package pools

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/internal/reset"
	"github.com/tenantpool/tenantpool/pools/socket"
)

// Wire is a connection lent to a holder that speaks PostgreSQL's protocol itself, as
// package door does for its clients. It is a lease as any other: the slot, the queue and
// the hooks are those of [Manager.Acquire]. Until Release the holder alone reads and
// writes; Cancel may be called from any goroutine meanwhile.
type Wire struct {
	conn    *Conn
	stream  *socket.Socket
	session *exactConn
	// unsure: a cancel request may still take effect.
	unsure atomic.Bool
}

// wireMemory is what the holders of its wire leave with a connection for one another.
type wireMemory struct {
	stream *socket.Socket
	value  any
	// altered: they have left the session not as it was dialed. Nobody else gets it like
	// that. reset: it was made so since.
	altered, reset bool
}

// altered tells whether holders of its wire have left the session not as it was dialed.
func (b *backend) altered() bool { return b.wire != nil && b.wire.altered }

// AcquireWire is Acquire for such a holder. It blocks, and its errors are those of Acquire.
func (m *Manager) AcquireWire(ctx context.Context, id model.WorkspaceID) (*Wire, error) {
	if w := m.SeatedWire(ctx, id); w != nil {
		return w, nil
	}
	for {
		var foreign bool
		conn, err := m.handOut(ctx, id, func(ctx context.Context, id model.WorkspaceID, since time.Time) (*Conn, error) {
			conn, err := m.lend(ctx, id, since)
			foreign = err == nil && conn.backend.dirty && !conn.backend.altered()
			return conn, err
		})
		if err != nil {
			return nil, err
		}
		if w := m.wire(ctx, conn, foreign); w != nil {
			return w, nil
		}
	}
}

// SeatedWire is AcquireWire if that need not wait for anything. Otherwise it returns nil
// at once.
func (m *Manager) SeatedWire(ctx context.Context, id model.WorkspaceID) *Wire {
	if !m.plain {
		return nil
	}
	conn := m.seated(ctx, id)
	if conn == nil {
		return nil
	}
	return m.wire(ctx, conn, conn.backend.dirty && !conn.backend.altered())
}

// wire is the stream below a connection. It gives up one that cannot be had alone.
// foreign: others than holders of its wire have used the session.
func (m *Manager) wire(ctx context.Context, conn *Conn, foreign bool) *Wire {
	b := conn.backend
	if b.wire == nil {
		b.wire = &wireMemory{stream: wireStream(b)}
	}
	if foreign && resetAll(ctx, b) != nil || !m.hooks.restored(ctx, b) || b.pgx.PgConn().SyncConn(ctx) != nil {
		conn.giveUp()
		return nil
	}
	w := &Wire{conn: conn, stream: b.wire.stream, session: b.network.last()}
	w.session.woken.Store(true)
	return w
}

// resetAll undoes what users, or holders of its wire, have left in the session.
func resetAll(ctx context.Context, b *backend) error {
	ctx, stop := context.WithTimeout(ctx, terminateWithin)
	defer stop()
	_, err := b.pgx.PgConn().Exec(ctx, reset.Query).ReadAll()
	b.bare = b.hooks != nil && b.hooks.AfterConnect != nil
	b.dirty = false
	b.wire.noteReset()
	return err
}

// noteReset: the session is as it was dialed.
func (m *wireMemory) noteReset() {
	if m != nil {
		m.altered, m.reset = false, true
	}
}

// lendAsDialed lends a connection to others than holders of its wire.
func (m *Manager) lendAsDialed(ctx context.Context, id model.WorkspaceID, since time.Time) (*Conn, error) {
	for {
		conn, err := m.lend(ctx, id, since)
		if err != nil || !conn.backend.altered() || resetAll(ctx, conn.backend) == nil {
			return conn, err
		}
		conn.giveUp()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// wireStream is what the connection's bytes come from: the socket itself, where there is no
// TLS and nothing else above it.
func wireStream(b *backend) *socket.Socket {
	stream := b.pgx.PgConn().Conn()
	if exact, ok := stream.(*exactConn); ok {
		if _, ok := exact.Conn.(*net.TCPConn); ok {
			stream = exact.Conn
		} else if _, ok := exact.Conn.(*net.UnixConn); ok {
			stream = exact.Conn
		}
	}
	return socket.New(stream)
}

// Read and Write are the stream's. The holder reads to the end of a message before it
// releases.
func (w *Wire) Read(p []byte) (int, error) {
	n, err := w.stream.Read(p)
	if err != nil {
		w.session.note(err)
	}
	return n, err
}

func (w *Wire) Write(p []byte) (int, error) {
	n, err := w.stream.Write(p)
	if err != nil {
		w.session.noteWrite(err)
	}
	return n, err
}

// SetReadDeadline ends a Read, which then returns os.ErrDeadlineExceeded.
func (w *Wire) SetReadDeadline(t time.Time) error { return w.session.SetReadDeadline(t) }

// Memory is what the holders of its wire know of the session, and nil after a dial. reset:
// others have used it since, and it is as it was dialed, but for its prepared statements.
func (w *Wire) Memory() (value any, reset bool) {
	memory := w.conn.backend.wire
	return memory.value, memory.reset
}

// SetMemory keeps something for the next holder.
func (w *Wire) SetMemory(value any) { w.conn.backend.wire.value = value }

// PID is the server process's id.
func (w *Wire) PID() uint32 { return w.conn.backend.pgx.PgConn().PID() }

// Parameter is what the server reported of a setting at the login; "": nothing.
func (w *Wire) Parameter(name string) string {
	return w.conn.backend.pgx.PgConn().ParameterStatus(name)
}

// NoteError tells of an error that the server has sent, by its unlocalized severity and
// its SQLSTATE: some say that the connection, or the server, is not what it was.
func (w *Wire) NoteError(severity, code string) {
	if severity != "FATAL" && severity != "PANIC" && code != pgerrcode.ReadOnlySQLTransaction {
		return
	}
	b := w.conn.backend
	b.network.noteError(b.pgx.PgConn(), &pgconn.PgError{SeverityUnlocalized: severity, Severity: severity, Code: code})
}

// Cancel asks the server to cancel what the session runs, and blocks until the server has
// ended the request's own connection: from then on it can hit nothing that is sent later.
// Where that cannot be known, which is an error, the connection is not lent again.
func (w *Wire) Cancel(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, terminateWithin)
	defer stop()
	err := w.conn.backend.pgx.PgConn().CancelRequest(ctx)
	if err != nil {
		w.unsure.Store(true)
	}
	return err
}

// Cut tells that the server was sent a part of a message. It waits for the rest, so that it
// cannot be told to go by another one: on Release the connection ends without a word.
func (w *Wire) Cut() { w.conn.backend.cut = true }

// Release gives the connection back; it does not block. quiet: the server has answered all
// that it was sent, is in no transaction, and all of its answer was read. Otherwise the
// connection is closed. altered: the session is not as it was dialed, which only holders
// of its wire may see.
func (w *Wire) Release(quiet, altered bool) {
	b := w.conn.backend
	if !w.conn.ends() {
		return
	}
	b.wire.altered, b.wire.reset = altered || b.hooks != nil && b.hooks.PrepareConn != nil, false
	b.dirty = b.wire.altered
	if !quiet || w.unsure.Load() {
		w.conn.giveUp()
		return
	}
	w.session.answered.Store(true)
	w.session.woken.Store(false)
	w.conn.giveBack()
}

// TimedOut tells whether an error of Read is the end of its deadline.
func TimedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// Introduces tells whether the connections' application_name says who this process is, as
// [WithInstance] and a shared budget have it: holders of a wire leave it as it is.
func (m *Manager) Introduces() bool { return m.identity.family != "" }
