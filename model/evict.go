package model

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// close tells a connection to go. It keeps its slot until Closed.
func (s *State) close(c *conn, reason CloseReason) { s.closeFor(c, reason, "") }

// closeFor is close for the sake of another workspace.
func (s *State) closeFor(c *conn, reason CloseReason, beneficiary WorkspaceID) {
	idleFor := time.Duration(0)
	if c.state == idle {
		idleFor = s.now - c.lastUsed
		s.unpark(c)
	}
	s.move(c, closing)
	c.since = s.now
	s.onTheWay.pushBack(&c.listed)
	s.counters.Closes[reason]++
	if reason == MakeRoom || reason == Yield {
		c.workspace.evictions++
	}
	s.settle(c.workspace)
	s.emit(Close{Conn: c.id, Workspace: c.workspace.id, Reason: reason, IdleFor: idleFor, For: beneficiary})
}

func (s *State) closed(m Closed) {
	c := s.conns[m.Conn]
	if c == nil || c.state != closing {
		s.counters.StaleMessages++
		return
	}
	s.gone(c)
}

// gone frees the connection's slot: the server has let go of it (I1).
func (s *State) gone(c *conn) {
	w := c.workspace
	c.listed.remove()
	delete(s.conns, c.id)
	s.counts[c.state]--
	w.counts[c.state]--
	s.finishOperations(c)
	s.settle(w)
}

// makeRoom is rule 4: the least recently used idle connections give way to a
// budget that was lowered, and to the demand that no slot is coming for.
func (s *State) makeRoom() {
	if s.draining {
		return
	}
	for n := s.excess(); n > 0 && s.seesOldest(); n-- {
		s.close(s.idle.lru.min(), Shrink)
	}
	wanted := s.wanted()
	if wanted <= 0 || wanted <= s.coming() || !s.seesOldest() {
		return
	}
	served := 0 // the waiters that a slot is coming for
	for wt := range s.needyByArrival {
		served++
		for s.coming() < served {
			if served > wanted || !s.seesOldest() {
				return
			}
			s.closeFor(s.idle.lru.min(), MakeRoom, wt.workspace.id)
		}
	}
}

// seesOldest tells whether the head of the LRU heap is the least recently used of
// all that nobody holds, those included that it was not told about.
func (s *State) seesOldest() bool {
	return s.idle.lru.size() > 0 && s.idle.lru.min().lastUsed < s.horizon
}

// excess is by how many the open connections that are not closing exceed the
// effective budget.
func (s *State) excess() int { return s.open() - s.counts[closing] - s.effective }

// Short tells whether a slot is wanted that no idle connection gave up: so every
// connection that comes free matters. While it is true, a connection that was
// given back and not told about, or an earlier Horizon, may be a waiter's
// lost wake-up.
func (s *State) Short() bool {
	return s.draining || s.excess() > 0 || s.wanted() > max(0, s.coming())
}

// closeIdle closes the n least recently used idle connections of a workspace.
func (s *State) closeIdle(w *workspace, n int, reason CloseReason) {
	for ; n > 0 && len(w.idle) > 0; n-- {
		s.close(w.idle[0], reason)
	}
}

// setLimits changes the budget and the cap. It takes time linear in the number
// of known workspaces. What is idle beyond the new limits closes now, what is in
// use when it is released.
func (s *State) setLimits(m SetLimits) {
	if s.draining {
		return
	}
	if s.effective == s.limits.Budget {
		s.effective = m.Budget
	}
	s.limits.Budget, s.limits.PerWorkspace = m.Budget, m.PerWorkspace
	s.effective = min(s.effective, m.Budget)
	for _, w := range s.byID() {
		s.closeIdle(w, w.open()-w.counts[closing]-m.PerWorkspace, Shrink)
		s.settle(w)
	}
}

// byID lists the known workspaces by id, so that nothing depends on the order
// of a map.
func (s *State) byID() []*workspace {
	return slices.SortedFunc(maps.Values(s.workspaces), func(a, b *workspace) int {
		return strings.Compare(string(a.id), string(b.id))
	})
}
