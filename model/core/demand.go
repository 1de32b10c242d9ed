package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

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

// firstNeedy is the first of the workspace's needy waiters, if it has a need.
func (w *workspace) firstNeedy() *node[*waiter] {
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
		w.needKey = w.firstNeedy().item.number
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

// olderThan counts the needy waiters that arrived before t, but no further than
// to limit. It looks at the workspaces of the needy heap from index i down, and
// below none whose first needy waiter is too young.
func (s *State) olderThan(t time.Duration, i, limit int) int {
	if i >= s.needy.size() || limit <= 0 {
		return 0
	}
	w := s.needy.items[i]
	n := w.firstNeedy()
	if n.item.Arrived >= t {
		return 0
	}
	count := 0
	for range min(w.need, limit) {
		if n.item.Arrived >= t {
			break
		}
		count++
		n = n.next
	}
	count += s.olderThan(t, 2*i+1, limit-count)
	count += s.olderThan(t, 2*i+2, limit-count)
	return count
}

// needyByArrival walks the needy waiters in the order of their arrival, which is
// the order in which dials start for them. The first n take time n log n. Nobody's
// need may change meanwhile.
func (s *State) needyByArrival(yield func(*waiter) bool) {
	// A workspace stands for its first needy waiter that was not seen yet. Its
	// children in the needy heap, which arrived later, follow when it was.
	heads := heap[*needyHead]{
		less:  func(a, b *needyHead) bool { return a.at.item.number < b.at.item.number },
		place: func(h *needyHead) *int { return &h.inHeads },
	}
	add := func(i int) {
		if i < s.needy.size() {
			w := s.needy.items[i]
			heads.set(&needyHead{index: i, at: w.firstNeedy(), left: w.need})
		}
	}
	add(0)
	for heads.size() > 0 {
		h := heads.min()
		wt := h.at.item
		if h.left == wt.workspace.need {
			add(2*h.index + 1)
			add(2*h.index + 2)
		}
		h.left--
		if h.left == 0 {
			heads.remove(h)
		} else {
			h.at = h.at.next
			heads.set(h)
		}
		if !yield(wt) {
			return
		}
	}
}

type needyHead struct {
	index   int // of the workspace in State.needy
	at      *node[*waiter]
	left    int // how many of its needy waiters, from at on
	inHeads int
}

// nextNeedy is the workspace of the first needy waiter that no slot is coming
// for, or "".
func (s *State) nextNeedy() (id model.WorkspaceID) {
	served := 0
	for wt := range s.needyByArrival {
		served++
		if served > s.coming() {
			return wt.workspace.ID
		}
	}
	return ""
}
