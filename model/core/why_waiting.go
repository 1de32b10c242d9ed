package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Waiting says why a waiter waits, at one moment.
type Waiting struct {
	Lease LeaseID
	// Before is how many acquires of all workspaces are before it in the queue, and
	// BeforeOwn how many of them are of its own.
	Before, BeforeOwn int
	Batch             bool          // it is batch work: all interactive ones are before it
	Covered           bool          // a dial under way is meant for it
	RetryIn           time.Duration // how long nothing is dialed for it, after failed dials
	// Reason is what a Cancel would be answered: a *ConnectionLimitError, a
	// *DialError, or an error that wraps ErrPaused, ErrInUse or ErrDialing.
	Reason error
}

// Waiting says why an Acquire of the workspace waits: the one of that lease, or with 0
// the first. It reports false if there is none. It takes time linear in the number of
// waiters.
func (s *State) Waiting(id model.WorkspaceID, lease LeaseID) (Waiting, bool) {
	w := s.workspaces[id]
	if w != nil && lease == 0 && w.waiting() > 0 {
		lease = w.next().head.item.Lease
	}
	wt := s.waiters[lease]
	if wt == nil || wt.workspace != w {
		return Waiting{}, false
	}
	waiting := Waiting{Lease: lease, Batch: wt.Batch, Covered: w.dialsFor(wt).has(wt), Reason: s.waitedFor(wt)}
	before := func(n *node[*waiter]) {
		for ; n != nil; n = n.prev {
			waiting.Before++
			if n.item.workspace == w {
				waiting.BeforeOwn++
			}
		}
	}
	before(wt.inQueue.prev)
	if wt.Batch { // behind all interactive ones
		before(s.queue.tail)
	}
	for _, b := range []*backoff{&w.Backoff, &s.server} {
		if b.lasts(s.now) {
			waiting.RetryIn = max(waiting.RetryIn, b.Until-s.now)
		}
	}
	return waiting, true
}

// Subject is the workspace that a message is about, before the State is told it: "" if
// it is about all, or about what is not there.
func (s *State) Subject(m Message) model.WorkspaceID {
	id, conn, lease := m.names()
	if c := s.conns[conn]; c != nil {
		return c.Workspace
	}
	if wt := s.waiters[lease]; wt != nil {
		return wt.Workspace
	}
	return id
}
