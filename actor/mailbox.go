package actor

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// request is what the mailbox holds.
type request interface {
	// carryOut runs on the supervisor's goroutine.
	carryOut(*Supervisor)
}

// do is a request that is nothing more than what is to be done.
type do func()

func (f do) carryOut(*Supervisor) { f() }

// ask has the supervisor carry f out, and waits for the answer, but no longer than
// ctx. The error says what was asked, and pending what was not waited for then.
func ask[T any](ctx context.Context, s *Supervisor, asked, pending string, f func() T) (T, error) {
	answers := make(chan T, 1)
	s.send(do(func() { answers <- f() }))
	return await(ctx, s, asked, pending, answers)
}

// await waits for the answer to a request. An answer counts even if ctx or the
// supervisor ends at the same moment; after its end it is model.ErrClosed.
func await[T any](ctx context.Context, s *Supervisor, asked, pending string, answers <-chan T) (answer T, err error) {
	select {
	case answer = <-answers:
		return answer, nil
	case <-s.stopped:
	case <-ctx.Done():
		err = fmt.Errorf("%s: %s: %w", asked, pending, Ended(ctx))
	}
	select {
	case <-s.stopped: // and with it every connection is closed
		err = fmt.Errorf("%s: %w", asked, model.ErrClosed)
	default:
	}
	select {
	case answer = <-answers:
		return answer, nil
	default:
		return answer, err
	}
}

// mailboxSize lets senders go on while the loop is busy; nothing depends on it.
const mailboxSize = 256

// send puts a request in the mailbox. When the supervisor has stopped, nobody
// may ever receive it; then there are no connections, leases or waiters left.
func (s *Supervisor) send(r request) {
	select {
	case s.mailbox <- r: // most often there is room; a select of two takes longer
		return
	default:
	}
	select {
	case s.mailbox <- r:
	case <-s.stopped:
	}
}

// post sends a message for a share's core of which the supervisor need know nothing.
func (s *Supervisor) post(sh *share, m core.Message) { s.send(do(func() { s.tell(sh, m) })) }

// carryOut of a call is an Acquire: it makes sure that the core knows of the
// workspace's connections, and of all if the answer may be that there is none.
func (c *call) carryOut(s *Supervisor) {
	sh, ts := c.share, c.share.seatsOf(c.message.Workspace)
	c.seats = ts
	if !c.message.Exclusive {
		ts.cap = int(c.message.Limits.Cap)
	}
	ts.waiting++ // until it is answered
	sh.usage.of(c.message.Workspace).Acquires++
	s.update(ts)
	if c.message.NoWait {
		s.recallAll(sh)
	}
	s.loop.asking, c.arrived = c, s.loop.now
	s.step(sh, core.Entry{Acquire: c.message})
	s.loop.asking = nil // c may be its caller's again
}

// sendHome gives a slot from its owner to the supervisor.
func (s *Supervisor) sendHome(c *slot, h core.Health) {
	c.health = h
	s.send(c)
}

// carryOut of a slot takes it home.
func (c *slot) carryOut(s *Supervisor) {
	if c.health == core.Lost {
		s.recallAll(c.share) // what is idle is suspect
	}
	s.comeHome(c, c.health)
}

// dialed takes in what a dial came to. A failed one may leave a connection.
func (s *Supervisor) dialed(sh *share, dial core.Dial, conn Conn, err error, took time.Duration) {
	if conn != nil {
		c := &slot{share: sh, id: dial.Conn, conn: conn, seats: sh.seatsOf(dial.Workspace), freed: s.loop.now}
		lifetime := core.Lifetime(sh.lifetimes, c.id)
		c.expires = s.loop.now + min(lifetime, core.Never-s.loop.now)
		sh.slots[c.id] = c
		c.seats.slots = append(c.seats.slots, c)
	}
	s.noteDial(sh, dial.Workspace, err, took)
	if err == nil {
		sh.dialTimes.Observe(took)
		sh.notes.dials.add(took)
		s.tell(sh, core.DialSucceeded{Conn: dial.Conn})
		return
	}
	kind := failureKind(err)
	if kind == model.ServerDown {
		s.recallAll(sh) // what is idle is suspect
	}
	s.tell(sh, core.DialFailed{Conn: dial.Conn, Kind: kind, Err: err, SlotHeld: conn != nil})
}
