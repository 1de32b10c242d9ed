package core

import (
	"errors"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// waiter is an Acquire without an answer.
type waiter struct {
	// lease, workspace, noWait, exclusive and caller are the Acquire's.
	lease     LeaseID
	workspace *workspace
	noWait    bool
	exclusive bool
	caller    any
	// number is its place in the order of all arrivals, and arrived its time (I8).
	number  uint64
	arrived time.Duration

	// inQueue is its place in State.queue, and inWorkspace that in workspace.queue or
	// workspace.exclusive. Invariant (I3): it is in both.
	inQueue, inWorkspace node[*waiter]
}

// line is the list in which such a waiter of the workspace stands.
func (w *workspace) line(exclusive bool) *list[*waiter] {
	if exclusive {
		return &w.exclusive
	}
	return &w.queue
}

// next is the line whose first waiter a connection that comes free goes to.
func (w *workspace) next() *list[*waiter] { return w.line(w.exclusive.size > 0) }

func (s *State) enqueue(m Acquire, w *workspace) *waiter {
	s.arrivals++
	wt := s.spare
	if wt == nil {
		wt = new(waiter)
	}
	s.spare = nil
	*wt = waiter{lease: m.Lease, workspace: w, number: s.arrivals, arrived: s.now, noWait: m.NoWait, exclusive: m.Exclusive, caller: m.Caller}
	wt.inQueue.item, wt.inWorkspace.item = wt, wt
	s.waiters[m.Lease] = wt
	s.queue.pushBack(&wt.inQueue)
	w.line(wt.exclusive).pushBack(&wt.inWorkspace)
	s.reindex(w)
	return wt
}

// dequeue forgets a waiter that is about to be answered. The caller reindexes
// the workspace.
func (s *State) dequeue(wt *waiter) {
	delete(s.waiters, wt.lease)
	wt.inQueue.remove()
	wt.inWorkspace.remove()
	s.spare = wt // for the next one; the caller is done with it before
}

func (s *State) reject(lease LeaseID, caller any, err error) {
	s.counters.Rejects++
	if limit := (*model.ConnectionLimitError)(nil); errors.As(err, &limit) {
		s.counters.LimitErrors++
	}
	s.emit(Reject{Lease: lease, Caller: caller, Err: err})
}
