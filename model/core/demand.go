package core

// The demand is the sum of the workspaces' needs (package comment). Here the needs are
// kept up to date, and the waiters they stand for are found in their order.

// needOf is how many further dials would serve the workspace's waiters of each class now.
func (s *State) needOf(w *workspace) (need [classes]int) {
	room := max(0, s.capOf(w)-w.open())
	switch {
	case w.Backoff.lasts(s.now):
	case w.exclusive.size > 0 && w.open() == 0:
		need[interactive] = min(1, room)
	case w.shut():
	default:
		all := min(w.cover(interactive).uncovered(), room)
		need[interactive] = min(all, max(0, s.softCapOf(w)-w.open()))
		need[surplus] = all - need[interactive]
		need[batchWork] = min(w.cover(batchWork).uncovered(), room-all)
	}
	return need
}

// waitsForRetry tells whether somebody waits for the end of its back-off.
func (s *State) waitsForRetry(w *workspace) bool {
	return w.Backoff.lasts(s.now) && (w.exclusive.size > 0 || w.waiting() > 0 && !w.shut())
}

// findFirstNeedy is the first of the workspace's needy waiters of a class, if it has a
// need.
func (w *workspace) findFirstNeedy(of class) *node[*waiter] {
	if w.exclusive.size > 0 {
		return w.exclusive.head
	}
	if of == surplus {
		c := w.cover(interactive)
		c.coming += w.need[interactive]
		return c.firstUncovered()
	}
	return w.cover(of).firstUncovered()
}

// updateNeed computes the workspace's needs (see the package comment) and keeps the demand
// and the heaps needy, ready and retries in step with them.
func (s *State) updateNeed(w *workspace) {
	need := s.needOf(w)
	for of := range classes {
		s.demand[of] += need[of] - w.need[of]
		w.need[of] = need[of]
		if need[of] > 0 {
			w.firstNeedy[of] = w.findFirstNeedy(of)
			s.needy[of].set(w)
		} else {
			s.needy[of].remove(w)
		}
	}
	if w.ready() {
		s.ready.set(w)
	} else {
		s.ready.remove(w)
	}
	if s.waitsForRetry(w) {
		s.retries.set(w)
	} else {
		s.retries.remove(w)
	}
}

// dialable is how many needy waiters could be dialed for if there were slots and room
// for dials.
func (s *State) dialable() int {
	return s.demand[interactive] + s.demand[surplus] + min(s.demand[batchWork], max(0, s.batchDialRoom()))
}

// nextNeedy returns the workspace whose needy waiter gets the next slot, or nil, and that
// waiter's class. A batch waiter that gets it by its arrival counts as interactive.
func (s *State) nextNeedy() (w *workspace, of, as class) {
	switch {
	case s.batchFirst():
		return s.needy[batchWork].min(), batchWork, interactive
	case s.demand[interactive] > 0:
		return s.needy[interactive].min(), interactive, interactive
	case s.demand[surplus] > 0:
		return s.needy[surplus].min(), surplus, surplus
	case s.demand[batchWork] > 0 && s.batchDialRoom() > 0:
		return s.needy[batchWork].min(), batchWork, batchWork
	}
	return nil, 0, 0
}

// needyInOrder walks the needy waiters in the order in which dials start for them, with
// the class as which they count. The first n take time n log n. Nobody's need may change
// meanwhile.
func (s *State) needyInOrder(yield func(*waiter, class) bool) {
	var seen []*workspace // as if a dial had started for each waiter seen
	batch := s.batch[dialing]
	for {
		w, of, as := s.nextNeedy()
		if w == nil || !yield(w.firstNeedy[of].item, as) {
			break
		}
		seen = append(seen, w)
		s.demand[of]--
		w.need[of]--
		w.firstNeedy[of] = w.firstNeedy[of].next
		if w.need[of] > 0 {
			s.needy[of].set(w)
		} else {
			s.needy[of].remove(w)
		}
		if of == batchWork {
			s.batch[dialing]++
		}
	}
	s.batch[dialing] = batch
	for _, w := range seen {
		s.updateNeed(w)
	}
}
