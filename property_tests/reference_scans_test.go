package property_tests

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// What the rules count, each by a scan.

const (
	anyWorkspace = model.WorkspaceID("")
	anyState     = refState(-1)
)

// count is how many connections of the workspace are in the state.
func (r *reference) count(id model.WorkspaceID, state refState) int {
	n := 0
	for _, c := range r.connections {
		if (id == anyWorkspace || c.workspace == id) && (state == anyState || c.state == state) {
			n++
		}
	}
	return n
}

func (r *reference) open() int { return r.count(anyWorkspace, anyState) }

func (r *reference) onTheWay() int {
	n := 0
	for _, c := range r.connections {
		if c.state == refClosing && c.closedAt+r.limits.CloseGrace > r.now {
			n++
		}
	}
	return n
}

func (r *reference) coming() int { return r.effective - r.open() + r.onTheWay() }

// waiting is how many wait, for one workspace or for any.
func (r *reference) waiting(id model.WorkspaceID) int {
	n := 0
	for _, w := range r.waiters {
		if id == anyWorkspace || w.workspace == id {
			n++
		}
	}
	return n
}

// exclusives is how many wait to be alone with the workspace.
func (r *reference) exclusives(id model.WorkspaceID) int {
	n := 0
	for _, w := range r.waiters {
		if w.workspace == id && w.exclusive {
			n++
		}
	}
	return n
}

// shut tells whether the workspace is paused, or somebody is alone with it or waits
// for that.
func (r *reference) shut(id model.WorkspaceID) bool {
	for _, c := range r.connections {
		if c.workspace == id && c.state == refInUse && c.exclusive {
			return true
		}
	}
	return r.workspace(id).paused || r.exclusives(id) > 0
}

// position is how many waiters of the same workspace and kind arrived before this
// one.
func (r *reference) position(w refWaiter) int {
	n := 0
	for _, other := range r.waiters {
		if other == w {
			break
		}
		if other.workspace == w.workspace && other.exclusive == w.exclusive && other.batch == w.batch {
			n++
		}
	}
	return n
}

func (r *reference) workspace(id model.WorkspaceID) *refWorkspace {
	for _, w := range r.workspaces {
		if w.id == id {
			return w
		}
	}
	w := &refWorkspace{id: id}
	r.workspaces = append(r.workspaces, w)
	return w
}

// ids lists the workspaces in the order of their ids.
func (r *reference) ids() []model.WorkspaceID {
	ids := make([]model.WorkspaceID, 0, len(r.workspaces))
	for _, w := range r.workspaces {
		ids = append(ids, w.id)
	}
	slices.SortFunc(ids, func(a, b model.WorkspaceID) int { return strings.Compare(string(a), string(b)) })
	return ids
}

func (r *reference) backingOff(w *refWorkspace) bool { return w.failures > 0 && r.now < w.retryAt }

// capOf and maxWaiters are the workspace's own limits, or what all have.
func (r *reference) capOf(id model.WorkspaceID) int {
	if own := r.workspace(id).limits.Cap; own > 0 {
		return int(own)
	}
	return r.limits.PerWorkspace
}

// softCapOf is how many of its connections the workspace need not share.
func (r *reference) softCapOf(id model.WorkspaceID) int {
	soft := r.limits.SoftPerWorkspace
	if own := r.workspace(id).limits.SoftCap; own > 0 {
		soft = int(own)
	}
	if soft <= 0 {
		return r.capOf(id)
	}
	return min(soft, r.capOf(id))
}

func (r *reference) maxWaiters(id model.WorkspaceID) int {
	if own := r.workspace(id).limits.MaxWaiters; own > 0 {
		return int(own)
	}
	return r.limits.MaxWaitersPerWorkspace
}

func (r *reference) need(id model.WorkspaceID, batch bool) int {
	if r.backingOff(r.workspace(id)) {
		return 0
	}
	if r.exclusives(id) > 0 && r.count(id, anyState) == 0 {
		return 1
	}
	if r.shut(id) {
		return 0
	}
	belowCap := r.capOf(id) - r.count(id, anyState)
	if batch {
		belowCap -= r.need(id, false)
	}
	return max(0, min(r.uncovered(id, batch), belowCap))
}

// dialsFor is how many dials under way are meant for waiters of this one's kind: the
// workspace's dials are meant for its first waiters, batch ones after all others.
func (r *reference) dialsFor(w refWaiter) int {
	n := r.count(w.workspace, refDialing)
	if w.batch {
		n = max(0, n-r.queued(w.workspace, false)+r.exclusives(w.workspace))
	}
	return n
}

// dialed tells whether a dial under way is meant for the waiter.
func (r *reference) dialed(w refWaiter) bool { return r.position(w) < r.dialsFor(w) }

// cover is how many connections are meant for waiters of this one's kind: for batch
// work the idle ones, too.
func (r *reference) cover(w refWaiter) int {
	if w.batch {
		return r.dialsFor(w) + r.count(w.workspace, refIdle)
	}
	return r.dialsFor(w)
}

// uncovered is how many of the workspace's waiters nothing is meant for.
func (r *reference) uncovered(id model.WorkspaceID, batch bool) int {
	n := 0
	for _, w := range r.waiters {
		if w.workspace == id && w.batch == batch && r.position(w) >= r.cover(w) {
			n++
		}
	}
	return n
}

// needy tells whether the waiter is one of the first `need` uncovered ones.
func (r *reference) needy(w refWaiter) bool {
	if w.exclusive != (r.exclusives(w.workspace) > 0) {
		return false
	}
	before := r.position(w) - r.cover(w) // uncovered ones
	return before >= 0 && before < r.need(w.workspace, w.batch)
}

// surplus tells whether the waiter, a needy one, is beyond the workspace's soft cap
// (rule 10).
func (r *reference) surplus(w refWaiter) bool {
	within := max(0, r.softCapOf(w.workspace)-r.count(w.workspace, anyState))
	return !w.batch && !w.exclusive && r.position(w)-r.cover(w) >= within
}

// refNeedy is a needy waiter that could be dialed for, given a slot.
type refNeedy struct {
	refWaiter
	rank refRank
}

// refRank orders the needy waiters, before their arrival does.
type refRank int

const (
	refFirst   refRank = iota // interactive, or the batch one that comes by its arrival
	refSurplus                // beyond a soft cap
	refBatch
)

// order lists the needy waiters in the order in which they get slots (rules 9 and 10).
func (r *reference) order() []refNeedy {
	var order, surplus, batch []refNeedy
	room := r.batchDialRoom()
	first := r.batchHeld() == 0
	for _, w := range r.waiters {
		switch {
		case !r.needy(w):
		case r.surplus(w):
			surplus = append(surplus, refNeedy{w, refSurplus})
		case !w.batch:
			order = append(order, refNeedy{w, refFirst})
		case room <= 0:
		case first:
			order = append(order, refNeedy{w, refFirst})
			first = false
			room--
		default:
			batch = append(batch, refNeedy{w, refBatch})
			room--
		}
	}
	return slices.Concat(order, surplus, batch)
}

func (r *reference) demand() int { return len(r.order()) }

// queued is how many wait for one workspace or for any, batch work or the others.
func (r *reference) queued(id model.WorkspaceID, batch bool) int {
	n := 0
	for _, w := range r.waiters {
		if w.batch == batch && (id == anyWorkspace || w.workspace == id) {
			n++
		}
	}
	return n
}

// batchShare is batch work's part of n.
func (r *reference) batchShare(n int) int {
	return max(1, int(r.limits.BatchShare*float64(n)+1e-9))
}

// batchHeld is how many slots are batch work's.
func (r *reference) batchHeld() int {
	n := 0
	for _, c := range r.connections {
		if c.batch {
			n++
		}
	}
	return n
}

func (r *reference) batchRoom() int { return r.batchShare(r.limits.Budget) - r.batchHeld() }

// batchDialRoom is how many dials may start for batch work.
func (r *reference) batchDialRoom() int {
	dialing := 0
	for _, c := range r.connections {
		if c.batch && c.state == refDialing {
			dialing++
		}
	}
	return min(r.batchRoom(), r.batchShare(r.pace)-dialing)
}

// batchMayTake tells whether the share has room for the waiter, and for the needy ones of
// batch work unless none of these is older by more than Patience.
func (r *reference) batchMayTake(w refWaiter) bool {
	needy, older := 0, 0
	for _, other := range r.waiters {
		if other.batch && other != w && r.needy(other) {
			needy++
			if w.arrived-other.arrived > r.limits.Patience {
				older++
			}
		}
	}
	room := r.batchRoom()
	return room > needy || room > 0 && older == 0
}

// batchMayTakeIdle: no interactive waiter wants a slot that is neither free nor coming.
func (r *reference) batchMayTakeIdle(w refWaiter) bool {
	interactive := 0
	for _, other := range r.waiters {
		if !other.batch && r.needy(other) {
			interactive++
		}
	}
	return min(interactive, r.dialRoom()) <= max(0, r.coming()) && r.batchMayTake(w)
}

// lendToBatch lends idle connections to batch waiters in the order of their arrival.
func (r *reference) lendToBatch() {
	for {
		next := slices.IndexFunc(r.waiters, func(w refWaiter) bool {
			return w.batch && !r.shut(w.workspace) && r.top(w.workspace) != nil
		})
		if next < 0 || !r.batchMayTakeIdle(r.waiters[next]) {
			return
		}
		c := r.top(r.waiters[next].workspace)
		r.counters.HandOffs++
		r.grant(c, r.waiters[next], r.verify(c))
	}
}

func (r *reference) serverBackingOff() bool { return r.serverFailures > 0 && r.now < r.serverUntil }

func (r *reference) dialRoom() int {
	dialing := r.count(anyWorkspace, refDialing)
	switch {
	case r.serverBackingOff():
		return 0
	case r.serverFailures > 0:
		return max(0, 1-dialing)
	}
	return max(0, r.pace-dialing)
}

// idleByUse lists the idle connections, the least recently used first.
func (r *reference) idleByUse(id model.WorkspaceID) []*refConn {
	var idle []*refConn
	for _, c := range r.connections {
		if c.state == refIdle && (id == anyWorkspace || c.workspace == id) {
			idle = append(idle, c)
		}
	}
	slices.SortFunc(idle, func(a, b *refConn) int {
		if a.cold != b.cold { // what batch work has used only goes first
			return map[bool]int{true: -1, false: 1}[a.cold]
		}
		return cmp.Or(cmp.Compare(a.lastUsed, b.lastUsed), cmp.Compare(a.id, b.id))
	})
	return idle
}

// top is the most recently used idle connection of the workspace, or nil.
func (r *reference) top(id model.WorkspaceID) *refConn {
	idle := r.idleByUse(id)
	if len(idle) == 0 {
		return nil
	}
	return idle[len(idle)-1]
}

// lastButOne is when the connection's last use but one ended. 0 is none: the time begins
// after it.
func (c *refConn) lastButOne() time.Duration {
	uses := c.uses
	if c.lent {
		uses = uses[:len(uses)-1]
	}
	if len(uses) == 0 {
		return 0
	}
	return uses[len(uses)-1]
}

// inOrderOfEviction lists all idle connections, the first to go first.
func (r *reference) inOrderOfEviction() []*refConn {
	idle := r.idleByUse(anyWorkspace)
	if r.limits.Eviction == model.LRU2 {
		slices.SortStableFunc(idle, func(a, b *refConn) int { return cmp.Compare(a.lastButOne(), b.lastButOne()) })
		slices.SortStableFunc(idle, func(a, b *refConn) int {
			return map[bool]int{true: -1, false: 1}[a.cold] - map[bool]int{true: -1, false: 1}[b.cold]
		})
	}
	return idle
}

// oldest is the idle connection that is evicted first, or nil.
func (r *reference) oldest() *refConn {
	idle := r.inOrderOfEviction()
	if len(idle) == 0 {
		return nil
	}
	return idle[0]
}

func (r *reference) find(id core.ConnID, state refState) *refConn {
	for _, c := range r.connections {
		if c.id == id && c.state == state {
			return c
		}
	}
	return nil
}

func (r *reference) counts(id model.WorkspaceID) model.Counts {
	return model.Counts{
		Dialing: r.count(id, refDialing),
		Idle:    r.count(id, refIdle),
		InUse:   r.count(id, refInUse),
		Closing: r.count(id, refClosing),
		Waiting: r.waiting(id),
	}
}

func (r *reference) batchCounts() model.Counts {
	counts := model.Counts{Waiting: r.queued(anyWorkspace, true)}
	for _, c := range r.connections {
		switch {
		case !c.batch:
		case c.state == refDialing:
			counts.Dialing++
		case c.state == refInUse:
			counts.InUse++
		case c.state == refClosing:
			counts.Closing++
		}
	}
	return counts
}

// Stats fills in what the rules fix.
func (r *reference) Stats(now time.Duration) model.BudgetStats {
	r.now = max(r.now, now)
	stats := model.BudgetStats{
		Budget:          r.limits.Budget,
		EffectiveBudget: r.effective,
		PerWorkspace:    r.limits.PerWorkspace,
		Counts:          r.counts(anyWorkspace),
		BatchBudget:     r.batchShare(r.limits.Budget),
		Batch:           r.batchCounts(),
		Counters:        r.counters,
		Draining:        r.draining,
	}
	if first := slices.IndexFunc(r.waiters, func(w refWaiter) bool { return !w.batch }); first >= 0 {
		stats.LongestWait = r.now - r.waiters[first].arrived
	}
	if r.serverFailures > 0 {
		stats.ServerDown = r.serverErr
	}
	for _, w := range r.workspaces {
		counts := r.counts(w.id)
		if counts.Open() > 0 || counts.Waiting > 0 || w.paused {
			stats.Active = append(stats.Active, model.WorkspaceStats{
				ID: w.id, Counts: counts, Cap: r.capOf(w.id), SoftCap: r.softCapOf(w.id), Paused: r.shut(w.id),
			})
		}
	}
	slices.SortFunc(stats.Active, func(a, b model.WorkspaceStats) int {
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return stats
}
