package property_tests

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// ledger is what somebody knows who sees the messages and the effects pass by:
// which connection is where, and who waits. It decides nothing.
type ledger struct {
	limits  model.Limits
	now     time.Duration
	wake    time.Duration
	conns   []*ledgerConn // by ascending ID
	waiters []ledgerWaiter
	answers map[core.LeaseID]int // of every Acquire that arrived
	// ended holds releases that were valid once.
	ended    []core.Release
	draining bool
	drained  int
	started  []core.OperationID
	done     map[core.OperationID]int
	paused   []model.WorkspaceID
	used     map[model.WorkspaceID]time.Duration // when a lease of it last ended
	faults   []string                            // effects that cannot be, whatever the rules decide
}

type ledgerState int

const (
	dialing ledgerState = iota
	idle
	inUse
	closing
)

type ledgerConn struct {
	id        core.ConnID
	workspace model.WorkspaceID
	state     ledgerState
	dialed    time.Duration // when its dial began
	created   time.Duration // when its dial succeeded
	lastUsed  time.Duration // when it came free the last time
	before    time.Duration // when its last use but one ended, or 0
	used      bool          // a lease of it has ended
	lease     core.LeaseID
	leased    time.Duration // when its last holder got it
	closedAt  time.Duration
	stale     bool // there was a Renew since its dial began
	batch     bool // dialing for batch work, lent to it, or closing after it
	cold      bool // only batch work has used it
}

type ledgerWaiter struct {
	lease     core.LeaseID
	workspace model.WorkspaceID
	arrived   time.Duration
	batch     bool
}

func newLedger(limits model.Limits) *ledger {
	return &ledger{
		limits:  limits,
		wake:    core.Never,
		answers: map[core.LeaseID]int{},
		done:    map[core.OperationID]int{},
		used:    map[model.WorkspaceID]time.Duration{},
	}
}

func (l *ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// message notes a message before its effects. A connection that comes free is
// idle from then on, until an effect says otherwise.
func (l *ledger) message(now time.Duration, m core.Message) {
	l.now = max(l.now, now)
	for _, c := range l.in(idle) {
		c.batch = false
	}
	switch m := m.(type) {
	case core.Acquire:
		l.answers[m.Lease] = 0
		l.waiters = append(l.waiters, ledgerWaiter{m.Lease, m.Workspace, l.now, m.Batch && !m.Exclusive})
	case core.Release:
		if c := l.find(m.Conn, inUse); c != nil && c.lease == m.Lease {
			at := l.now
			if m.At != 0 {
				at = min(l.now, m.At)
			}
			if m.Before != 0 {
				c.before = m.Before
			} else if c.used {
				c.before = c.lastUsed
			}
			c.state, c.lastUsed, c.used, c.lease = idle, at, true, 0
			l.used[c.workspace] = max(l.used[c.workspace], at)
			l.ended = append(l.ended, m)
		}
	case core.DialSucceeded:
		if c := l.find(m.Conn, dialing); c != nil {
			c.state, c.created, c.lastUsed = idle, l.now, l.now
		}
	case core.DialFailed:
		if c := l.find(m.Conn, dialing); c != nil && !m.SlotHeld {
			l.remove(c)
		}
	case core.Closed:
		if c := l.find(m.Conn, closing); c != nil {
			l.remove(c)
		}
	case core.Evict:
		l.started = append(l.started, m.Operation)
	case core.Renew:
		l.started = append(l.started, m.Operation)
		for _, c := range l.conns {
			c.stale = c.stale || m.All || c.workspace == m.Workspace
		}
	case core.Pause:
		l.started = append(l.started, m.Operation)
		if !slices.Contains(l.paused, m.Workspace) {
			l.paused = append(l.paused, m.Workspace)
		}
	case core.Resume:
		l.paused = slices.DeleteFunc(l.paused, func(id model.WorkspaceID) bool { return id == m.Workspace })
	case core.SetLimits:
		l.limits.Budget, l.limits.PerWorkspace = m.Budget, m.PerWorkspace
	case core.Drain:
		l.draining = true
	}
}

// effect notes an effect, in order.
func (l *ledger) effect(e core.Effect) {
	switch e := e.(type) {
	case core.Grant:
		batch := l.waiter(e.Lease).batch
		l.answer(e.Lease)
		c := l.find(e.Conn, idle)
		if c == nil {
			l.fault("conn %d was granted but not free", e.Conn)
			return
		}
		c.state, c.lease, c.leased = inUse, e.Lease, l.now
		c.batch, c.cold = batch, c.cold && batch
	case core.Reject:
		l.answer(e.Lease)
	case core.Dial:
		if n := len(l.conns); n > 0 && l.conns[n-1].id >= e.Conn {
			l.fault("conn %d was dialed after conn %d", e.Conn, l.conns[n-1].id)
		}
		c := &ledgerConn{id: e.Conn, workspace: e.Workspace, dialed: l.now, batch: e.Batch, cold: e.Batch}
		if l.held(e.Workspace) == l.heldIn(e.Workspace, closing) {
			c.before = l.used[e.Workspace]
		}
		l.conns = append(l.conns, c)
	case core.Close:
		c := l.known(e.Conn)
		if c == nil || c.state == closing || c.state == inUse || c.workspace != e.Workspace {
			l.fault("conn %d of %s was closed, but was %v", e.Conn, e.Workspace, c)
			return
		}
		if (c.state == dialing) != (e.Reason == model.DialLeftover) {
			l.fault("conn %d was closed as %v, but was %v", e.Conn, e.Reason, c)
		}
		c.state, c.closedAt, c.lease = closing, l.now, 0
		switch e.Reason {
		case model.MakeRoom, model.IdleTimeOver, model.Shrink: // idle before, or perhaps
			c.batch = false
		}
	case core.OperationDone:
		l.done[e.Operation]++
	case core.WakeAt:
		l.wake = e.At
	case core.Drained:
		l.drained++
	}
}

func (l *ledger) answer(lease core.LeaseID) {
	if _, asked := l.answers[lease]; !asked {
		l.fault("lease %d was answered but never asked for", lease)
	}
	l.answers[lease]++
	l.waiters = slices.DeleteFunc(l.waiters, func(w ledgerWaiter) bool { return w.lease == lease })
}

func (l *ledger) known(id core.ConnID) *ledgerConn {
	for _, c := range l.conns {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (l *ledger) find(id core.ConnID, state ledgerState) *ledgerConn {
	if c := l.known(id); c != nil && c.state == state {
		return c
	}
	return nil
}

func (l *ledger) remove(c *ledgerConn) {
	l.conns = slices.DeleteFunc(l.conns, func(other *ledgerConn) bool { return other == c })
}

// in lists the connections in a state, by ascending ID.
func (l *ledger) in(state ledgerState) []*ledgerConn {
	var in []*ledgerConn
	for _, c := range l.conns {
		if c.state == state {
			in = append(in, c)
		}
	}
	return in
}

// held is how many slots a workspace has taken.
func (l *ledger) held(id model.WorkspaceID) int {
	n := 0
	for _, c := range l.conns {
		if c.workspace == id {
			n++
		}
	}
	return n
}

func (l *ledger) heldIn(id model.WorkspaceID, state ledgerState) int {
	n := 0
	for _, c := range l.in(state) {
		if c.workspace == id {
			n++
		}
	}
	return n
}

// queue lists the waiters of a workspace by arrival.
func (l *ledger) queue(id model.WorkspaceID) []ledgerWaiter {
	var queue []ledgerWaiter
	for _, w := range l.waiters {
		if w.workspace == id {
			queue = append(queue, w)
		}
	}
	return queue
}

// waiter is the one of that lease.
func (l *ledger) waiter(lease core.LeaseID) ledgerWaiter {
	for _, w := range l.waiters {
		if w.lease == lease {
			return w
		}
	}
	return ledgerWaiter{}
}

// heldByBatch is how many connections batch work has. One that has just come free is
// nobody's.
func (l *ledger) heldByBatch() int {
	n := 0
	for _, c := range l.conns {
		if c.batch && c.state != idle {
			n++
		}
	}
	return n
}

// needy tells whether the workspace may have one more connection for this interactive
// waiter, and no dial under way is meant for it. It knows of no pause and no back-off.
func (l *ledger) needy(w ledgerWaiter) bool {
	queue := slices.DeleteFunc(l.queue(w.workspace), func(other ledgerWaiter) bool { return other.batch })
	uncovered := slices.Index(queue, w) - l.heldIn(w.workspace, dialing)
	return 0 <= uncovered && uncovered < l.limits.PerWorkspace-l.held(w.workspace)
}

// onTheWay is how many connections are closing and not given up on.
func (l *ledger) onTheWay() int {
	n := 0
	for _, c := range l.in(closing) {
		if c.closedAt+l.limits.CloseGrace > l.now {
			n++
		}
	}
	return n
}

// evictedBefore tells whether a goes before b in the order of eviction, if batch work has no part
// in it.
func (l *ledger) evictedBefore(a, b *ledgerConn) bool {
	if l.limits.Eviction == model.LRU2 && a.before != b.before {
		return a.before < b.before
	}
	return usedBefore(a, b)
}

// usedBefore is the order of the last use.
func usedBefore(a, b *ledgerConn) bool {
	return a.lastUsed < b.lastUsed || a.lastUsed == b.lastUsed && a.id < b.id
}

// oldest is the least recently used idle connection, or nil.
func (l *ledger) oldest() *ledgerConn {
	var oldest *ledgerConn
	for _, c := range l.in(idle) {
		if oldest == nil || c.lastUsed < oldest.lastUsed {
			oldest = c
		}
	}
	return oldest
}

// stays tells whether the connection has been open for less than nine times as long
// as its dial took, and for less than a second.
func (l *ledger) stays(c *ledgerConn) bool {
	open := l.now - c.created
	return open < time.Second && open < 9*(c.created-c.dialed)
}
