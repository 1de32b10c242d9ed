package property_tests

import (
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func (r *reference) receive(m core.Message) {
	switch m := m.(type) {
	case core.Acquire:
		r.acquire(m)
	case core.Cancel:
		r.cancel(m)
	case core.Release:
		r.release(m)
	case core.Reclaim:
		r.reclaim()
	case core.DialSucceeded:
		r.dialSucceeded(m)
	case core.DialFailed:
		r.dialFailed(m)
	case core.Closed:
		if c := r.find(m.Conn, refClosing); c != nil {
			r.gone(c)
		} else {
			r.counters.StaleMessages++
		}
	case core.Evict:
		r.evict(m)
	case core.Renew:
		r.renew(m)
	case core.Pause:
		r.pause(m)
	case core.Resume:
		w := r.workspace(m.Workspace)
		w.paused = false
		w.failures = 0
		r.finishPauses(w)
	case core.SetLimits:
		r.setLimits(m)
	case core.SetWorkspaceLimits:
		r.workspace(m.Workspace).limits = m.Limits
		r.shrink(m.Workspace)
	case core.Drain:
		r.drain()
	case core.Tick:
	}
}

// acquire is rule 1.
func (r *reference) acquire(m core.Acquire) {
	r.counters.Acquires++
	waiter := refWaiter{
		lease: m.Lease, workspace: m.Workspace, arrived: r.now,
		noWait: m.NoWait && !m.Exclusive && !m.Batch, exclusive: m.Exclusive, batch: m.Batch && !m.Exclusive,
	}
	if r.draining {
		r.reject(waiter, model.ErrClosed)
		return
	}
	if !m.Exclusive {
		r.workspace(m.Workspace).limits = m.Limits
		r.shrink(m.Workspace)
	}
	if c := r.top(m.Workspace); c != nil && !m.Exclusive && (!waiter.batch || r.batchMayTakeIdle(waiter)) {
		r.counters.Hits++
		r.grant(c, waiter, r.verify(c))
		return
	}
	w := r.workspace(m.Workspace)
	r.waiters = append(r.waiters, waiter) // the counts of a refusal include it
	switch {
	case waiter.batch && r.queued(anyWorkspace, true) > r.limits.MaxWaiters,
		!waiter.batch && r.queued(anyWorkspace, false) > r.limits.MaxWaiters,
		!waiter.batch && r.queued(w.id, false) > r.maxWaiters(w.id):
		r.reject(waiter, r.limitError(w.id, model.QueueLimit))
	case r.shut(w.id) && waiter.noWait: // an exclusive one does not shut itself out
		r.reject(waiter, model.ErrPaused)
	case !w.paused && r.backingOff(w) && w.kind == model.Permanent:
		r.reject(waiter, r.dialError(w))
	case m.Exclusive:
		for _, c := range r.idleByUse(w.id) {
			r.close(c, model.PauseAsked)
		}
	case r.shut(w.id):
	case waiter.noWait:
		r.acquireNoWait(w, waiter)
	}
}

func (r *reference) acquireNoWait(w *refWorkspace, waiter refWaiter) {
	if r.backingOff(w) || r.serverBackingOff() {
		r.reject(waiter, r.dialError(w))
		return
	}
	uncovered := r.uncovered(w.id, false)
	if uncovered == 0 {
		return
	}
	if uncovered > r.capOf(w.id)-r.count(w.id, anyState) {
		r.reject(waiter, r.limitError(w.id, model.WorkspaceLimit))
		return
	}
	before := slices.IndexFunc(r.order(), func(next refNeedy) bool { return next.refWaiter == waiter })
	if before >= max(0, r.coming()+r.count(anyWorkspace, refIdle)) {
		r.reject(waiter, r.limitError(w.id, model.BudgetLimit))
	}
}

func (r *reference) cancel(m core.Cancel) {
	i := slices.IndexFunc(r.waiters, func(w refWaiter) bool { return w.lease == m.Lease })
	if i < 0 {
		return
	}
	waiter := r.waiters[i]
	w := r.workspace(waiter.workspace)
	dialing := r.count(w.id, refDialing)
	position := r.position(waiter)
	switch {
	case !waiter.exclusive && r.shut(w.id):
		r.reject(waiter, model.ErrPaused)
	case w.failures > 0 && (r.serverFailures == 0 || w.retryAt >= r.serverUntil):
		r.reject(waiter, r.ownDialError(w))
	case r.serverFailures > 0:
		r.reject(waiter, r.serverDialError(w))
	case waiter.exclusive && (position > 0 || r.count(w.id, anyState) > dialing):
		r.reject(waiter, model.ErrInUse)
	case r.dialed(waiter):
		r.reject(waiter, model.ErrDialing)
	case waiter.batch && r.batchRoom() <= 0:
		r.reject(waiter, r.limitError(w.id, model.BatchLimit))
	case position-r.cover(waiter) >= r.capOf(w.id)-r.count(w.id, anyState):
		r.reject(waiter, r.limitError(w.id, model.WorkspaceLimit))
	case r.open() >= r.effective && r.top(anyWorkspace) == nil:
		r.reject(waiter, r.limitError(w.id, model.BudgetLimit))
	default:
		r.reject(waiter, model.ErrDialing)
	}
}

func (r *reference) release(m core.Release) {
	c := r.find(m.Conn, refInUse)
	if c == nil || c.lease != m.Lease {
		r.counters.StaleMessages++
		return
	}
	c.lastUsed = r.now
	switch {
	case m.At == 0 || m.At > r.now:
	default:
		c.lastUsed = m.At
	}
	if m.Before > 0 {
		c.uses = append(c.uses, m.Before)
	}
	c.uses = append(c.uses, c.lastUsed)
	c.lent = true
	r.workspace(c.workspace).lastUse = max(r.workspace(c.workspace).lastUse, c.lastUsed)
	if m.Health == core.Lost {
		r.lost, r.lostAt = true, r.now
	}
	switch {
	case r.draining:
		r.close(c, model.DrainAsked)
	case m.Health != core.Clean, c.exclusive:
		r.close(c, model.NotReusable)
	default:
		r.free(c, &r.counters.HandOffs)
	}
}

// free is rule 2.
func (r *reference) free(c *refConn, grants *uint64) {
	c.state = refInUse // neither dialing any more nor idle yet
	exclusive := r.exclusives(c.workspace) > 0
	first := slices.IndexFunc(r.waiters, func(w refWaiter) bool {
		return w.workspace == c.workspace && w.exclusive == exclusive && !w.batch
	})
	if first < 0 && !exclusive {
		first = slices.IndexFunc(r.waiters, func(w refWaiter) bool { return w.workspace == c.workspace && w.batch })
		if first >= 0 && (!c.batch || !r.stays(c)) {
			batch := c.batch
			c.batch = false
			if !r.batchMayTake(r.waiters[first]) {
				first = -1
			}
			c.batch = batch
		}
	}
	alone := exclusive && grants == &r.counters.FreshGrants && r.count(c.workspace, anyState) == 1
	switch {
	case r.draining:
		r.close(c, model.DrainAsked)
	case r.shut(c.workspace) && !alone:
		r.close(c, model.PauseAsked)
	case c.stale:
		r.close(c, model.Renewed)
	case r.lifetimeEnd(c) <= r.now:
		r.close(c, model.LifetimeOver)
	case r.beyond(anyWorkspace) > 0 || r.beyond(c.workspace) > 0:
		r.close(c, model.Shrink)
	case first < 0:
		c.state = refIdle
		c.batch = false
		r.endIdle()
	case r.owed(c, r.waiters[first]):
		r.close(c, model.Yield)
	default:
		*grants++
		r.grant(c, r.waiters[first], false)
	}
}

// beyond is by how much the connections that are not leaving exceed the budget
// or, of one workspace, the cap.
func (r *reference) beyond(id model.WorkspaceID) int {
	staying := r.count(id, anyState) - r.count(id, refClosing)
	if id == anyWorkspace {
		return staying - r.limits.Budget
	}
	return staying - r.capOf(id)
}

// stays tells whether the slot has moved too lately to move again.
func (r *reference) stays(c *refConn) bool {
	open, took := r.now-c.created, c.created-c.dialed
	return open < 9*took && open < time.Second
}

// owed tells whether a slot that comes free belongs to waiters of other
// workspaces that are older than this one by more than Patience.
func (r *reference) owed(c *refConn, first refWaiter) bool {
	batch := c.batch
	c.batch = false
	defer func() { c.batch = batch }()
	rank := refFirst
	switch {
	case first.batch && r.batchHeld() > 0:
		rank = refBatch
	case !first.batch && r.count(c.workspace, anyState) > r.softCapOf(c.workspace):
		rank = refSurplus
	}
	before := 0
	for _, w := range r.order() {
		older := first.arrived-w.arrived > r.limits.Patience && !r.stays(c)
		if w.rank < rank || w.rank == rank && older {
			before++
		}
	}
	coming := max(0, r.coming())
	return before > coming && r.dialRoom() > coming
}

// verify tells whether an idle connection must be tested.
func (r *reference) verify(c *refConn) bool {
	return r.limits.VerifyAfter > 0 && r.now-c.lastUsed >= r.limits.VerifyAfter || r.lost && c.lastUsed <= r.lostAt
}

func (r *reference) grant(c *refConn, w refWaiter, verify bool) {
	r.leave(w)
	c.state = refInUse
	c.lease = w.lease
	c.exclusive = w.exclusive
	c.batch = w.batch
	c.cold = c.cold && w.batch
	r.emit(core.Grant{Lease: w.lease, Conn: c.id, Workspace: c.workspace, Waited: r.now - w.arrived, Verify: verify})
}

func (r *reference) reject(w refWaiter, err error) {
	r.leave(w)
	r.counters.Rejects++
	if _, ok := err.(*model.ConnectionLimitError); ok {
		r.counters.LimitErrors++
	}
	r.emit(core.Reject{Lease: w.lease, Err: err})
}

func (r *reference) leave(w refWaiter) {
	r.waiters = slices.DeleteFunc(r.waiters, func(other refWaiter) bool { return other == w })
}

func (r *reference) limitError(id model.WorkspaceID, limit model.Limit) error {
	return &model.ConnectionLimitError{
		MaxConnections:     r.limits.Budget,
		CurrentConnections: r.open(),
		EffectiveBudget:    r.effective,
		Lingering:          r.count(anyWorkspace, refClosing) - r.onTheWay(),
		WorkspaceID:        id,
		Limit:              limit,
		MaxPerWorkspace:    r.capOf(id),
		MaxBatch:           r.batchShare(r.limits.Budget),
		CurrentBatch:       r.batchHeld(),
		CurrentWorkspace:   r.count(id, anyState),
		Waiting:            r.waiting(anyWorkspace),
		WaitingWorkspace:   r.waiting(id),
	}
}

// dialError is about the workspace while it backs off, else about the server.
func (r *reference) dialError(w *refWorkspace) error {
	if r.backingOff(w) {
		return r.ownDialError(w)
	}
	return r.serverDialError(w)
}

func (r *reference) serverDialError(w *refWorkspace) error {
	return &model.DialError{WorkspaceID: w.id, Kind: model.ServerDown, Attempts: r.serverFailures, Err: r.serverErr}
}

func (r *reference) ownDialError(w *refWorkspace) error {
	return &model.DialError{WorkspaceID: w.id, Kind: w.kind, Attempts: w.failures, Err: w.err}
}

func (r *reference) dialSucceeded(m core.DialSucceeded) {
	c := r.find(m.Conn, refDialing)
	if c == nil {
		r.counters.StaleMessages++
		return
	}
	r.learnPace(r.now-c.dialed, r.count(anyWorkspace, refDialing))
	c.created, c.lastUsed = r.now, r.now
	r.workspace(c.workspace).failures = 0
	r.serverFailures = 0
	r.free(c, &r.counters.FreshGrants)
}

func (r *reference) dialFailed(m core.DialFailed) {
	c := r.find(m.Conn, refDialing)
	if c == nil {
		r.counters.StaleMessages++
		return
	}
	r.counters.DialFailures++
	w := r.workspace(c.workspace)
	if c.stale && m.Kind == model.Permanent {
		m.Kind = model.Transient
	}
	switch m.Kind {
	case model.Transient:
		r.backOff(w, m)
	case model.Permanent:
		r.serverFailures = 0
		r.backOff(w, m)
	case model.ServerDown:
		r.lost, r.lostAt = true, r.now
		if !r.serverBackingOff() {
			r.serverFailures++
			r.serverUntil = r.now + core.Backoff(r.limits, uint64(m.Conn), r.serverFailures)
			r.serverErr = m.Err
		}
	case model.ServerFull:
		r.serverFailures = 0
		r.counters.ServerRefusals++
		r.effective = min(r.effective, r.open()-1)
		r.step = 1
		r.nextProbe = r.now + r.limits.ProbeAfter
	}
	if m.SlotHeld {
		r.close(c, model.DialLeftover)
	} else {
		r.gone(c)
	}
	attempts := map[model.FailureKind]int{
		model.Transient: w.failures, model.Permanent: w.failures,
		model.ServerDown: r.serverFailures, model.ServerFull: 1,
	}
	var refused []refWaiter
	for _, waiter := range r.waiters {
		if waiter.workspace == w.id && waiter.exclusive && m.Kind == model.Permanent {
			refused = append(refused, waiter)
		}
	}
	for _, waiter := range r.waiters {
		switch {
		case waiter.workspace != w.id, waiter.exclusive, waiter.batch:
		case m.Kind == model.Permanent && !w.paused, waiter.noWait && !r.dialed(waiter):
			refused = append(refused, waiter)
		}
	}
	for _, waiter := range r.waiters {
		if waiter.workspace == w.id && waiter.batch && m.Kind == model.Permanent && !w.paused {
			refused = append(refused, waiter)
		}
	}
	for _, waiter := range refused {
		r.reject(waiter, &model.DialError{WorkspaceID: w.id, Kind: m.Kind, Attempts: attempts[m.Kind], Err: m.Err})
	}
}

func (r *reference) backOff(w *refWorkspace, m core.DialFailed) {
	w.failures++
	w.kind, w.err = m.Kind, m.Err
	w.retryAt = r.now + core.Backoff(r.limits, uint64(m.Conn), w.failures)
}

func (r *reference) evict(m core.Evict) {
	r.closeAll(m.Operation, r.idleByUse(m.Workspace), model.EvictAsked)
}

// closeAll closes idle connections for an operation.
func (r *reference) closeAll(id core.OperationID, idle []*refConn, reason model.CloseReason) {
	op := &refOperation{id: id, closed: len(idle)}
	for _, c := range idle {
		c.closedBy = op
		r.close(c, reason)
	}
	if len(idle) == 0 {
		r.emit(core.OperationDone{Operation: op.id})
	}
}

// renew is rule 7.
func (r *reference) renew(m core.Renew) {
	ids := []model.WorkspaceID{m.Workspace}
	if m.All {
		ids = r.ids()
	}
	var idle []*refConn
	for _, id := range ids {
		r.workspace(id).failures = 0
		for _, c := range r.connections {
			c.stale = c.stale || c.workspace == id
		}
		idle = append(idle, r.idleByUse(id)...)
	}
	r.closeAll(m.Operation, idle, model.Renewed)
}

func (r *reference) pause(m core.Pause) {
	w := r.workspace(m.Workspace)
	w.paused = true
	w.pauses = append(w.pauses, &refOperation{id: m.Operation, closed: r.count(w.id, anyState)})
	for _, c := range r.connections {
		c.stale = c.stale || c.workspace == w.id
	}
	for _, c := range r.idleByUse(w.id) {
		r.close(c, model.PauseAsked)
	}
	if r.count(w.id, anyState) == 0 {
		r.finishPauses(w)
	}
}

func (r *reference) setLimits(m core.SetLimits) {
	if r.effective == r.limits.Budget {
		r.effective = m.Budget
	} else {
		r.effective = min(r.effective, m.Budget)
	}
	r.limits.Budget, r.limits.PerWorkspace = m.Budget, m.PerWorkspace
	for _, id := range r.ids() {
		r.shrink(id)
	}
}

func (r *reference) shrink(id model.WorkspaceID) {
	for r.beyond(id) > 0 && len(r.idleByUse(id)) > 0 {
		r.close(r.idleByUse(id)[0], model.Shrink)
	}
}

func (r *reference) drain() {
	if r.draining {
		return
	}
	r.draining = true
	for _, batch := range []bool{false, true} {
		for _, w := range slices.Clone(r.waiters) {
			if w.batch == batch {
				r.reject(w, model.ErrClosed)
			}
		}
	}
	for _, c := range r.inOrderOfEviction() {
		r.close(c, model.DrainAsked)
	}
}
