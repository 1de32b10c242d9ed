package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// dialRoom is how many further dials may start now.
func (s *State) dialRoom() int {
	most := s.pace.Limit
	if s.server.Failures > 0 {
		most = 1 // one dial finds out whether the server is back
	}
	if s.draining || s.server.lasts(s.now) {
		most = 0
	}
	return max(0, most-s.counts[dialing])
}

// wanted is how many slots waiters could use for a dial now.
func (s *State) wanted() int { return min(s.dialable(), s.dialRoom()) }

// startDials is rule 3: free slots go to the waiters that arrived first. Batch waiters
// between them are lent what is idle (rule 9).
func (s *State) startDials() {
	for {
		s.lendToBatch()
		w, of, _ := s.nextNeedy()
		if w == nil || s.dialRoom() == 0 || s.open() >= s.effective {
			return
		}
		batch := of == batchWork
		before := w.ghost()
		s.lastConn++
		s.addConn(connFacts{ID: s.lastConn, Workspace: w.ID, State: dialing, Since: s.now, Batch: batch, Cold: batch, Before: before}, w)
		w.Dials++
		s.counters.Dials++
		s.reindex(w)
		s.emit(Dial{Conn: s.lastConn, Workspace: w.ID, Batch: batch})
	}
}

// ghost is the last use that a connection dialed now goes on from: its workspace's. While
// the workspace has others it is an extra one, and has none.
func (w *workspace) ghost() time.Duration {
	if w.open() > w.counts[closing] {
		return 0
	}
	return w.Released
}

// dialSucceeded: a dial serves the workspace, not the waiter that caused it.
func (s *State) dialSucceeded(m DialSucceeded) {
	c := s.find(m.Conn, dialing, 0)
	if c == nil {
		return
	}
	s.server, c.workspace.Backoff = backoff{}, backoff{}
	s.pace.observe(s.now, s.now-c.Since, s.counts[dialing], s.limits)
	c.Born, c.LastUsed = s.now, s.now
	c.YieldsFrom = s.now + min(stayPerDial*(s.now-c.Since), maxStay)
	s.move(c, inUse)
	s.reindex(c.workspace)
	s.free(c, true)
}

// dialFailed is rule 5.
func (s *State) dialFailed(m DialFailed) {
	c := s.find(m.Conn, dialing, 0)
	if c == nil {
		return
	}
	w := c.workspace
	s.counters.DialFailures++
	if m.Kind == model.Permanent && c.stale() {
		m.Kind = model.Transient // what it failed on may have passed: that is why somebody renews
	}
	switch m.Kind {
	case model.ServerDown:
		s.verifyUntil = s.now
		// Dials that failed together with the first one say nothing new.
		if !s.server.lasts(s.now) {
			s.server.fail(s.now, s.limits, c, m)
		}
	case model.ServerFull:
		s.server = backoff{}
		s.counters.ServerRefusals++
		s.effective = min(s.effective, s.open()-1)
		s.probe = probe{Step: 1, At: s.now + s.limits.ProbeAfter}
	case model.Permanent:
		s.server = backoff{}
		w.Backoff.fail(s.now, s.limits, c, m)
	default:
		w.Backoff.fail(s.now, s.limits, c, m)
	}
	if m.SlotHeld {
		s.close(c, model.DialLeftover)
	} else {
		s.gone(c)
	}
	s.refuseWaiters(w, m)
}

// refuseWaiters answers those waiters of the workspace that do not wait on after a
// failed dial. When it failed for good these are all of them, or while the workspace is
// paused only the exclusive ones, since Resume will forget the failure. Otherwise they
// are those that would not wait and that no dial under way is meant for. It takes time
// linear in the workspace's waiters.
func (s *State) refuseWaiters(w *workspace, m DialFailed) {
	err := &model.DialError{WorkspaceID: w.ID, Kind: m.Kind, Attempts: 1, Err: m.Err}
	switch m.Kind {
	case model.ServerDown:
		err.Attempts = s.server.Failures
	case model.Transient, model.Permanent:
		err.Attempts = w.Backoff.Failures
	}
	n := w.cover(interactive).firstUncovered()
	for m.Kind == model.Permanent && w.exclusive.size > 0 {
		s.refuse(w.exclusive.head.item, err)
	}
	all := m.Kind == model.Permanent && !w.Paused
	if all {
		n = w.queue.head
	}
	for n != nil {
		wt := n.item
		n = n.next
		if all || wt.NoWait {
			s.refuse(wt, err)
		}
	}
	for all && w.batchQueue.size > 0 {
		s.refuse(w.batchQueue.head.item, err)
	}
}

// probe raises the effective budget again after the server was full.
type probe struct {
	// Step is by how much it is raised next, and At when.
	Step int
	At   time.Duration
}

func (s *State) raiseEffective() {
	if s.effective < s.limits.Budget && s.probe.At <= s.now {
		s.effective = min(s.limits.Budget, s.effective+s.probe.Step)
		s.probe = probe{Step: 2 * s.probe.Step, At: s.now + s.limits.ProbeAfter}
	}
}
