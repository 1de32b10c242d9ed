package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// I3, at the end of a log by Cancel or by Drain.
func TestEveryAcquireIsAnsweredExactlyOnce(t *testing.T) {
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		r.follow(orders(rapid.SampledFrom([]mix{draining, alone}).Draw(t, "mix")).Draw(t, "orders"))
		if rapid.Bool().Draw(t, "end by drain") {
			r.send(entry{at: r.ledger.now, message: core.Drain{}})
		}
		for len(r.ledger.waiters) > 0 {
			lease := r.ledger.waiters[0].lease
			r.send(entry{at: r.ledger.now, message: core.Cancel{Lease: lease}})
			if r.ledger.answers[lease] != 1 {
				r.fail(fmt.Sprintf("lease %d was cancelled and is not answered", lease))
			}
		}
		for lease, answers := range r.ledger.answers {
			if answers != 1 {
				r.fail(fmt.Sprintf("lease %d was answered %d times", lease, answers))
			}
		}
	})
}

func TestDrainAnswersAllWaiters(t *testing.T) {
	check(t, draining, property{after: func(l *ledger, e entry) string {
		if l.draining && len(l.waiters) > 0 {
			return fmt.Sprintf("%d wait while it drains", len(l.waiters))
		}
		return ""
	}})
}

// I4.
func TestALeaseGetsAConnectionOfItsOwnWorkspace(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		grant, ok := e.(core.Grant)
		if !ok {
			return ""
		}
		c := l.known(grant.Conn)
		for _, w := range l.waiters {
			if w.lease == grant.Lease && c != nil && w.workspace == c.workspace && w.workspace == grant.Workspace {
				return ""
			}
		}
		return fmt.Sprintf("the connection is %+v, the waiters are %+v", c, l.waiters)
	}})
}

// I5: the ledger finds no grant of a connection that is not free, no close of one
// that is leased or closing, no answer without a question.
func TestAConnectionIsInOneStateAndOnOneLease(t *testing.T) {
	check(t, draining, property{after: func(l *ledger, _ entry) string {
		if len(l.faults) > 0 {
			return l.faults[0]
		}
		return ""
	}})
}

// I5: whatever comes late or twice changes nothing but one counter.
func TestStaleMessagesChangeNothing(t *testing.T) {
	generator := orders(draining)
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		for _, o := range generator.Draw(t, "orders") {
			r.follow([]order{o})
			before := r.core.Stats(r.ledger.now)
			stale := stale(r.ledger)
			for _, m := range stale {
				if effects := r.core.Step(r.ledger.now, m); len(effects) > 0 {
					r.fail(core.DescribeMessage(m) + " had effects: " + describeAll(effects))
				}
			}
			after := r.core.Stats(r.ledger.now)
			before.Counters.StaleMessages += uint64(len(stale))
			if wrong := differentStats(after, before); wrong != "" {
				r.fail("stale messages changed " + wrong)
			}
			if err := r.core.Check(); err != nil {
				r.fail(err.Error())
			}
		}
	})
}

// stale makes messages that fit no connection: each connection gets those that
// are not for its state, and so do two that never were.
func stale(l *ledger) []core.Message {
	var messages []core.Message
	add := func(m core.Message) { messages = append(messages, m) }
	for _, c := range append([]*ledgerConn{{id: 0, state: -1}, {id: 1 << 40, state: -1}}, l.conns...) {
		add(core.Release{Lease: c.lease + 1, Conn: c.id, Health: core.Lost})
		if c.state != inUse {
			add(core.Release{Lease: c.lease, Conn: c.id})
		}
		if c.state != dialing {
			add(core.DialSucceeded{Conn: c.id})
			add(core.DialFailed{Conn: c.id, Kind: model.Permanent, Err: errDial})
			add(core.DialFailed{Conn: c.id, Kind: model.ServerFull, Err: errDial, SlotHeld: true})
		}
		if c.state != closing {
			add(core.Closed{Conn: c.id})
		}
	}
	for _, release := range l.ended {
		add(release)
	}
	return messages
}

// A Cancel that lost the race against its Grant, or came twice, does nothing.
func TestACancelAfterTheAnswerDoesNothing(t *testing.T) {
	generator := orders(draining)
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		r.follow(generator.Draw(t, "orders"))
		before := r.core.Stats(r.ledger.now)
		for lease, answers := range r.ledger.answers {
			if answers > 0 {
				if effects := r.core.Step(r.ledger.now, core.Cancel{Lease: lease}); len(effects) > 0 {
					r.fail(fmt.Sprintf("cancel %d had effects: %s", lease, describeAll(effects)))
				}
			}
		}
		if wrong := differentStats(r.core.Stats(r.ledger.now), before); wrong != "" {
			r.fail("it changed " + wrong)
		}
	})
}

func TestAGrantSaysHowLongItWasWaitedFor(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		if grant, ok := e.(core.Grant); ok {
			for _, w := range l.waiters {
				if w.lease == grant.Lease && grant.Waited != l.now-w.arrived {
					return fmt.Sprintf("it was waited for since %v", w.arrived)
				}
			}
		}
		return ""
	}})
}

// A connection is verified by who gets it out of the pool when it was idle for
// long, or from before another one was found lost; never one that was just used.
func TestOnlyDoubtfulIdleConnectionsAreVerified(t *testing.T) {
	often(t, func(t *rapid.T) {
		lostAt, ended := time.Duration(-1), 0
		r := newRun(t, someLimits(t))
		r.watch = []property{{before: func(l *ledger, e core.Effect) string {
			grant, ok := e.(core.Grant)
			if !ok || l.known(grant.Conn) == nil {
				return ""
			}
			c := l.known(grant.Conn)
			_, hit := r.log[len(r.log)-1].message.(core.Acquire)
			long := l.limits.VerifyAfter > 0 && l.now-c.lastUsed >= l.limits.VerifyAfter
			if want := hit && (long || c.lastUsed <= lostAt); grant.Verify != want {
				return fmt.Sprintf("idle since %v, the last one lost at %v", c.lastUsed, lostAt)
			}
			return ""
		}, after: func(l *ledger, e entry) string {
			if len(l.ended) > ended && l.ended[ended].Health == core.Lost {
				lostAt = l.now
			}
			if m, ok := e.message.(core.DialFailed); ok && m.Kind == model.ServerDown {
				lostAt = l.now
			}
			ended = len(l.ended)
			return ""
		}}}
		r.follow(orders(everything).Draw(t, "orders"))
	})
}

// Whatever state a connection came home in, the next lease does not find it.
func TestOnlyCleanConnectionsStay(t *testing.T) {
	check(t, everything, property{after: func(l *ledger, e entry) string {
		m, ok := e.message.(core.Release)
		if !ok || m.Health == core.Clean || len(l.ended) == 0 || l.ended[len(l.ended)-1] != m {
			return ""
		}
		if c := l.known(m.Conn); c != nil && c.state != closing {
			return fmt.Sprintf("conn %d was released %s and is not closed", m.Conn, m.Health)
		}
		return ""
	}})
}

// A Pause is over when the workspace has no connection, not before, unless by
// Resume.
func TestAPauseIsDoneWhenNoConnectionIsLeft(t *testing.T) {
	often(t, func(t *rapid.T) {
		pauses := map[core.OperationID]model.WorkspaceID{}
		r := newRun(t, someLimits(t))
		r.watch = []property{{before: func(l *ledger, e core.Effect) string {
			m := r.log[len(r.log)-1].message
			if m, ok := m.(core.Pause); ok {
				pauses[m.Operation] = m.Workspace
			}
			done, ok := e.(core.OperationDone)
			if !ok || pauses[done.Operation] == "" {
				return ""
			}
			if _, resumed := m.(core.Resume); !resumed && l.held(pauses[done.Operation]) > 0 {
				return fmt.Sprintf("%d connections are left", l.held(pauses[done.Operation]))
			}
			return ""
		}, after: func(_ *ledger, e entry) string {
			if m, ok := e.message.(core.Pause); ok {
				pauses[m.Operation] = m.Workspace
			}
			return ""
		}}}
		r.follow(orders(draining).Draw(t, "orders"))
	})
}

// I12, and the connection is one that nobody has had before.
func TestWhoeverAsksToBeAloneIsAlone(t *testing.T) {
	often(t, func(t *rapid.T) {
		exclusive, lent := map[core.LeaseID]bool{}, map[core.ConnID]bool{}
		r := newRun(t, someLimits(t))
		r.watch = []property{{before: func(l *ledger, e core.Effect) string {
			if m, ok := r.log[len(r.log)-1].message.(core.Acquire); ok && m.Exclusive {
				exclusive[m.Lease] = true
			}
			grant, ok := e.(core.Grant)
			if !ok {
				return ""
			}
			defer func() { lent[grant.Conn] = true }()
			if exclusive[grant.Lease] && (lent[grant.Conn] || l.held(grant.Workspace) != 1) {
				return fmt.Sprintf("lent before: %v; %d connections of its workspace", lent[grant.Conn], l.held(grant.Workspace))
			}
			for _, c := range l.in(inUse) {
				if exclusive[c.lease] && c.workspace == grant.Workspace {
					return fmt.Sprintf("lease %d is alone with the workspace", c.lease)
				}
			}
			return ""
		}, after: func(l *ledger, e entry) string {
			if m, ok := e.message.(core.Release); ok && exclusive[m.Lease] && l.find(m.Conn, idle) != nil {
				return "it is kept after its exclusive lease"
			}
			return ""
		}}}
		r.follow(orders(alone).Draw(t, "orders"))
	})
}

// Evict, Renew and Pause are answered exactly once, in the end.
func TestOperationsAreAnsweredExactlyOnce(t *testing.T) {
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		r.follow(orders(draining).Draw(t, "orders"))
		for len(r.ledger.waiters) > 0 {
			r.send(entry{at: r.ledger.now, message: core.Cancel{Lease: r.ledger.waiters[0].lease}})
		}
		r.settle()
		r.bringHome()
		r.settle()
		for _, op := range r.ledger.started {
			if r.ledger.done[op] != 1 {
				r.fail(fmt.Sprintf("operation %d was answered %d times", op, r.ledger.done[op]))
			}
		}
	})
}

// I11: whoever asked for a Renew, and whoever asks after it, gets a connection that
// was dialed after it.
func TestNoConnectionFromBeforeARenewIsLentAfterIt(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		if grant, ok := e.(core.Grant); ok && l.known(grant.Conn).stale {
			return "its dial began before a Renew"
		}
		return ""
	}, after: func(l *ledger, _ entry) string {
		for _, c := range l.in(idle) {
			if c.stale {
				return fmt.Sprintf("conn %d was dialed before a Renew, and is idle", c.id)
			}
		}
		return ""
	}})
}

// A paused workspace keeps no connection that is not in somebody's hands.
func TestAPausedWorkspaceGetsNothing(t *testing.T) {
	check(t, everything, property{after: func(l *ledger, e entry) string {
		for _, effect := range e.effects {
			switch effect := effect.(type) {
			case core.Grant:
				if isPaused(l, effect.Workspace) {
					return "a paused workspace got a connection"
				}
			case core.Dial:
				if isPaused(l, effect.Workspace) {
					return "a paused workspace was dialed"
				}
			}
		}
		for _, c := range l.in(idle) {
			if isPaused(l, c.workspace) {
				return fmt.Sprintf("conn %d of a paused workspace is idle", c.id)
			}
		}
		return ""
	}})
}
