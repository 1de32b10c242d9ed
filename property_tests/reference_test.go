package property_tests

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// reference is a second implementation of the rules in model/core/doc.go, written
// from the text and without looking at the first. It is dumb on purpose: a flat
// slice of connections, a flat slice of waiters, and every count is a scan over
// them at the moment it is needed.
type reference struct {
	limits      model.Limits
	now         time.Duration
	connections []*refConn  // by ascending ID
	waiters     []refWaiter // by arrival
	workspaces  []*refWorkspace
	last        core.ConnID // given out last
	wake        time.Duration
	effects     []core.Effect
	counters    model.Counters

	effective int
	step      int
	nextProbe time.Duration

	serverFailures int
	serverUntil    time.Duration
	serverErr      error

	pace   int             // how many dials may be under way
	votes  int             // for a higher pace, less those for a lower one
	epochs []time.Duration // when each began
	dials  []refDial

	lost   bool // a Release said so, the last time at lostAt
	lostAt time.Duration

	draining, drained bool
}

type refState int

const (
	refDialing refState = iota
	refIdle
	refInUse
	refClosing
)

type refConn struct {
	id        core.ConnID
	workspace model.WorkspaceID
	state     refState
	dialed    time.Duration // when the dial began
	created   time.Duration
	lastUsed  time.Duration   // when it was given back
	uses      []time.Duration // when each of its uses ended, and first the one that it goes on from
	lent      bool            // it was, to the end
	lease     core.LeaseID    // in use
	exclusive bool            // the lease is, or was
	batch     bool            // dialing for batch work, lent to it, or closing after it
	cold      bool            // dialed for batch work, and not used by anybody else
	closedAt  time.Duration
	stale     bool          // there was a Renew or Pause since its Dial
	closedBy  *refOperation // the Evict or Renew
}

type refWaiter struct {
	lease     core.LeaseID
	workspace model.WorkspaceID
	arrived   time.Duration
	noWait    bool
	exclusive bool
	batch     bool
}

type refOperation struct {
	id     core.OperationID
	closed int
}

type refWorkspace struct {
	id       model.WorkspaceID
	failures int
	kind     model.FailureKind
	err      error
	retryAt  time.Duration
	paused   bool
	pauses   []*refOperation
	limits   model.WorkspaceLimits
	lastUse  time.Duration // when one of its leases ended last
}

func newReference(limits model.Limits) *reference {
	r := &reference{limits: limits, effective: limits.Budget, wake: core.Never, pace: limits.MaxDialing}
	if limits.AdaptDialing {
		r.pace = min(4, limits.MaxDialing)
	}
	return r
}

func (r *reference) Check() error { return nil }

func (r *reference) Step(now time.Duration, m core.Message) []core.Effect {
	r.effects = nil
	r.now = max(r.now, now)
	r.probe()
	r.endIdle()
	r.receive(m)
	if !r.draining {
		r.startDials()
	}
	if r.draining && !r.drained && len(r.connections) == 0 {
		r.drained = true
		r.emit(core.Drained{})
	}
	if at := r.nextWake(); at != r.wake {
		r.wake = at
		r.emit(core.WakeAt{At: at})
	}
	return r.effects
}

func (r *reference) emit(e core.Effect) { r.effects = append(r.effects, e) }

// probe raises a lowered effective budget (rule 5).
func (r *reference) probe() {
	if r.effective < r.limits.Budget && r.now >= r.nextProbe {
		r.effective = min(r.limits.Budget, r.effective+r.step)
		r.step *= 2
		r.nextProbe = r.now + r.limits.ProbeAfter
	}
}

// endIdle closes the idle connections whose time is over (rule 6).
func (r *reference) endIdle() {
	var over []*refConn
	for _, c := range r.connections {
		if c.state == refIdle && r.end(c) <= r.now {
			over = append(over, c)
		}
	}
	slices.SortFunc(over, func(a, b *refConn) int {
		return cmp.Or(cmp.Compare(r.end(a), r.end(b)), cmp.Compare(a.id, b.id))
	})
	for _, c := range over {
		if r.lifetimeEnd(c) <= r.idleEnd(c) {
			r.close(c, model.LifetimeOver)
		} else {
			r.close(c, model.IdleTimeOver)
		}
	}
}

func (r *reference) end(c *refConn) time.Duration { return min(r.lifetimeEnd(c), r.idleEnd(c)) }

func (r *reference) lifetimeEnd(c *refConn) time.Duration {
	if r.limits.MaxLifetime <= 0 {
		return core.Never
	}
	return c.created + core.Lifetime(r.limits, c.id)
}

func (r *reference) idleEnd(c *refConn) time.Duration {
	if r.limits.MaxIdleTime <= 0 {
		return core.Never
	}
	return c.lastUsed + r.limits.MaxIdleTime
}

// startDials is rule 3.
func (r *reference) startDials() {
	r.lendToBatch()
	for r.demand() > 0 && r.dialRoom() > 0 && r.effective > r.open() {
		first := r.order()[0]
		r.last++
		c := &refConn{id: r.last, workspace: first.workspace, dialed: r.now, batch: first.batch, cold: first.batch}
		if w := r.workspace(c.workspace); w.lastUse > 0 && r.count(w.id, anyState) == r.count(w.id, refClosing) {
			c.uses = append(c.uses, w.lastUse)
		}
		r.connections = append(r.connections, c)
		r.counters.Dials++
		r.emit(core.Dial{Conn: c.id, Workspace: c.workspace, Batch: c.batch})
		r.lendToBatch()
	}
}

// Short tells whether the free slots and those on their way are too few.
func (r *reference) Short() bool {
	return r.draining || r.open()-r.count(anyWorkspace, refClosing) > r.effective || r.wanted() > max(0, r.coming())
}

func (r *reference) Reclaimable() bool {
	return !r.draining && r.Short() && r.oldest() != nil
}

// reclaim is rule 4.
func (r *reference) reclaim() {
	if r.draining {
		return
	}
	for r.open()-r.count(anyWorkspace, refClosing) > r.effective && r.oldest() != nil {
		r.close(r.oldest(), model.Shrink)
	}
	for r.wanted() > 0 && r.wanted() > r.coming() && r.oldest() != nil {
		r.close(r.oldest(), model.MakeRoom)
	}
}

// wanted is how many dials would start if there were slots.
func (r *reference) wanted() int { return min(r.demand(), r.dialRoom()) }

// nextWake is when time alone will change something.
func (r *reference) nextWake() time.Duration {
	at := core.Never
	if r.draining {
		return at
	}
	consider := func(t time.Duration) {
		if t > r.now {
			at = min(at, t)
		}
	}
	for _, c := range r.connections {
		if c.state == refIdle {
			consider(r.end(c))
		}
		if c.state == refClosing && r.demand() > 0 {
			consider(c.closedAt + r.limits.CloseGrace)
		}
	}
	for _, w := range r.workspaces {
		if r.backingOff(w) && (r.exclusives(w.id) > 0 || !r.shut(w.id) && r.waiting(w.id) > 0) {
			consider(w.retryAt)
		}
	}
	if r.serverFailures > 0 && r.demand() > 0 {
		consider(r.serverUntil)
	}
	if r.effective < r.limits.Budget {
		consider(r.nextProbe)
	}
	return at
}

// close tells a connection to go. It keeps its slot until it is gone.
func (r *reference) close(c *refConn, reason model.CloseReason) {
	effect := core.Close{Conn: c.id, Workspace: c.workspace, Reason: reason}
	if c.state == refIdle {
		effect.IdleFor = r.now - c.lastUsed
	}
	if reason == model.MakeRoom || reason == model.Yield {
		effect.For = r.nextWithoutSlot(c)
	}
	c.state = refClosing
	c.closedAt = r.now
	r.counters.Closes[reason]++
	r.emit(effect)
}

// nextWithoutSlot is the workspace of the first needy waiter beyond those that the
// free and coming slots are for. The connection's slot is nobody's.
func (r *reference) nextWithoutSlot(c *refConn) model.WorkspaceID {
	batch := c.batch
	c.batch = false
	defer func() { c.batch = batch }()
	return r.order()[max(0, r.coming())].workspace
}

// gone frees a connection's slot, and ends the operations that waited for it.
func (r *reference) gone(c *refConn) {
	r.connections = slices.DeleteFunc(r.connections, func(other *refConn) bool { return other == c })
	if op := c.closedBy; op != nil {
		last := !slices.ContainsFunc(r.connections, func(other *refConn) bool { return other.closedBy == op })
		if last {
			r.emit(core.OperationDone{Operation: op.id, Closed: op.closed})
		}
	}
	if r.count(c.workspace, anyState) == 0 {
		r.finishPauses(r.workspace(c.workspace))
	}
}

func (r *reference) finishPauses(w *refWorkspace) {
	for _, op := range w.pauses {
		r.emit(core.OperationDone{Operation: op.id, Closed: op.closed})
	}
	w.pauses = nil
}

// refDial is a dial that succeeded.
type refDial struct {
	took  time.Duration
	epoch int // in which it ended
}

// learnPace is what the comment of core's pace says of TCP Vegas: of n dials that take
// t each, where one alone takes t0, n * (1 - t0/t) only queue. t0 is the shortest dial
// of this epoch of five minutes and of the one before.
func (r *reference) learnPace(took time.Duration, n int) {
	if !r.limits.AdaptDialing || took <= 0 {
		return
	}
	if len(r.epochs) == 0 || r.now >= r.epochs[len(r.epochs)-1]+5*time.Minute {
		r.epochs = append(r.epochs, r.now)
	}
	epoch := len(r.epochs)
	r.dials = append(r.dials, refDial{took, epoch})
	t0 := took
	for _, d := range r.dials {
		if d.epoch >= epoch-1 {
			t0 = min(t0, d.took)
		}
	}
	queue := int(time.Duration(n) * (took - t0) / took)
	if queue < max(1, n/4) && n >= r.pace {
		r.votes++
	} else if queue > max(3, n/2) {
		r.votes--
	}
	if r.votes >= r.pace {
		r.pace, r.votes = min(r.pace+1, r.limits.MaxDialing), 0
	} else if -r.votes >= r.pace {
		r.pace, r.votes = max(r.pace-1, min(2, r.limits.MaxDialing)), 0
	}
}
