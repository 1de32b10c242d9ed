package actor

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// This is the supervisor's side of the seats. For the core, what lies in a seat is
// on a lease; a recall takes it from there and tells the core of its Release.

// recall empties the workspace's seats.
func (s *Supervisor) recall(ts *seats) {
	for c := ts.take(); c != nil; c = ts.take() {
		s.comeHome(c, core.Clean)
	}
}

// recallAll empties all seats: then the core knows of every connection that nobody
// holds.
func (s *Supervisor) recallAll(sh *share) {
	for i := 0; i < len(sh.leased); {
		before := len(sh.leased)
		s.recall(sh.leased[i].seats)
		if len(sh.leased) >= before { // else another one may be at i
			i++
		}
	}
}

// comeHome tells the core that a slot was given back, at the time at which it was, and when
// the use before that ended if the core was told nothing of it.
func (s *Supervisor) comeHome(c *slot, h core.Health) {
	sh := c.share
	sh.countSeatHits(c)
	sh.usage.of(c.seats.workspace).Lent += c.used
	c.used = 0
	sh.notes.takeHome(c, sh.sampled())
	sh.unlease(c)
	// Two that came home since the clock was read keep their order.
	s.loop.now = max(s.loop.now, c.freed)
	released := core.Release{Lease: c.lease, Conn: c.id, Health: h, At: c.freed}
	if c.turn.Load() > c.granted.turn+1 { // it was lent from a seat since
		released.Before = c.before
	}
	s.step(sh, core.Entry{Release: released})
}

// reclaim is called after each request. While the core is short of a slot, short is
// up. Before the core chooses what to close it knows of all that nobody holds: also of
// what was put into a seat by somebody who had seen short down.
func (s *Supervisor) reclaim(sh *share) {
	if sh.state.Short() {
		if raised := !sh.short.Swap(true); raised || sh.state.Reclaimable() {
			s.recallAll(sh)
		}
		if sh.state.Reclaimable() {
			s.tell(sh, core.Reclaim{})
		}
	}
	short := sh.state.Short()
	if !short && sh.short.Load() {
		sh.short.Store(false)
	}
	sh.notes.short(s.loop.now, short, sh.state)
}

// recallEvery is how often the seats are emptied. What lies in one unused becomes
// idle for the core within that time, and so before its idle time is over or it must
// be verified; and it outlives its lifetime by a tenth of that at most.
func recallEvery(limits model.Limits) time.Duration {
	every := seldom
	part := func(limit, of time.Duration) {
		if limit > 0 {
			every = min(every, limit/of)
		}
	}
	part(limits.VerifyAfter, 2)
	part(limits.MaxIdleTime, 2)
	part(limits.MaxLifetime, 20)
	return every
}

const (
	// seldom is how often the seats are emptied where no limit asks for more.
	seldom = time.Second
	// often is how often it would cost more than the seats save: such limits do
	// without.
	often = 5 * time.Millisecond
)

// hasSeats: see often.
func (sh *share) hasSeats() bool { return sh.recallEvery >= often }

// lease puts a slot among those that the core has on a lease.
func (sh *share) lease(c *slot) {
	c.leasedAt, c.read = len(sh.leased), sh.sampled().period()
	sh.leased = append(sh.leased, c)
}

// unlease takes it out; the last one takes its place.
func (sh *share) unlease(c *slot) {
	last := len(sh.leased) - 1
	sh.leased[c.leasedAt] = sh.leased[last]
	sh.leased[c.leasedAt].leasedAt = c.leasedAt
	sh.leased[last] = nil
	sh.leased = sh.leased[:last]
}

// countSeatHits counts the acquires that found the slot in a seat, of which the
// supervisor got no message. None of them waited.
func (sh *share) countSeatHits(c *slot) {
	turn := c.turn.Load()
	n := (turn+1)/2 - (c.counted+1)/2
	c.counted = turn
	if n > 0 {
		sh.seatHits += n
		sh.waits.ObserveMany(0, n)
		sh.usage.of(c.seats.workspace).Acquires += n
	}
}

// seatsOf returns the workspace's seats, and makes them if there are none.
func (sh *share) seatsOf(id model.WorkspaceID) *seats {
	ts := sh.directory.find(id)
	if ts == nil {
		ts = newSeats(sh, id)
		sh.directory.add(ts)
	}
	return ts
}

// ofWorkspace calls f with the workspace's seats, if it has any.
func (sh *share) ofWorkspace(id model.WorkspaceID, f func(*seats)) {
	if ts := sh.directory.find(id); ts != nil {
		f(ts)
	}
}

// update keeps closed in step with what it is made of, and forgets the seats of a
// workspace that has neither connection nor waiter. When closed goes up, what lies
// in the seats comes home.
func (s *Supervisor) update(ts *seats) {
	closed := ts.waiting > 0 || ts.stale > 0 || len(ts.slots) > cmp.Or(ts.cap, ts.share.perWorkspace)
	if was := ts.closed.Swap(closed); closed && !was {
		s.recall(ts)
	}
	if len(ts.slots) == 0 && ts.waiting == 0 {
		ts.share.directory.remove(ts)
	}
}

// makeStale makes every slot of the workspace stale. While one of them is out, its
// seats are closed, so that it comes home after its present lease; what lies in a
// seat comes home now, before the core is told why.
func (s *Supervisor) makeStale(ts *seats) {
	for _, c := range ts.slots {
		c.stale = true
	}
	ts.stale = len(ts.slots)
	s.update(ts)
}

// forget takes a slot out that is about to close.
func (ts *seats) forget(c *slot) {
	ts.slots = slices.DeleteFunc(ts.slots, func(other *slot) bool { return other == c })
	if c.stale {
		ts.stale--
	}
}
