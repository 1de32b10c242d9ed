package core

// The demand is the sum of the workspaces' needs (package comment). Here the needs are
// kept up to date, and the waiters they stand for are found in their order.

// needOf is how many further dials would serve the workspace now.
func (s *State) needOf(w *workspace) int {
	switch {
	case w.Backoff.lasts(s.now):
		return 0
	case w.exclusive.size > 0 && w.open() == 0:
		return min(1, s.limits.PerWorkspace)
	case w.shut():
		return 0
	}
	return max(0, min(w.cover().uncovered(), s.limits.PerWorkspace-w.open()))
}

// waitsForRetry tells whether somebody waits for the end of its back-off.
func (s *State) waitsForRetry(w *workspace) bool {
	return w.Backoff.lasts(s.now) && (w.exclusive.size > 0 || w.queue.size > 0 && !w.shut())
}

// findFirstNeedy is the first of the workspace's needy waiters, if it has a need.
func (w *workspace) findFirstNeedy() *node[*waiter] {
	if w.exclusive.size > 0 {
		return w.exclusive.head
	}
	return w.cover().firstUncovered()
}

// updateNeed computes the workspace's need (see the package comment) and keeps
// the demand and the heaps needy and retries in step with it.
func (s *State) updateNeed(w *workspace) {
	need := s.needOf(w)
	s.demand += need - w.need
	w.need = need
	if need > 0 {
		w.firstNeedy = w.findFirstNeedy()
		s.needy.set(w)
	} else {
		s.needy.remove(w)
	}
	if s.waitsForRetry(w) {
		s.retries.set(w)
	} else {
		s.retries.remove(w)
	}
}

// needyByArrival walks the needy waiters in the order of their arrival, which is the
// order in which dials start for them. The first n take time n log n. Nobody's need may
// change meanwhile.
func (s *State) needyByArrival(yield func(*waiter) bool) {
	var seen []*workspace // as if a dial had started for each waiter seen
	for s.needy.size() > 0 {
		w := s.needy.min()
		if !yield(w.firstNeedy.item) {
			break
		}
		seen = append(seen, w)
		s.demand--
		w.need--
		w.firstNeedy = w.firstNeedy.next
		if w.need > 0 {
			s.needy.set(w)
		} else {
			s.needy.remove(w)
		}
	}
	for _, w := range seen {
		s.updateNeed(w)
	}
}
