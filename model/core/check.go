package core

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Check verifies every invariant that can be seen in a State at rest, by
// recomputing from the connections and waiters what is kept incrementally. It
// is for tests: it takes time quadratic in what it looks at.
func (s *State) Check() error {
	return errors.Join(
		s.checkCounts(),
		s.checkIdle(),
		s.checkWaiters(),
		s.checkWorkspaces(),
		s.checkNoLostWakeUp(),
	)
}

// checkCounts: I1, I2 and I5 as far as numbers tell.
func (s *State) checkCounts() error {
	var total, batch [connStates]int
	each := make(map[*workspace][connStates]int)
	leased := make(map[LeaseID]bool)
	for id, c := range s.conns {
		total[c.State]++
		if c.Batch {
			batch[c.State]++
		}
		counts := each[c.workspace]
		counts[c.State]++
		each[c.workspace] = counts
		switch {
		case c.ID != id || id > s.lastConn:
			return fmt.Errorf("I5: connection %d is filed under %d, and the last one is %d", c.ID, id, s.lastConn)
		case s.workspaces[c.workspace.ID] != c.workspace:
			return fmt.Errorf("I4: connection %d belongs to a forgotten entry of workspace %q", id, c.workspace.ID)
		case c.Exclusive && c.State == inUse && c.workspace.open() != 1:
			return fmt.Errorf("I12: connection %d is in exclusive use, but workspace %q has %d", id, c.workspace.ID, c.workspace.open())
		case c.State == inUse && c.Exclusive != c.workspace.alone:
			return fmt.Errorf("I12: connection %d: exclusive %t, but kept of workspace %q: %t", id, c.Exclusive, c.workspace.ID, c.workspace.alone)
		case c.Batch && c.State == idle, c.Batch && c.Exclusive && c.State == inUse:
			return fmt.Errorf("I13: connection %d is batch work's, but idle or in exclusive use", id)
		case c.State == inUse && leased[c.Lease]:
			return fmt.Errorf("I5: lease %d has two connections", c.Lease)
		case c.State == closing && c.listed.in != nil && c.listed.in != &s.onTheWay,
			c.State != closing && c.listed.in != nil:
			return fmt.Errorf("I5: connection %d is in the wrong list for its state", id)
		}
		if c.State == inUse {
			leased[c.Lease] = true
		}
	}
	if total != s.counts {
		return fmt.Errorf("I1: counted %v, kept %v", total, s.counts)
	}
	if batch != s.batch {
		return fmt.Errorf("I13: counted %v for batch work, kept %v", batch, s.batch)
	}
	for _, w := range s.workspaces {
		if each[w] != w.counts {
			return fmt.Errorf("I2: workspace %q: counted %v, kept %v", w.ID, each[w], w.counts)
		}
		if w.alone && w.counts[inUse] != 1 {
			return fmt.Errorf("I12: workspace %q has %d connections in use, and none of them alone", w.ID, w.counts[inUse])
		}
	}
	if s.effective > s.limits.Budget {
		return fmt.Errorf("I1: effective budget %d above the budget %d", s.effective, s.limits.Budget)
	}
	return nil
}

// checkIdle: I6.
func (s *State) checkIdle() error {
	if n := s.counts[idle]; s.lru.size() != n || s.ends.size() != n {
		return fmt.Errorf("I6: %d idle, %d in the LRU heap, %d in the heap of ends", n, s.lru.size(), s.ends.size())
	}
	evicts := evictionOrder(s.limits)
	for _, c := range s.conns {
		stacked := slices.Contains(c.workspace.idle, c)
		if is := c.State == idle; is != stacked || is != s.lru.has(c) || is != s.ends.has(c) {
			return fmt.Errorf("I6: connection %d: idle %v, but stacked %v, in LRU heap %v, in heap of ends %v",
				c.ID, is, stacked, s.lru.has(c), s.ends.has(c))
		}
		if c.State == idle && (evicts(c, s.lru.min()) < 0 || byEnd(c, s.ends.min()) < 0) {
			return fmt.Errorf("I6: connection %d comes before the head of a heap", c.ID)
		}
		if c.State == idle && c.stale() {
			return fmt.Errorf("I11: connection %d is idle, but dialed before connection %d, the last before a Renew", c.ID, c.workspace.Renewed+1)
		}
	}
	for _, w := range s.workspaces {
		if !slices.IsSortedFunc(w.idle, byUse) {
			return fmt.Errorf("I6: idle stack of workspace %q out of order", w.ID)
		}
	}
	return nil
}

// checkWaiters: I3 and I8 as far as the queues tell.
func (s *State) checkWaiters() error {
	if len(s.waiters) != s.waiting() {
		return fmt.Errorf("I3: %d waiters known, %d queued", len(s.waiters), s.waiting())
	}
	if s.draining && s.waiting() > 0 {
		return fmt.Errorf("I9: %d waiters while draining", s.waiting())
	}
	queued := make(map[*workspace]int)
	for _, queue := range []*list[*waiter]{&s.queue, &s.batchQueue} {
		last, arrived := uint64(0), time.Duration(0)
		for n := queue.head; n != nil; n = n.next {
			wt := n.item
			if wt.number <= last || wt.Arrived < arrived || wt.Arrived > s.now || s.waiters[wt.Lease] != wt ||
				s.queueOf(&wt.waiterFacts) != queue || wt.inWorkspace.in != wt.workspace.line(&wt.waiterFacts) {
				return fmt.Errorf("I8: waiter of lease %d is out of order or not filed", wt.Lease)
			}
			last, arrived = wt.number, wt.Arrived
			queued[wt.workspace]++
		}
	}
	for _, w := range s.workspaces {
		if queued[w] != w.waiting() {
			return fmt.Errorf("I3: workspace %q: %d of its waiters queued, %d in its own queues", w.ID, queued[w], w.waiting())
		}
		for _, head := range []*node[*waiter]{w.queue.head, w.batchQueue.head, w.exclusive.head} {
			for n := head; n != nil && n.next != nil; n = n.next {
				if n.item.number > n.next.item.number {
					return fmt.Errorf("I8: queue of workspace %q out of order", w.ID)
				}
			}
		}
	}
	return nil
}

// checkWorkspaces: what is derived from each workspace, and I10.
func (s *State) checkWorkspaces() error {
	var demand, needy [classes]int
	ready, retries, retired := 0, 0, 0
	for _, w := range s.workspaces {
		need, waitsForRetry := s.needOf(w), s.waitsForRetry(w)
		inactive := w.open() == 0 && w.waiting() == 0 && !w.Paused
		switch {
		case w.ready() != s.ready.has(w):
			return fmt.Errorf("workspace %q has an idle connection for batch work: %v, kept %v", w.ID, w.ready(), s.ready.has(w))
		case w.ready() && w.batchQueue.head.item.number < s.ready.min().batchQueue.head.item.number:
			return fmt.Errorf("workspace %q comes before the head of the ready heap", w.ID)
		case waitsForRetry != s.retries.has(w):
			return fmt.Errorf("workspace %q waits for a retry: %v, kept %v", w.ID, waitsForRetry, s.retries.has(w))
		case inactive != (w.listed.in != nil):
			return fmt.Errorf("I10: workspace %q inactive: %v, retired: %v", w.ID, inactive, w.listed.in != nil)
		case len(w.Pauses) > 0 && (!w.Paused || w.open() == 0):
			return fmt.Errorf("workspace %q has an unanswered pause", w.ID)
		}
		for of := range classes {
			switch {
			case need[of] != w.need[of] || (need[of] > 0) != s.needy[of].has(w):
				return fmt.Errorf("workspace %q needs %d for class %d, kept %d, in the heap %v", w.ID, need[of], of, w.need[of], s.needy[of].has(w))
			case need[of] > 0 && w.firstNeedy[of] != w.findFirstNeedy(of):
				return fmt.Errorf("workspace %q is filed under the waiter of lease %d", w.ID, w.firstNeedy[of].item.Lease)
			case need[of] > 0 && w.firstNeedy[of].item.number < s.needy[of].min().firstNeedy[of].item.number:
				return fmt.Errorf("workspace %q comes before the head of the needy heap", w.ID)
			}
			demand[of] += need[of]
			if need[of] > 0 {
				needy[of]++
			}
		}
		if w.ready() {
			ready++
		}
		if waitsForRetry {
			retries++
		}
		if inactive {
			retired++
		}
	}
	var kept [classes]int
	for of := range classes {
		kept[of] = s.needy[of].size()
	}
	if demand != s.demand || needy != kept || ready != s.ready.size() || retries != s.retries.size() {
		return fmt.Errorf("demand %d of %d workspaces, %d ready, %d retries; kept %d, %d, %d, %d",
			demand, needy, ready, retries, s.demand, kept, s.ready.size(), s.retries.size())
	}
	if retired != s.retired.size || retired > maxRetired {
		return fmt.Errorf("I10: %d workspaces retired, kept %d, allowed %d", retired, s.retired.size, maxRetired)
	}
	return nil
}

// checkNoLostWakeUp: I7, and I9 as far as it can be seen.
func (s *State) checkNoLostWakeUp() error {
	if s.draining {
		if s.counts[idle] > 0 || s.drained != (s.open() == 0) {
			return fmt.Errorf("I9: draining with %d idle, drained %v with %d open", s.counts[idle], s.drained, s.open())
		}
		return nil
	}
	for _, w := range s.workspaces {
		if w.queue.size > 0 && len(w.idle) > 0 {
			return fmt.Errorf("I7: workspace %q has %d waiters and %d idle connections", w.ID, w.queue.size, len(w.idle))
		}
		if w.shut() && len(w.idle) > 0 {
			return fmt.Errorf("workspace %q is paused or in exclusive use and has %d idle connections", w.ID, len(w.idle))
		}
	}
	if s.ready.size() > 0 && s.batchMayTakeIdle(s.ready.min().batchQueue.head.item.Arrived) {
		return fmt.Errorf("I7: workspace %q has an idle connection that its batch waiter could have", s.ready.min().ID)
	}
	wanted := s.wanted()
	if wanted > 0 && s.open() < s.effective {
		return fmt.Errorf("I7: %d dials are wanted and could start", wanted)
	}
	reclaimable := s.reclaimed && s.counts[idle] > 0 // and yet idle
	if reclaimable && s.excess() > 0 {
		return fmt.Errorf("I1: %d of %d open and only %d closing, but %d idle", s.open(), s.effective, s.counts[closing], s.counts[idle])
	}
	if reclaimable && wanted > max(0, s.coming()) {
		return fmt.Errorf("I7: %d dials are wanted, %d slots are coming, and %d connections are idle", wanted, s.coming(), s.counts[idle])
	}
	return nil
}
