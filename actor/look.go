package actor

import (
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// This is the supervisor's side of the seats. For the core, what lies in a seat is
// on a lease; here it is found and told.

// recall finds what lies in the workspace's seats. Each comes home at the time at
// which it was given back.
func (s *Supervisor) recall(ts *seats) {
	for c := ts.take(); c != nil; c = ts.take() {
		s.comeHome(c, model.Clean)
	}
}

// comeHome tells the core that a slot was given back.
func (s *Supervisor) comeHome(c *slot, h model.Health) {
	sh := c.share
	sh.lent.remove(c)
	// Two that came home since the clock was read keep their order.
	s.loop.now = max(s.loop.now, c.freed)
	s.tell(sh, model.Release{
		Lease: c.lease, Conn: c.id, Health: h, At: c.freed, PassedOn: c.countPassedOn(c.turn.Load()),
	})
}

// look finds out whether a slot that the core has on a lease lies in a seat. If
// not, it is in somebody's hands at this moment.
func (s *Supervisor) look(c *slot) {
	s.recall(c.seats)
	if !c.listed {
		return
	}
	sh := c.share
	s.tellHolder(c)
	c.known = s.loop.now
	sh.lent.remove(c)
	sh.lent.pushBack(c)
}

// tellHolder tells the core of a slot on a lease that it has another holder than the
// core knows.
func (s *Supervisor) tellHolder(c *slot) {
	if turn := c.turn.Load(); turn%2 == 1 && turn != c.seen {
		since := time.Duration(c.lent.Load())
		s.tell(c.share, model.Reused{Lease: c.lease, Conn: c.id, Since: since, PassedOn: c.countPassedOn(turn)})
	}
}

// tellHolders is tellHolder for all of a workspace whose seats are closed and of which
// nothing is idle. Until they are opened the core knows of every lease since when it
// lasts.
func (s *Supervisor) tellHolders(ts *seats) {
	for _, c := range ts.slots {
		if c.listed {
			s.tellHolder(c)
		}
	}
}

// lookAtAll lets the core know the truth of this moment.
func (s *Supervisor) lookAtAll(sh *share) {
	for n := sh.lent.size; n > 0 && sh.lent.head != nil; n-- {
		s.look(sh.lent.head)
	}
}

// lookEvery is how often the seats are looked through. What lies in one unused
// becomes idle for the core too within twice that time, and so before its idle
// time is over or it must be verified; and it outlives its lifetime by a tenth of
// that at most.
func lookEvery(limits model.Limits) time.Duration {
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
	// seldom is how often there is nothing lost by looking.
	seldom = time.Second
	// often is how often looking would cost more than the seats save: such limits
	// do without.
	often = 5 * time.Millisecond
)

// hasSeats: see often.
func (sh *share) hasSeats() bool { return sh.lookEvery >= often }

// lookAgain looks at those that were not looked at for lookEvery.
func (s *Supervisor) lookAgain(sh *share) {
	if sh.lookAt > s.loop.now {
		return
	}
	sh.lookAt = model.Never // setTimer sets the next one
	for c := sh.lent.head; c != nil && c.known+sh.lookEvery <= s.loop.now; c = sh.lent.head {
		s.look(c)
	}
}

// seek finds a connection for a core that wants a slot and may not know of the
// least recently used one. It looks at the slots on leases, those first that were
// not seen in use for the longest time, until the core is served; if that takes
// all of them, all are really in use, and short stays up until the core wants no
// slot any more.
func (s *Supervisor) seek(sh *share) {
	if sh.sawAll || !sh.state.Short() {
		s.lower(sh)
		return
	}
	sh.short.Store(true)
	s.tell(sh, model.Horizon{At: sh.horizon()}) // the core's may be an older one
	for n := sh.lent.size; n > 0 && sh.lent.head != nil && sh.state.Short(); n-- {
		s.look(sh.lent.head)
		s.tell(sh, model.Horizon{At: sh.horizon()})
	}
	if sh.state.Short() {
		sh.sawAll = true
		s.tell(sh, model.Horizon{At: model.Never})
	}
	s.lower(sh)
}

// lower lets the seats be used again when nobody is short of a slot.
func (s *Supervisor) lower(sh *share) {
	if !sh.short.Load() || sh.state.Short() {
		return
	}
	if sh.sawAll { // and was told of everything since
		sh.sawAll = false
		sh.loweredAt = s.loop.now
	}
	s.tell(sh, model.Horizon{At: sh.horizon()})
	sh.short.Store(false)
}

// horizon is a time before which no connection was left in a seat that lies there
// still.
func (sh *share) horizon() time.Duration {
	if sh.lent.head == nil {
		return sh.supervisor.loop.now
	}
	return max(sh.loweredAt, sh.lent.head.known)
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

// settle keeps closed in step with what it is made of. It forgets the seats of a
// workspace that has gone. Only a new waiter, a pause, a renewal or a lower cap
// closes seats: then what lies in them comes home.
func (s *Supervisor) settle(ts *seats) {
	closed := ts.waiting > 0 || ts.paused || ts.stale > 0 || len(ts.slots) > ts.share.perWorkspace
	if was := ts.closed.Swap(closed); closed && !was {
		s.recall(ts)
	}
	if len(ts.slots) == 0 && ts.waiting == 0 {
		ts.share.directory.remove(ts)
	}
}

// renew makes every slot of the workspace stale. While one of them is out, its
// seats are closed, so that it comes home after its present lease; what lies in a
// seat comes home now, before the core is told of the Renew.
func (s *Supervisor) renew(ts *seats) {
	for _, c := range ts.slots {
		c.stale = true
	}
	ts.stale = len(ts.slots)
	s.settle(ts)
}

// forget takes a slot out that is about to close.
func (ts *seats) forget(c *slot) {
	ts.slots = slices.DeleteFunc(ts.slots, func(other *slot) bool { return other == c })
	if c.stale {
		ts.stale--
	}
}
