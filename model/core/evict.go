package core

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// close tells a connection to go. It keeps its slot until Closed.
func (s *State) close(c *conn, reason model.CloseReason) { s.closeFor(c, reason, "") }

// closeFor is close for the sake of another workspace.
func (s *State) closeFor(c *conn, reason model.CloseReason, beneficiary model.WorkspaceID) {
	idleFor := time.Duration(0)
	if c.State == idle {
		idleFor = s.now - c.LastUsed
		s.unpark(c)
	}
	s.move(c, closing)
	c.Since = s.now
	if c.Exclusive {
		c.workspace.alone = false
	}
	s.onTheWay.pushBack(&c.listed)
	s.counters.Closes[reason]++
	if reason == model.MakeRoom || reason == model.Yield {
		c.workspace.Evictions++
	}
	s.reindex(c.workspace)
	s.emit(Close{Conn: c.ID, Workspace: c.workspace.ID, Reason: reason, IdleFor: idleFor, For: beneficiary})
}

func (s *State) closed(m Closed) {
	c := s.conns[m.Conn]
	if c == nil || c.State != closing {
		s.counters.StaleMessages++
		return
	}
	s.gone(c)
}

// gone frees the connection's slot: the server has let go of it (I1).
func (s *State) gone(c *conn) {
	w := c.workspace
	c.listed.remove()
	delete(s.conns, c.ID)
	s.counts[c.State]--
	w.counts[c.State]--
	s.finishOperations(c)
	s.reindex(w)
}

// reclaim is rule 4: the least recently used idle connections give way to a budget
// that was lowered, and to the demand that no slot is coming for.
func (s *State) reclaim() {
	if s.draining {
		return
	}
	lru := &s.idle.lru
	for n := s.excess(); n > 0 && lru.size() > 0; n-- {
		s.close(lru.min(), model.Shrink)
	}
	wanted := s.wanted()
	if wanted <= 0 || wanted <= s.coming() || lru.size() == 0 {
		return
	}
	served := 0 // the waiters that a slot is coming for
	for wt := range s.needyByArrival {
		served++
		for s.coming() < served {
			if served > wanted || lru.size() == 0 {
				return
			}
			s.closeFor(lru.min(), model.MakeRoom, wt.workspace.ID)
		}
	}
}

// excess is by how many the open connections that are not closing exceed the
// effective budget.
func (s *State) excess() int { return s.open() - s.counts[closing] - s.effective }

// Short tells whether a slot is wanted that is neither free nor on its way. While it
// is, every connection that comes free matters, and a Reclaim may find one to close.
func (s *State) Short() bool {
	return s.draining || s.excess() > 0 || s.wanted() > max(0, s.coming())
}

// Reclaimable tells whether a Reclaim would close something.
func (s *State) Reclaimable() bool { return !s.draining && s.counts[idle] > 0 && s.Short() }

// closeIdle closes the n least recently used idle connections of a workspace.
func (s *State) closeIdle(w *workspace, n int, reason model.CloseReason) {
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
		s.closeIdle(w, w.open()-w.counts[closing]-m.PerWorkspace, model.Shrink)
		s.reindex(w)
	}
}

// byID lists the known workspaces by id, so that nothing depends on the order
// of a map.
func (s *State) byID() []*workspace {
	return slices.SortedFunc(maps.Values(s.workspaces), func(a, b *workspace) int {
		return strings.Compare(string(a.ID), string(b.ID))
	})
}
