package core

import (
	"fmt"

	"github.com/tenantpool/tenantpool/model"
)

// acquire is rule 1.
func (s *State) acquire(m Acquire) {
	s.counters.Acquires++
	if s.draining {
		s.reject(m.Lease, m.Caller, acquireError(m.Workspace, model.ErrClosed))
		return
	}
	m.Batch = m.Batch && !m.Exclusive
	m.NoWait = m.NoWait && !m.Exclusive && !m.Batch
	w := s.lookup(m.Workspace)
	if !m.Exclusive {
		s.setWorkspaceLimits(w, m.Limits)
	}
	if len(w.idle) > 0 && !m.Exclusive && (!m.Batch || s.batchMayTakeIdle(s.now)) {
		s.counters.Hits++
		c, verify := s.takeIdle(w)
		s.lend(c, m.Lease, false, m.Batch)
		s.emit(Grant{Lease: m.Lease, Conn: c.ID, Workspace: w.ID, Verify: verify, Caller: m.Caller})
		return
	}
	if err := s.refuseToQueue(m, w); err != nil {
		s.reject(m.Lease, m.Caller, err)
		s.reindex(w)
		return
	}
	wt := s.enqueue(m, w)
	if m.Exclusive {
		s.closeIdle(w, len(w.idle), model.PauseAsked)
	}
	if m.NoWait {
		if err := s.refuseToWait(w); err != nil {
			s.refuse(wt, err)
		}
	}
}

// takeIdle takes the most recently used of the workspace's idle connections, and tells
// whether it is to be tested. The caller lends it.
func (s *State) takeIdle(w *workspace) (c *conn, verify bool) {
	c = w.idle[len(w.idle)-1]
	verify = s.mustVerify(c)
	s.unpark(c)
	return c, verify
}

// mustVerify tells whether an idle connection is to be tested before its use.
func (s *State) mustVerify(c *conn) bool {
	long := s.limits.VerifyAfter > 0 && s.now-c.LastUsed >= s.limits.VerifyAfter
	return long || c.LastUsed <= s.verifyUntil
}

// refuseToQueue says why an Acquire that found nothing idle may not even join
// the queue.
func (s *State) refuseToQueue(m Acquire, w *workspace) error {
	full := s.queue.size >= s.limits.MaxWaiters || w.waiting()-w.batchQueue.size >= s.maxWaiters(w)
	if m.Batch {
		full = s.batchQueue.size >= s.limits.MaxWaiters
	}
	switch {
	case full:
		err := s.limitError(w, model.QueueLimit)
		err.Waiting++ // the refused one, which is not in the queue
		err.WaitingWorkspace++
		return err
	case m.NoWait && w.shut():
		return acquireError(w.ID, model.ErrPaused)
	case !w.Paused && w.Backoff.lasts(s.now) && w.Backoff.Kind == model.Permanent:
		return w.Backoff.dialError(w) // after a pause Resume forgets the failure
	}
	return nil
}

// refuseToWait says why an Acquire with NoWait, the last of its workspace's
// queue, would have to wait for somebody else.
func (s *State) refuseToWait(w *workspace) error {
	uncovered := w.cover(interactive).uncovered()
	ahead := s.demand[interactive] // itself included
	if w.need[surplus] > 0 {
		ahead += s.demand[surplus]
	}
	if s.demand[batchWork] > 0 && s.batchHeld() == 0 {
		ahead++ // the one that comes by its arrival
	}
	room := max(0, s.coming()+s.counts[idle])
	switch {
	case w.Backoff.lasts(s.now):
		return w.Backoff.dialError(w)
	case s.server.lasts(s.now):
		return s.server.dialError(w)
	case uncovered == 0:
		return nil
	case uncovered > s.capOf(w)-w.open():
		return s.limitError(w, model.WorkspaceLimit)
	case ahead > room:
		return s.limitError(w, model.BudgetLimit)
	}
	return nil
}

// cancel answers a waiter that gave up, with what it was waiting for.
func (s *State) cancel(m Cancel) {
	wt := s.waiters[m.Lease]
	if wt == nil {
		return // answered already: the grant or the reject is on its way
	}
	s.refuse(wt, s.waitedFor(wt))
}

// waitedFor says what kept the waiter waiting. It walks the workspace's queue up
// to the waiter, but no further than to the cap.
func (s *State) waitedFor(wt *waiter) error {
	w := wt.workspace
	dialed := w.dialsFor(wt)
	served := cover{dialed.line, dialed.coming + s.capOf(w) - w.open()}
	if wt.Batch {
		served.coming += len(w.idle)
	}
	switch {
	case !wt.Exclusive && w.shut():
		return acquireError(w.ID, model.ErrPaused)
	case w.Backoff.Failures > 0 && (s.server.Failures == 0 || w.Backoff.Until >= s.server.Until):
		return w.Backoff.dialError(w)
	case s.server.Failures > 0: // since the workspace's own failure, if it had one
		return s.server.dialError(w)
	case wt.Exclusive && (wt != w.exclusive.head.item || w.open() > w.counts[dialing]):
		return acquireError(w.ID, model.ErrInUse)
	case dialed.has(wt):
		return acquireError(w.ID, model.ErrDialing)
	case wt.Batch && s.batchRoom() <= 0:
		return s.limitError(w, model.BatchLimit)
	case !served.has(wt):
		return s.limitError(w, model.WorkspaceLimit)
	case s.open() >= s.effective && s.counts[idle] == 0:
		return s.limitError(w, model.BudgetLimit)
	}
	return acquireError(w.ID, model.ErrDialing)
}

// acquireError says what was asked for.
func acquireError(id model.WorkspaceID, err error) error {
	return fmt.Errorf("acquire workspace %q: %w", id, err)
}

func (s *State) limitError(w *workspace, limit model.Limit) *model.ConnectionLimitError {
	return &model.ConnectionLimitError{
		MaxConnections:     s.limits.Budget,
		CurrentConnections: s.open(),
		EffectiveBudget:    s.effective,
		Lingering:          s.counts[closing] - s.onTheWay.size,
		WorkspaceID:        w.ID,
		Limit:              limit,
		MaxPerWorkspace:    s.capOf(w),
		CurrentWorkspace:   w.open(),
		MaxBatch:           s.limits.Batch(),
		CurrentBatch:       s.batchHeld(),
		Waiting:            s.waiting(),
		WaitingWorkspace:   w.waiting(),
	}
}
