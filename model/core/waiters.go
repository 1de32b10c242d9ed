package core

import (
	"errors"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// waiter is an Acquire without an answer.
type waiter struct {
	waiterFacts
	// workspace is the entry of waiterFacts.Workspace.
	workspace *workspace
	// number is its place in the order of all arrivals (I8).
	number uint64
	// caller is the Acquire's.
	caller any

	// inQueue is its place in State.queue or batchQueue, and inWorkspace that in the
	// workspace's queue, batchQueue or exclusive. Invariant (I3): it is in both.
	inQueue, inWorkspace node[*waiter]
}

// waiterFacts are what is known of a waiter for itself: an Image has a copy. All but
// Arrived are the Acquire's.
type waiterFacts struct {
	Lease     LeaseID
	Workspace model.WorkspaceID
	NoWait    bool `json:",omitzero"`
	Exclusive bool `json:",omitzero"`
	Batch     bool `json:",omitzero"`
	// Arrived is when it came. Invariant (I8): nobody before it in its queue came later.
	Arrived time.Duration
}

// line is the list in which such a waiter of the workspace stands.
func (w *workspace) line(f *waiterFacts) *list[*waiter] {
	switch {
	case f.Exclusive:
		return &w.exclusive
	case f.Batch:
		return &w.batchQueue
	}
	return &w.queue
}

// next is the line whose first waiter a connection that comes free goes to.
func (w *workspace) next() *list[*waiter] {
	switch {
	case w.exclusive.size > 0:
		return &w.exclusive
	case w.queue.size > 0:
		return &w.queue
	}
	return &w.batchQueue
}

// queueOf is the queue of all workspaces in which such a waiter stands.
func (s *State) queueOf(f *waiterFacts) *list[*waiter] {
	if f.Batch {
		return &s.batchQueue
	}
	return &s.queue
}

// enqueue puts an Acquire that arrives now at the end of the queues.
func (s *State) enqueue(m Acquire, w *workspace) *waiter {
	wt := s.addWaiter(waiterFacts{m.Lease, w.ID, m.NoWait, m.Exclusive, m.Batch, s.now}, w)
	wt.caller = m.Caller
	s.reindex(w)
	return wt
}

// addWaiter puts a waiter at the end of the queues. The caller reindexes the workspace.
func (s *State) addWaiter(f waiterFacts, w *workspace) *waiter {
	s.arrivals++
	wt := s.spare
	if wt == nil {
		wt = new(waiter)
	}
	s.spare = nil
	*wt = waiter{waiterFacts: f, workspace: w, number: s.arrivals}
	wt.inQueue.item, wt.inWorkspace.item = wt, wt
	s.waiters[f.Lease] = wt
	s.queueOf(&f).pushBack(&wt.inQueue)
	w.line(&f).pushBack(&wt.inWorkspace)
	return wt
}

// dequeue forgets a waiter that is about to be answered.
func (s *State) dequeue(wt *waiter) {
	delete(s.waiters, wt.Lease)
	wt.inQueue.remove()
	wt.inWorkspace.remove()
	s.reindex(wt.workspace)
	s.spare = wt // for the next one; the caller is done with it before
}

func (s *State) refuse(wt *waiter, err error) {
	s.dequeue(wt)
	s.reject(wt.Lease, wt.caller, err)
}

func (s *State) reject(lease LeaseID, caller any, err error) {
	s.counters.Rejects++
	if limit := (*model.ConnectionLimitError)(nil); errors.As(err, &limit) {
		s.counters.LimitErrors++
	}
	s.emit(Reject{Lease: lease, Caller: caller, Err: err})
}
