package pools

import (
	"context"
	"time"
)

// closer finds out when the server has let go of a slot.
//
// As a rule the network tells: the end-of-file that exactConn waits for. When
// the network is silent, or broke without an end-of-file, the server is asked,
// over the system database, whether the process is still there; one that still
// is after it was told to go is terminated.
type closer struct {
	// ask terminates the backend's process, which has an id, and reports that there
	// is none (any more).
	ask func(ctx context.Context, b *backend) (gone bool, err error)
	// system: these are the connections that ask needs itself.
	system bool
	// overdue is closed when the manager has been closing for closingAtMost.
	overdue <-chan struct{}
}

// silence is how long the network may say nothing before the server is asked; a
// healthy connection ends in a millisecond or two. It is a variable for tests, which
// cannot know how fast the machine forks.
var silence = time.Second

const (
	// Meanwhile what still runs is cancelled again (see cancelAgain), or a whole
	// result might be sent to nobody.
	// The server is asked again every askAgain, and has askAtMost to answer. The
	// pause is short because it is added to the time that the server was away.
	askAgain   = 200 * time.Millisecond
	askAtMost  = 2 * time.Second
	askAnother = 500 * time.Millisecond // where asking might need the slot itself
	// loginAtMost is after when the server itself ends a login that has not
	// succeeded: authentication_timeout, 60 s unless configured otherwise.
	loginAtMost = time.Minute
	// closingAtMost is how long a manager that closes waits for a server that does
	// not answer, in all: after that one question without an answer is enough.
	closingAtMost = 5 * time.Second
)

// wait returns when the server has let go of the backend's slot. Where nothing runs
// there is nothing to cancel, which would cost the server a process each time.
func (c *closer) wait(b *backend, nothingRuns bool) {
	conn := b.network.last()
	if conn == nil {
		return
	}
	began := time.Now()
	if nothingRuns {
		within(conn.ended, silence)
	} else {
		// A cancel request that nobody answers takes its time, too.
		for pause := cancelAgain; time.Since(began) < silence && !within(conn.ended, pause); pause *= 2 {
			b.cancelQuery()
		}
	}
	// pgx has done so, unless it still does on a goroutine of its own, as after
	// an error; it had time to say good-bye.
	_ = conn.Close()
	for !conn.endsCleanlyWithin(0) && !c.gone(b, conn, began) {
		if conn.endsCleanlyWithin(askAgain) {
			return
		}
	}
	conn.abandon()
}

// gone tells, of a backend without an end-of-file, whether it is gone all the
// same.
func (c *closer) gone(b *backend, conn *exactConn, began time.Time) bool {
	reset := within(conn.ended, 0)
	if b.pgx == nil { // it never told us its process id
		took := time.Since(began)
		return reset || took > askAtMost && within(c.overdue, 0) || took > loginAtMost
	}
	// Asking might need this very slot. Another one answers soon, or none does.
	itself := c.system && reset
	atMost := askAtMost
	if itself {
		atMost = askAnother
	}
	ctx, stop := context.WithTimeout(context.Background(), atMost)
	defer stop()
	gone, err := c.ask(ctx, b)
	return gone || err != nil && (itself || within(c.overdue, 0))
}

// terminateBackend ends the backend's process on the server, and reports that there
// is none. It is the closers' question to the server.
func (m *Manager) terminateBackend(ctx context.Context, b *backend) (gone bool, err error) {
	conn, err := m.acquireOwn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	if b.began == (span{}) {
		var now time.Time
		if err := conn.QueryRow(ctx, `SELECT current_timestamp`).Scan(&now); err != nil {
			return false, err
		}
		b.identifyBy(now)
	}
	tag, err := conn.Exec(ctx,
		`SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start BETWEEN $2 AND $3`,
		int32(b.pgx.PgConn().PID()), b.began.from, b.began.to)
	return err == nil && tag.RowsAffected() == 0, err
}

// endsCleanlyWithin waits for the end-of-file. After another end it waits all
// the time.
func (c *exactConn) endsCleanlyWithin(d time.Duration) bool {
	ended := c.ended
	if within(ended, 0) {
		if !c.reset {
			return true
		}
		ended = nil
	}
	return within(ended, d) && !c.reset
}

// within tells whether the channel is closed before d is over.
func within(closed <-chan struct{}, d time.Duration) bool {
	select {
	case <-closed:
		return true
	default:
	}
	if d <= 0 {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-closed:
		return true
	case <-timer.C:
		return false
	}
}
