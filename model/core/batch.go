package core

import "time"

// Rule 9: batch work has a share of the budget and lets interactive waiters go first.

// class is for whom an Acquire asks, and as whom its waiter waits.
type class uint8

const (
	interactive class = iota
	// surplus is what interactive waiters need beyond their workspace's soft cap (rule 10).
	surplus
	batchWork
	classes
)

// batchHeld is how many slots batch work has (I13).
func (s *State) batchHeld() int { return s.batch[dialing] + s.batch[inUse] + s.batch[closing] }

// batchRoom is how many more it may have; after SetLimits it may be negative.
func (s *State) batchRoom() int { return s.limits.Batch() - s.batchHeld() }

// batchDialRoom is how many more dials may start for it: it has the same share of the
// dials under way, so that an interactive waiter finds room for one.
func (s *State) batchDialRoom() int {
	return min(s.batchRoom(), s.limits.BatchOf(s.pace.Limit)-s.batch[dialing])
}

// batchFirst tells whether a needy batch waiter gets the next slot by its arrival: batch
// work has none, and no interactive needy waiter arrived before.
func (s *State) batchFirst() bool {
	if s.batchHeld() > 0 || s.demand[batchWork] == 0 {
		return false
	}
	if s.demand[interactive] == 0 {
		return true
	}
	first := func(of class) uint64 { return s.needy[of].min().firstNeedy[of].item.number }
	return first(batchWork) < first(interactive)
}

// charge says whether batch work has the connection's slot.
func (s *State) charge(c *conn, batch bool) {
	s.count(c, -1)
	c.Batch = batch
	s.count(c, 1)
}

// ready tells whether a batch waiter could have an idle connection of the workspace.
func (w *workspace) ready() bool { return w.batchQueue.size > 0 && len(w.idle) > 0 && !w.shut() }

// batchMayTake tells whether a batch waiter that arrived then may have a connection, with so
// much room in the share and so many others needy: those that are older by more than
// Patience have their place in it.
func (s *State) batchMayTake(arrived time.Duration, room, others int) bool {
	if room <= 0 || room > others {
		return room > 0
	}
	return s.needy[batchWork].min().firstNeedy[batchWork].item.Arrived >= arrived-s.limits.Patience
}

// batchMayTakeIdle is the same for an idle connection, which an interactive waiter may need.
func (s *State) batchMayTakeIdle(arrived time.Duration) bool {
	short := min(s.demand[interactive]+s.demand[surplus], s.dialRoom()) > max(0, s.coming())
	return !short && s.batchMayTake(arrived, s.batchRoom(), s.demand[batchWork])
}

// lendToBatch lends idle connections to batch waiters that found the share taken, in the
// order of their arrival.
func (s *State) lendToBatch() {
	for s.ready.size() > 0 {
		w := s.ready.min()
		if !s.batchMayTakeIdle(w.batchQueue.head.item.Arrived) {
			return
		}
		c, verify := s.takeIdle(w)
		s.counters.HandOffs++
		s.serve(w.batchQueue.head.item, c, verify)
	}
}
