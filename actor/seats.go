package actor

import (
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/model/planner"
)

// maxSeats bounds the seats of one workspace. Connections beyond them lie with
// the supervisor.
const maxSeats = 8

// seats is where the holders of a workspace's connections leave them for the next
// holders without a message. It is there while the workspace has a connection or
// a waiter. The package comment has the protocol.
type seats struct {
	share     *share
	workspace model.WorkspaceID
	hash      planner.Hash // the workspace's
	// places have room for one slot each, as channels of capacity one would, which
	// cost three times as much. They are tried in their order, so that what lies in
	// the last ones is not used, and grows old, while fewer would do.
	places []atomic.Pointer[slot]
	// closed is up while the supervisor must be told of every connection of the
	// workspace that comes free.
	closed atomic.Bool

	// Only the supervisor touches what follows; closed is made of it (update).
	slots   []*slot // dialed and not told to close
	waiting int     // acquires without an answer
	stale   int     // how many of the slots are stale
	cap     int     // the workspace's own, or 0
}

func newSeats(sh *share, id model.WorkspaceID) *seats {
	n := 0
	if sh.hasSeats() {
		n = min(sh.perWorkspace, maxSeats)
	}
	return &seats{share: sh, workspace: id, hash: planner.HashOf(id), places: make([]atomic.Pointer[slot], n)}
}

// take returns a slot that lay in a seat and is the caller's now, or nil.
func (ts *seats) take() *slot {
	for i := range ts.places {
		if ts.places[i].Load() == nil { // looking costs less than taking
			continue
		}
		if c := ts.places[i].Swap(nil); c != nil {
			return c
		}
	}
	return nil
}

// put leaves a slot in a seat. It reports false when there is no free one.
func (ts *seats) put(c *slot) bool {
	for i := range ts.places {
		if ts.places[i].CompareAndSwap(nil, c) {
			return true
		}
	}
	return false
}

// mustTell tells whether the supervisor wants to know of each connection of the
// workspace that comes free. It is asked after a seat was filled or emptied:
// the supervisor raises its flags first, and then looks into the seats.
func (ts *seats) mustTell() bool { return ts.closed.Load() || ts.share.short.Load() }

// lend takes a connection that its last holder left in a seat.
func (ts *seats) lend() (Lease, bool) {
	if ts.mustTell() {
		return Lease{}, false
	}
	c := ts.take()
	if c == nil {
		return Lease{}, false
	}
	if ts.mustTell() { // somebody came before: do not overtake
		ts.share.supervisor.sendHome(c, core.Clean)
		return Lease{}, false
	}
	return c.lend(ts.share.supervisor.now()), true
}

// leave notes the turn that the slot's owner has ended, for which he held it so long, and puts
// the slot in a seat or, if there is none, sends it to the supervisor. It reports false if the
// supervisor must be told.
func (ts *seats) leave(c *slot, turn uint64, held time.Duration) bool {
	if ts.mustTell() {
		return false
	}
	if on := ts.share.sampled(); on.has(ts.hash) {
		if l := &c.logs[on.log()]; l.full { // spare the hottest a call: this turn was not granted
			l.merge(held)
		} else {
			c.note(l, turn, held)
		}
	}
	if !ts.put(c) {
		ts.share.supervisor.sendHome(c, core.Clean)
		return true
	}
	if ts.mustTell() {
		// It may have looked into the seats before this one was filled.
		for c := ts.take(); c != nil; c = ts.take() {
			ts.share.supervisor.sendHome(c, core.Clean)
		}
	}
	return true
}
