package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// release ends a lease. One that is not of the connection's current lease is
// stale: a second release, or one that comes after the connection went to
// somebody else. It must not touch the connection (I5).
func (s *State) release(m Release) {
	c := s.find(m.Conn, inUse, m.Lease)
	if c == nil {
		return
	}
	at := s.now
	if m.At > 0 {
		at = min(m.At, s.now)
	}
	c.endUse(at, m.Before)
	c.workspace.LastUsed = max(c.workspace.LastUsed, at)
	c.workspace.Released = max(c.workspace.Released, at)
	if m.Health == Lost {
		s.verifyUntil = s.now
	}
	if m.Health == Clean && !c.Exclusive || s.draining {
		s.free(c, false)
	} else {
		s.close(c, model.NotReusable)
	}
}

// endUse notes that a use of the connection ended at that time; before is Release.Before.
func (c *conn) endUse(at, before time.Duration) {
	switch {
	case before > 0:
		c.Before = before
	case c.Used:
		c.Before = c.LastUsed
	}
	c.LastUsed, c.Used = at, true
}

// free decides about a connection that nobody holds any more (rule 2). It is in
// state inUse, but on no lease. fresh: it was just dialed.
func (s *State) free(c *conn, fresh bool) {
	w := c.workspace
	alone := fresh && w.exclusive.size > 0 && w.open() == 1
	first := s.taker(c)
	switch {
	case s.draining:
		s.close(c, model.DrainAsked)
	case w.shut() && !alone:
		s.close(c, model.PauseAsked)
	case c.stale():
		s.close(c, model.Renewed)
	case c.lifetimeEnd(s.limits) <= s.now:
		s.close(c, model.LifetimeOver)
	case s.open()-s.counts[closing] > s.limits.Budget || w.open()-w.counts[closing] > s.capOf(w):
		s.close(c, model.Shrink)
	case first == nil:
		s.park(c)
		s.reindex(w)
		if c.end <= s.now { // it was given back long ago
			s.close(c, c.endReason)
		}
	default:
		if older := s.owedElsewhere(c, first); older != nil {
			s.closeFor(c, model.Yield, older.workspace.ID)
			return
		}
		if fresh {
			s.counters.FreshGrants++
		} else {
			s.counters.HandOffs++
		}
		s.serve(first, c, false)
	}
}

// taker is the waiter of its workspace that a connection that comes free goes to, or nil.
func (s *State) taker(c *conn) *waiter {
	n := c.workspace.next().head
	switch {
	case n == nil:
		return nil
	case !n.item.Batch, c.Batch && s.now < c.YieldsFrom:
		return n.item
	}
	room, others := s.batchRoom(), s.demand[batchWork]
	if c.Batch {
		room++ // its own
	}
	if c.workspace.need[batchWork] > 0 && c.workspace.firstNeedy[batchWork] == n {
		others--
	}
	if !s.batchMayTake(n.item.Arrived, room, others) {
		return nil
	}
	return n.item
}

// serve answers the first waiter of a workspace's line with a connection of it.
func (s *State) serve(wt *waiter, c *conn, verify bool) {
	s.dequeue(wt)
	s.lend(c, wt.Lease, wt.Exclusive, wt.Batch)
	s.emit(Grant{
		Lease: wt.Lease, Conn: c.ID, Workspace: c.workspace.ID,
		Waited: s.now - wt.Arrived, Verify: verify, Caller: wt.caller,
	})
}

// A slot serves nobody while it moves to another workspace. When more workspaces have
// waiters than there are slots, somebody elsewhere is always older, and slots would
// do little but move. So a connection that has waiters stays for nine times as long
// as its dial took, and moving takes a tenth of a slot's time; a server that has much
// to do dials slowly, and its connections stay longer. But no dial is so slow that
// others wait longer than maxStay for it.
const (
	stayPerDial = 9
	maxStay     = time.Second
)

// owedElsewhere returns the waiter for whom the connection's slot must leave the first
// waiter's workspace, or nil: one of another workspace that goes before that one and that
// no slot is coming for, if a slot more could be used for a dial at once. One of a class
// before that of the first waiter goes before it; of the same class it must be older by
// more than Patience, and the connection may move.
func (s *State) owedElsewhere(c *conn, first *waiter) *waiter {
	coming := max(0, s.coming())
	if s.dialRoom() <= coming {
		return nil
	}
	// Whoever asks next finds the slot in nobody's use.
	batch := c.Batch
	s.charge(c, false)
	defer s.charge(c, batch)
	firstClass := interactive
	switch {
	case first.Batch && s.batchHeld() > 0:
		firstClass = batchWork
	case !first.Batch && c.workspace.open() > s.softCapOf(c.workspace):
		firstClass = surplus
	}
	for wt, of := range s.needyInOrder {
		switch {
		case of > firstClass,
			of == firstClass && (s.now < c.YieldsFrom || wt.Arrived >= first.Arrived-s.limits.Patience):
			return nil
		}
		if coming--; coming < 0 {
			return wt
		}
	}
	return nil
}

// lend puts the connection on a lease.
func (s *State) lend(c *conn, lease LeaseID, exclusive, batch bool) {
	s.move(c, inUse)
	s.charge(c, batch)
	c.Cold = c.Cold && batch
	c.Lease, c.Since, c.Exclusive = lease, s.now, exclusive
	c.workspace.alone = c.Exclusive
	c.workspace.LastUsed = s.now
	s.reindex(c.workspace)
}
