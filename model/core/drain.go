package core

import "github.com/tenantpool/tenantpool/model"

// drain stops granting. A second one changes nothing.
func (s *State) drain() {
	if s.draining {
		return
	}
	s.draining = true
	for _, queue := range []*list[*waiter]{&s.queue, &s.batchQueue} {
		for queue.size > 0 {
			wt := queue.head.item
			s.refuse(wt, acquireError(wt.Workspace, model.ErrClosed))
		}
	}
	for s.lru.size() > 0 {
		s.close(s.lru.min(), model.DrainAsked)
	}
}

// finishDrain tells, once, that the last slot is free (I9).
func (s *State) finishDrain() {
	if s.draining && !s.drained && s.open() == 0 {
		s.drained = true
		s.emit(Drained{})
	}
}
