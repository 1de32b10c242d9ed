package actor

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// envelope is what the mailbox holds: a message for one share's core with what
// the core does not see, or a request to the supervisor itself.
type envelope struct {
	share   *share
	message model.Message
	// Instead of a share and a message: an Acquire, a slot that its owner gives to
	// the supervisor, or a request.
	call     *call
	released *slot
	health   model.Health // with released
	request  request

	dialed    *dialed    // with DialSucceeded and DialFailed
	operation chan<- int // with Evict, Renew and Pause: gets the number closed
}

// dialed is what a dial came to. A failed one may leave a connection.
type dialed struct {
	conn      Conn
	workspace model.WorkspaceID
	took      time.Duration
}

// request is what is asked of the supervisor itself, and not of one core. It is
// carried out by the supervisor's goroutine, and answers into a channel with room.
type request interface{ carryOut(*Supervisor) }

// reply answers an Acquire.
type reply struct {
	err   error
	lease Lease
}

// Stats is a copy of the state of all shares at one moment.
type Stats struct {
	Shares []model.BudgetStats
	// Saturation is which part of the time since the last Stats the supervisor
	// was busy, from 0 to 1.
	Saturation float64
}

// send puts an envelope in the mailbox. When the supervisor has stopped, nobody
// may ever receive it; then there are no connections, leases or waiters left.
func (s *Supervisor) send(e envelope) {
	select {
	case s.mailbox <- e: // most often there is room; a select of two takes longer
		return
	default:
	}
	select {
	case s.mailbox <- e:
	case <-s.stopped:
	}
}

// receive is the loop's side of send.
func (s *Supervisor) receive(e envelope) {
	switch {
	case e.request != nil:
		e.request.carryOut(s)
		for _, sh := range s.shares {
			s.seek(sh)
		}
	case e.call != nil:
		sh := e.call.share // once answered, the call is its caller's
		s.acquire(e.call)
		s.seek(sh)
	case e.released != nil:
		s.released(e.released, e.health)
		s.seek(e.released.share)
	default:
		s.message(e)
		s.seek(e.share)
	}
}

// message tells the core, and what it must know first.
func (s *Supervisor) message(e envelope) {
	sh := e.share
	switch m := e.message.(type) {
	case model.DialSucceeded:
		c := s.dialed(sh, m.Conn, e.dialed)
		now := s.loop.now
		c.expires = now + min(model.Lifetime(sh.lifetimes, m.Conn), model.Never-now)
		sh.dialTimes.Observe(e.dialed.took)
		s.noteDial(sh, e.dialed, nil)
	case model.DialFailed:
		if m.SlotHeld {
			s.dialed(sh, m.Conn, e.dialed)
		}
		if m.Kind == model.ServerDown {
			s.lookAtAll(sh) // what is idle is suspect
		}
		s.noteDial(sh, e.dialed, m.Err)
	case model.Evict:
		sh.operations[m.Operation] = e.operation
		if ts := sh.directory.find(m.Workspace); ts != nil {
			s.recall(ts)
		}
	case model.Renew:
		sh.operations[m.Operation] = e.operation
		s.noteRenew(sh, m)
		if m.All {
			sh.directory.all(s.renew)
		} else if ts := sh.directory.find(m.Workspace); ts != nil {
			s.renew(ts)
		}
	case model.Pause:
		sh.operations[m.Operation] = e.operation
		s.notePause(sh, m.Workspace, true)
		if ts := sh.directory.find(m.Workspace); ts != nil {
			s.renew(ts)
		}
		defer s.setPaused(sh, m.Workspace, true)
	}
	s.tell(sh, e.message)
}

// acquire makes sure that the core knows of the workspace's connections, and of
// all if the answer may be that there is none.
func (s *Supervisor) acquire(c *call) {
	sh, lease, id := c.share, c.lease, c.workspace
	if ts := sh.directory.find(id); ts != nil {
		s.recall(ts)
	}
	if c.noWait {
		s.lookAtAll(sh)
	}
	s.loop.asking = c
	s.tell(sh, model.Acquire{Lease: lease, Workspace: id, NoWait: c.noWait, Exclusive: c.exclusive, Caller: c})
	if s.loop.asking == nil {
		return // answered: the call is its caller's again
	}
	ts := sh.seatsOf(id)
	c.seats = ts
	ts.waiting++
	s.settle(ts) // this may answer the call, too
	if ts.waiting == 1 {
		s.tellHolders(ts) // its refusal may name the longest lease
	}
}

// released takes a slot from its owner.
func (s *Supervisor) released(c *slot, h model.Health) {
	if h == model.Lost {
		s.lookAtAll(c.share) // what is idle is suspect
	}
	s.comeHome(c, h)
}

// dialed makes a slot of what a dial has left.
func (s *Supervisor) dialed(sh *share, id model.ConnID, d *dialed) *slot {
	c := &slot{share: sh, id: id, conn: d.conn, seats: sh.seatsOf(d.workspace), freed: s.loop.now}
	sh.slots[id] = c
	c.seats.slots = append(c.seats.slots, c)
	return c
}

// setPaused follows the core.
func (s *Supervisor) setPaused(sh *share, id model.WorkspaceID, paused bool) {
	if ts := sh.directory.find(id); ts != nil {
		ts.paused = paused
		s.settle(ts)
	}
}

type statsRequest struct{ answer chan<- Stats }

func (r statsRequest) carryOut(s *Supervisor) { r.answer <- s.stats() }

func (s *Supervisor) stats() Stats {
	for _, sh := range s.shares {
		s.lookAtAll(sh)
	}
	now := s.loop.now
	st := Stats{Shares: make([]model.BudgetStats, len(s.shares))}
	for i, sh := range s.shares {
		st.Shares[i] = sh.state.Stats(now)
		st.Shares[i].Waits, st.Shares[i].DialTimes = sh.waits, sh.dialTimes
	}
	now = s.now()
	if busy, over := s.loop.busy+now-s.loop.wokeAt, now-s.loop.askedAt; over > 0 {
		st.Saturation = min(1, busy.Seconds()/over.Seconds())
	}
	s.loop.busy, s.loop.askedAt, s.loop.wokeAt = 0, now, now
	return st
}
