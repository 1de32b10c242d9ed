package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// dialRoom is how many further dials may start now.
func (s *State) dialRoom() int {
	most := s.pace.limit
	if s.server.failures > 0 {
		most = 1 // one dial finds out whether the server is back
	}
	if s.draining || s.server.lasts(s.now) {
		most = 0
	}
	return max(0, most-s.counts[dialing])
}

// wanted is how many slots waiters could use for a dial now.
func (s *State) wanted() int { return min(s.demand, s.dialRoom()) }

// startDials is rule 3: free slots go to the waiters that arrived first.
func (s *State) startDials() {
	for s.demand > 0 && s.dialRoom() > 0 && s.open() < s.effective {
		w := s.needy.min()
		s.lastConn++
		c := &conn{id: s.lastConn, workspace: w, state: dialing}
		c.listed.item = c
		c.since = s.now
		s.conns[c.id] = c
		s.counts[dialing]++
		w.counts[dialing]++
		w.dials++
		s.counters.Dials++
		s.reindex(w)
		s.emit(Dial{Conn: c.id, Workspace: w.id})
	}
}

// dialed returns the connection if a result of its dial is awaited.
func (s *State) dialed(id ConnID) *conn {
	c := s.conns[id]
	if c == nil || c.state != dialing {
		s.counters.StaleMessages++
		return nil
	}
	return c
}

// dialSucceeded: a dial serves the workspace, not the waiter that caused it.
func (s *State) dialSucceeded(m DialSucceeded) {
	c := s.dialed(m.Conn)
	if c == nil {
		return
	}
	s.server, c.workspace.backoff = backoff{}, backoff{}
	s.pace.observe(s.now, s.now-c.since, s.counts[dialing], s.limits)
	c.born, c.lastUsed = s.now, s.now
	c.yieldsFrom = s.now + min(stayPerDial*(s.now-c.since), maxStay)
	s.move(c, inUse)
	s.reindex(c.workspace)
	s.free(c, true)
}

// dialFailed is rule 5.
func (s *State) dialFailed(m DialFailed) {
	c := s.dialed(m.Conn)
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
		s.probe = probe{step: 1, at: s.now + s.limits.ProbeAfter}
	case model.Permanent:
		s.server = backoff{}
		w.backoff.fail(s.now, s.limits, c, m)
	default:
		w.backoff.fail(s.now, s.limits, c, m)
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
	err := &model.DialError{WorkspaceID: w.id, Kind: m.Kind, Attempts: 1, Err: m.Err}
	switch m.Kind {
	case model.ServerDown:
		err.Attempts = s.server.failures
	case model.Transient, model.Permanent:
		err.Attempts = w.backoff.failures
	}
	n := w.cover().firstUncovered()
	for m.Kind == model.Permanent && w.exclusive.size > 0 {
		wt := w.exclusive.head.item
		s.dequeue(wt)
		s.reject(wt.lease, wt.caller, err)
	}
	all := m.Kind == model.Permanent && !w.paused
	if all {
		n = w.queue.head
	}
	for n != nil {
		wt := n.item
		n = n.next
		if all || wt.noWait {
			s.dequeue(wt)
			s.reject(wt.lease, wt.caller, err)
		}
	}
	s.reindex(w)
}

// probe raises the effective budget again after the server was full.
type probe struct {
	step int
	at   time.Duration
}

func (s *State) raiseEffective() {
	if s.effective < s.limits.Budget && s.probe.at <= s.now {
		s.effective = min(s.limits.Budget, s.effective+s.probe.step)
		s.probe = probe{step: 2 * s.probe.step, at: s.now + s.limits.ProbeAfter}
	}
}
