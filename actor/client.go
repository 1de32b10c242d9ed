package actor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Lease is the right to use one connection until Release. It is a value; its
// copies are the same lease.
type Lease struct {
	slot *slot
	turn uint64 // of the slot
}

// Conn is the leased connection. Only the lease's holder may use it.
func (l *Lease) Conn() Conn { return l.slot.conn }

// Ended tells that the lease was released.
func (l *Lease) Ended() bool { return l.slot.turn.Load() != l.turn }

// Verify tells the lease's holder that the connection should be tested before its
// use.
func (l *Lease) Verify() bool { return l.slot.granted.turn == l.turn && l.slot.granted.verify }

// Waited tells the lease's holder how long the acquire waited in the supervisor.
func (l *Lease) Waited() time.Duration {
	if l.slot.granted.turn != l.turn {
		return 0 // it came from a seat
	}
	return l.slot.granted.waited
}

// Idle is how long the connection had been unused when this lease began, since its
// last lease or its dial. Only the holder of the lease may call it.
func (l *Lease) Idle() time.Duration { return time.Duration(l.slot.lentAt.Load()) - l.slot.freed }

// Age is for how long the lease has lasted. Only its holder may call it.
func (l *Lease) Age() time.Duration {
	return l.slot.share.supervisor.now() - time.Duration(l.slot.lentAt.Load())
}

// Release gives the connection back. It does not wait for anything but room in
// the mailbox. Releasing a lease again changes nothing but a counter.
func (l *Lease) Release(h core.Health) {
	c := l.slot
	s := c.share.supervisor
	if !c.turn.CompareAndSwap(l.turn, l.turn+1) {
		s.post(c.share, core.Release{Conn: c.id}) // of no lease
		return
	}
	c.before, c.freed = c.freed, s.now()
	held := c.freed - time.Duration(c.lentAt.Load())
	c.used += held
	if h == core.Clean && c.freed < c.expires && !c.granted.batch && c.seats.leave(c, l.turn, held) {
		return
	}
	c.told = l.turn
	s.sendHome(c, h)
}

// Wait says how an Acquire waits, besides its context.
type Wait struct {
	// NoWait refuses instead of waiting for somebody else's lease to end.
	NoWait bool
	// Exclusive asks for the only connection of the workspace, freshly dialed, also
	// while it is paused. Until its Release nobody else gets one; then it is closed.
	// NoWait means nothing with it.
	Exclusive bool
	// Batch: it is batch work, which lets others go first and has a share of the budget.
	// NoWait means nothing with it.
	Batch bool
	// Limits are the workspace's from now on, in place of the share's.
	Limits model.WorkspaceLimits
	// AtMost bounds the wait; 0 is no bound. Less than 0 is over already, as
	// what is left until a deadline may be: the Acquire is refused unasked.
	AtMost time.Duration
}

// Acquire asks for a connection of a workspace and blocks until it has one, is
// refused, ctx is done or wait.AtMost is over. The caller owns the lease until
// Release. A grant that comes just when wait.AtMost is over is returned all the
// same; one that comes after ctx has ended the wait is given back at once.
//
// The error is a *model.ConnectionLimitError or a *model.DialError, or wraps
// model.ErrPaused, ErrInUse, ErrDialing or ErrClosed; where ctx or the time ended the wait
// it also wraps context.Cause(ctx) and ctx.Err(), or model.ErrAcquireTimeout.
func (s *Supervisor) Acquire(ctx context.Context, share ShareIndex, id model.WorkspaceID, wait Wait) (Lease, error) {
	switch {
	case ctx.Err() != nil:
		return Lease{}, acquireError(id, Ended(ctx))
	case wait.AtMost < 0:
		return Lease{}, acquireError(id, model.ErrAcquireTimeout)
	}
	if !wait.Exclusive && !wait.Batch {
		if l, ok := s.AcquireSeated(share, id); ok {
			return l, nil
		}
	}
	c := s.takeCall()
	lease := core.LeaseID(s.lastLease.Add(1))
	c.share, c.message = s.shares[share], core.Acquire{
		Lease: lease, Workspace: id, NoWait: wait.NoWait, Exclusive: wait.Exclusive, Batch: wait.Batch,
		Limits: wait.Limits, Caller: c,
	}
	timeout := c.startTimer(wait.AtMost)
	s.send(c)
	select {
	case r := <-c.reply:
		s.recycle(c)
		return r.lease, r.err
	case <-s.stopped:
		r := s.lastReply(c)
		return r.lease, r.err
	case <-ctx.Done():
	case <-timeout:
	}
	return s.giveUp(ctx, c)
}

// AcquireSeated is an Acquire that never blocks. It succeeds only if the last
// holder of a connection of that workspace has just left it for the next one.
func (s *Supervisor) AcquireSeated(share ShareIndex, id model.WorkspaceID) (Lease, bool) {
	ts := s.shares[share].directory.find(id)
	if ts == nil {
		return Lease{}, false
	}
	return ts.lend()
}

// Active tells whether the workspace has a connection or a waiter. It never blocks;
// the answer may be too old when it comes.
func (s *Supervisor) Active(share ShareIndex, id model.WorkspaceID) bool {
	return s.shares[share].directory.find(id) != nil
}

// giveUp cancels an Acquire that ctx or the time has ended, and still takes its
// one answer. A grant that won the race is kept while ctx lasts, and given back
// at once otherwise: its caller is gone.
func (s *Supervisor) giveUp(ctx context.Context, c *call) (Lease, error) {
	cause := model.ErrAcquireTimeout
	if ctx.Err() != nil {
		cause = Ended(ctx)
	}
	s.post(c.share, core.Cancel{Lease: c.message.Lease})
	id := c.message.Workspace
	r := s.lastReply(c)
	limit, limited := errors.AsType[*model.ConnectionLimitError](r.err)
	switch {
	case r.err == nil && ctx.Err() == nil:
		return r.lease, nil
	case r.err == nil:
		r.lease.Release(core.Clean)
		return Lease{}, acquireError(id, Ended(ctx))
	case limited:
		limit.Cause = cause
		return Lease{}, limit
	}
	return Lease{}, fmt.Errorf("%w (%w)", r.err, cause)
}

// lastReply waits for the answer, which may have come before the supervisor stopped. Then
// it cannot be a grant: the supervisor stops only when there is no lease.
func (s *Supervisor) lastReply(c *call) reply {
	r, err := await(context.Background(), s, about("acquire", c.message.Workspace), "", c.reply)
	if err != nil { // nobody will answer
		return reply{err: err}
	}
	s.recycle(c)
	return r
}

// acquireError says what was asked, as the core's own refusals do.
func acquireError(id model.WorkspaceID, err error) error {
	return fmt.Errorf("acquire workspace %q: %w", id, err)
}

// Ended is why ctx is done: its error, and its cause where that says more.
func Ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
