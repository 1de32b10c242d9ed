package actor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Lease is the right to use one connection until Release. It is a value; its
// copies are the same lease.
type Lease struct {
	supervisor *Supervisor
	share      *share
	id         model.LeaseID
	connID     model.ConnID
	conn       Conn
	waited     time.Duration
	verify     bool
}

// Conn is the leased connection. Only the lease's holder may use it.
func (l *Lease) Conn() Conn { return l.conn }

// Verify tells that the connection should be tested before its use.
func (l *Lease) Verify() bool { return l.verify }

// Waited is how long the acquire waited in the supervisor.
func (l *Lease) Waited() time.Duration { return l.waited }

// Release gives the connection back. It does not wait for anything but room in
// the mailbox. Releasing a lease again changes nothing but a counter.
func (l *Lease) Release(h model.Health) {
	l.supervisor.send(envelope{
		share:   l.share,
		message: model.Release{Lease: l.id, Conn: l.connID, Health: h},
	})
}

// Wait says how an Acquire waits, besides its context.
type Wait struct {
	// NoWait refuses instead of waiting for somebody else's lease to end.
	NoWait bool
	// AtMost bounds the wait; 0 is no bound.
	AtMost time.Duration
}

// Acquire asks for a connection of a workspace and blocks until it has one, is
// refused, ctx is done or wait.AtMost is over. The caller owns the lease until
// Release.
//
// The error is a *model.ConnectionLimitError or a *model.DialError, or wraps
// model.ErrPaused, ErrDialing or ErrClosed; where ctx or the time ended the wait
// it also wraps context.Cause(ctx) and ctx.Err(), or model.ErrAcquireTimeout.
func (s *Supervisor) Acquire(ctx context.Context, share ShareIndex, id model.WorkspaceID, wait Wait) (Lease, error) {
	if ctx.Err() != nil {
		return Lease{}, fmt.Errorf("acquire workspace %q: %w", id, ended(ctx))
	}
	lease := model.LeaseID(s.lastLease.Add(1))
	replies := s.takeReply()
	sent := s.send(envelope{
		share:   s.shares[share],
		message: model.Acquire{Lease: lease, Workspace: id, NoWait: wait.NoWait},
		reply:   replies,
	})
	if !sent {
		return Lease{}, model.ErrClosed
	}
	var timeout <-chan time.Time
	if wait.AtMost > 0 {
		timer := time.NewTimer(wait.AtMost)
		defer timer.Stop()
		timeout = timer.C
	}
	var cause error
	select {
	case r := <-replies:
		s.replies.Put(replies)
		return r.lease, r.err
	case <-s.stopped:
		return s.lastReply(replies)
	case <-ctx.Done():
		cause = ended(ctx)
	case <-timeout:
		cause = model.ErrAcquireTimeout
	}
	return Lease{}, s.giveUp(s.shares[share], id, lease, replies, cause)
}

// giveUp cancels an Acquire and still takes its one answer: a grant that won the
// race is given back at once.
func (s *Supervisor) giveUp(sh *share, id model.WorkspaceID, lease model.LeaseID, replies chan reply, cause error) error {
	s.send(envelope{share: sh, message: model.Cancel{Lease: lease}})
	var r reply
	select {
	case r = <-replies:
		s.replies.Put(replies)
	case <-s.stopped:
		r.lease, r.err = s.lastReply(replies)
	}
	var limit *model.ConnectionLimitError
	switch {
	case r.err == nil:
		r.lease.Release(model.Clean)
		return fmt.Errorf("acquire workspace %q: %w", id, cause)
	case errors.As(r.err, &limit):
		limit.Cause = cause
		return limit
	}
	return fmt.Errorf("%w (%w)", r.err, cause)
}

// lastReply takes the answer that may have come before the supervisor stopped.
// It cannot be a grant: the supervisor stops only when there is no lease.
func (s *Supervisor) lastReply(replies chan reply) (Lease, error) {
	select {
	case r := <-replies:
		return r.lease, r.err
	default:
		return Lease{}, model.ErrClosed
	}
}

// ended is why ctx is done: its error, and its cause where that says more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// takeReply returns an empty channel with room for one reply. It may be put back
// only by who has taken its one reply.
func (s *Supervisor) takeReply() chan reply {
	if ch, ok := s.replies.Get().(chan reply); ok {
		return ch
	}
	return make(chan reply, 1)
}
