package core

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tenantpool/tenantpool/model"
)

// reclaim is rule 4: idle connections give way, in the order of eviction, to a budget
// that was lowered, and to the demand that no slot is coming for.
func (s *State) reclaim() {
	if s.draining {
		return
	}
	lru := &s.lru
	for n := s.excess(); n > 0 && lru.size() > 0; n-- {
		s.close(lru.min(), model.Shrink)
	}
	for lru.size() > 0 {
		wt := s.firstWithoutSlot()
		if wt == nil {
			return
		}
		s.closeFor(lru.min(), model.MakeRoom, wt.workspace.ID) // which may have been meant for a batch waiter
	}
}

// firstWithoutSlot is the first needy waiter that could be dialed for now and that no slot
// is coming for, or nil.
func (s *State) firstWithoutSlot() *waiter {
	wanted, coming := s.wanted(), s.coming()
	n := 0
	for wt := range s.needyInOrder {
		switch n++; {
		case n > wanted:
			return nil
		case n > coming:
			return wt
		}
	}
	return nil
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
		s.shrink(w)
	}
}

// setWorkspaceLimits changes those of one workspace, as setLimits does.
func (s *State) setWorkspaceLimits(w *workspace, limits model.WorkspaceLimits) {
	if limits != w.Limits {
		w.Limits = limits
		s.shrink(w)
	}
}

// shrink closes what is idle beyond the workspace's cap.
func (s *State) shrink(w *workspace) {
	s.closeIdle(w, w.open()-w.counts[closing]-s.capOf(w), model.Shrink)
	s.reindex(w)
}

// capOf is how many slots the workspace may have (I2).
func (s *State) capOf(w *workspace) int {
	if w.Limits.Cap > 0 {
		return int(w.Limits.Cap)
	}
	return s.limits.PerWorkspace
}

// softCapOf is how many of them it need not share (rule 10).
func (s *State) softCapOf(w *workspace) int {
	soft := s.limits.SoftPerWorkspace
	if w.Limits.SoftCap > 0 {
		soft = int(w.Limits.SoftCap)
	}
	if most := s.capOf(w); soft <= 0 || soft > most {
		return most
	}
	return soft
}

// maxWaiters is how many of its interactive acquires may wait.
func (s *State) maxWaiters(w *workspace) int {
	if w.Limits.MaxWaiters > 0 {
		return int(w.Limits.MaxWaiters)
	}
	return s.limits.MaxWaitersPerWorkspace
}

// byID lists the known workspaces by id, so that nothing depends on the order
// of a map.
func (s *State) byID() []*workspace {
	return slices.SortedFunc(maps.Values(s.workspaces), func(a, b *workspace) int { return cmp.Compare(a.ID, b.ID) })
}
