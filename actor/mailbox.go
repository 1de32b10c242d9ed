package actor

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// request is what the mailbox holds. Where somebody waits for the answer, it goes
// into a channel with room for it.
type request interface {
	// carryOut runs on the supervisor's goroutine.
	carryOut(*Supervisor)
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

// receive is the loop's side of send.
func (s *Supervisor) receive(r request) {
	r.carryOut(s)
	for _, sh := range s.shares {
		s.reclaim(sh)
	}
}

// told is a message for a share's core of which the supervisor need know nothing.
type told struct {
	share   *share
	message core.Message
}

func (r told) carryOut(s *Supervisor) { s.tell(r.share, r.message) }

// carryOut of a call is an Acquire: it makes sure that the core knows of the
// workspace's connections, and of all if the answer may be that there is none.
func (c *call) carryOut(s *Supervisor) {
	sh, ts := c.share, c.share.seatsOf(c.workspace)
	c.seats = ts
	ts.waiting++ // until it is answered
	s.update(ts)
	if c.noWait {
		s.recallAll(sh)
	}
	s.tell(sh, core.Acquire{Lease: c.lease, Workspace: c.workspace, NoWait: c.noWait, Exclusive: c.exclusive, Caller: c})
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

// dialed is what a dial came to. A failed one may leave a connection.
type dialed struct {
	share *share
	dial  core.Dial
	conn  Conn
	err   error
	took  time.Duration
}

func (d *dialed) carryOut(s *Supervisor) {
	sh := d.share
	if d.conn != nil {
		c := &slot{share: sh, id: d.dial.Conn, conn: d.conn, seats: sh.seatsOf(d.dial.Workspace), freed: s.loop.now, leasedAt: -1}
		lifetime := core.Lifetime(sh.lifetimes, c.id)
		c.expires = s.loop.now + min(lifetime, core.Never-s.loop.now)
		sh.slots[c.id] = c
		c.seats.slots = append(c.seats.slots, c)
	}
	s.noteDial(d)
	if d.err == nil {
		sh.dialTimes.Observe(d.took)
		s.tell(sh, core.DialSucceeded{Conn: d.dial.Conn})
		return
	}
	kind := failureKind(d.err)
	if kind == model.ServerDown {
		s.recallAll(sh) // what is idle is suspect
	}
	s.tell(sh, core.DialFailed{Conn: d.dial.Conn, Kind: kind, Err: d.err, SlotHeld: d.conn != nil})
}

// operation is an Evict, a Renew or a Pause; done gets the number closed.
type operation struct {
	share   *share
	id      core.OperationID
	message core.Message
	done    chan<- int
}

func (o *operation) carryOut(s *Supervisor) {
	sh := o.share
	sh.operations[o.id] = o.done
	of := func(id model.WorkspaceID, f func(*seats)) {
		if ts := sh.directory.find(id); ts != nil {
			f(ts)
		}
	}
	switch m := o.message.(type) {
	case core.Evict:
		of(m.Workspace, s.recall)
	case core.Renew:
		s.noteRenew(sh, m)
		if m.All {
			sh.directory.all(s.renew)
		} else {
			of(m.Workspace, s.renew)
		}
	case core.Pause:
		s.notePause(sh, m.Workspace, true)
		of(m.Workspace, s.renew)
		defer s.setPaused(sh, m.Workspace, true)
	}
	s.tell(sh, o.message)
}

// setPaused follows the core.
func (s *Supervisor) setPaused(sh *share, id model.WorkspaceID, paused bool) {
	if ts := sh.directory.find(id); ts != nil {
		ts.paused = paused
		s.update(ts)
	}
}
