// Package serverview tells how many connections of a role a PostgreSQL server
// has, by the server's own count in pg_stat_activity. It is the judge of whether
// a budget is kept, so it shares nothing with the code that it judges.
package serverview

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// Watch looks at a server until Stop. Its methods may be called from any
// goroutine.
//
// It counts backends that have logged in. One that is still logging in or on its
// way out may hold a slot and not be seen; whether there was room for those too,
// only a refused login (SQLSTATE 53300) can tell.
type Watch struct {
	asked chan chan<- answer
	end   context.CancelFunc // asks the goroutine to end
	// ended is done when the goroutine and its connection are gone; its cause
	// says why.
	ended context.Context

	peak, samples atomic.Int64
}

type answer struct {
	backends int
	err      error
}

// errStopped is the cause of an end that was asked for.
var errStopped = errors.New("watch the server: the watch was stopped")

// Start connects to the server and counts the role's connections, at once and
// then every interval, on a goroutine that Stop ends. It blocks for the first
// count; ctx bounds that, and nothing later.
//
// dsn should name a superuser other than the role: that one gets in when the
// server is full, and is not counted. There is one connection, and it takes one
// of max_connections: the server refuses others when no more are free than
// superuser_reserved_connections, whoever has the rest. When the connection
// breaks, as it does when the server restarts, the watch is over, and Err says
// so.
func Start(ctx context.Context, dsn, role string, every time.Duration) (*Watch, error) {
	if every <= 0 {
		return nil, fmt.Errorf("watch the server: the interval is %v: it must be more than 0", every)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("watch the server: %w", err) // pgx leaves out the password
	}
	running, end := context.WithCancel(context.Background())
	ended, setEnded := context.WithCancelCause(context.Background())
	w := &Watch{asked: make(chan chan<- answer), end: end, ended: ended}
	look := func(ctx context.Context) (int, error) { return w.look(ctx, conn, role) }
	if _, err := look(ctx); err != nil {
		end()
		setEnded(err)
		localpg.HangUp(conn)
		return nil, err
	}
	go func() {
		err := w.run(running, every, look)
		end()
		localpg.HangUp(conn)
		setEnded(err)
	}()
	return w, nil
}

// run returns why it ended.
func (w *Watch) run(running context.Context, every time.Duration, look func(context.Context) (int, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		var asker chan<- answer
		select {
		case <-running.Done():
			return errStopped
		case <-ticker.C:
		case asker = <-w.asked:
		}
		n, err := look(running)
		if running.Err() != nil {
			err = errStopped
		}
		if asker != nil {
			asker <- answer{n, err} // it has room
		}
		if err != nil {
			return err
		}
	}
}

const countSQL = `SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND usename = $1`

// look counts once. It has one caller at a time.
func (w *Watch) look(ctx context.Context, conn *pgx.Conn, role string) (int, error) {
	var n int64
	if err := conn.QueryRow(ctx, countSQL, role).Scan(&n); err != nil {
		return 0, fmt.Errorf("watch the server: count the connections of role %q: %w", role, err)
	}
	w.peak.Store(max(w.peak.Load(), n))
	w.samples.Add(1)
	return int(n), nil
}

// Peak is the highest count so far.
func (w *Watch) Peak() int { return int(w.peak.Load()) }

// Samples is how often was counted so far.
func (w *Watch) Samples() int { return int(w.samples.Load()) }

// Count counts now. It blocks for the server's answer, at most until ctx is
// done. Once the watch is over, the error says what ended it.
func (w *Watch) Count(ctx context.Context) (int, error) {
	reply := make(chan answer, 1)
	select {
	case w.asked <- reply:
	case <-w.ended.Done():
		return 0, context.Cause(w.ended)
	case <-ctx.Done():
		return 0, fmt.Errorf("watch the server: %w", context.Cause(ctx))
	}
	select {
	case a := <-reply:
		return a.backends, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("watch the server: %w", context.Cause(ctx))
	}
}

// Err is what ended the watch before Stop, or nil.
func (w *Watch) Err() error {
	if err := context.Cause(w.ended); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// Stop ends the watch and waits until its goroutine and its connection are gone.
// A second Stop does nothing.
func (w *Watch) Stop() {
	w.end()
	<-w.ended.Done()
}
