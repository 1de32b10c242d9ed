package property_tests

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// I6.
func TestAnEvictedConnectionWasTheFirstInTheOrderOfEviction(t *testing.T) {
	first := property{before: func(l *ledger, e core.Effect) string {
		evicted, ok := e.(core.Close)
		if !ok || evicted.Reason != model.MakeRoom {
			return ""
		}
		c := l.find(evicted.Conn, idle)
		if c == nil {
			return "it was not idle"
		}
		for _, other := range l.in(idle) {
			if l.evictedBefore(other, c) {
				return fmt.Sprintf("it was used at %v and before at %v, and conn %d at %v and %v",
					c.lastUsed, c.before, other.id, other.lastUsed, other.before)
			}
		}
		return ""
	}}
	check(t, everything, first)
	check(t, seated, first)
}

// Drain closes in the same order. Evict and Pause close a workspace's own in that of use.
func TestClosesOfOneReasonAreInTheirOrder(t *testing.T) {
	check(t, draining, property{before: func(l *ledger, e core.Effect) string {
		asked, ok := e.(core.Close)
		if !ok || l.find(asked.Conn, idle) == nil {
			return ""
		}
		c := l.find(asked.Conn, idle)
		for _, other := range l.in(idle) {
			switch asked.Reason {
			case model.EvictAsked, model.PauseAsked:
				if usedBefore(other, c) && other.workspace == c.workspace {
					return fmt.Sprintf("conn %d was used before it", other.id)
				}
			case model.DrainAsked:
				if l.evictedBefore(other, c) {
					return fmt.Sprintf("conn %d comes before it", other.id)
				}
			}
		}
		return ""
	}})
}

// The most recently used one is lent, so that the others can grow old.
func TestAnAcquireGetsTheMostRecentlyUsedConnection(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		grant, ok := e.(core.Grant)
		if !ok || l.find(grant.Conn, idle) == nil {
			return ""
		}
		c := l.find(grant.Conn, idle)
		for _, other := range l.in(idle) {
			if other.workspace == c.workspace && other.lastUsed > c.lastUsed {
				return fmt.Sprintf("it was used at %v, and conn %d at %v", c.lastUsed, other.id, other.lastUsed)
			}
		}
		return ""
	}})
}

// Rule 4: what is free and what is closing counts. Without failures and with
// closings that nobody gives up on, no more slots are on their way than there are
// waiters without a dial, or dials that could start. (No log of this mix takes that many hours.)
func TestNoMoreIsEvictedThanIsNeeded(t *testing.T) {
	often(t, func(t *rapid.T) {
		limits := someLimits(t)
		limits.CloseGrace = 1000 * time.Hour
		newRun(t, limits, property{after: func(l *ledger, e entry) string {
			for _, c := range effectsOf[core.Close](e.effects) {
				coming := l.limits.Budget - len(l.conns) + len(l.in(closing))
				wanted := 0
				for _, w := range l.waiters {
					if l.needy(w) {
						wanted++
					}
				}
				room := l.limits.MaxDialing - len(l.in(dialing))
				if c.Reason == model.MakeRoom && coming > min(wanted, room) {
					return fmt.Sprintf("conn %d was evicted: %d slots are coming for %d waiters and %d dials", c.Conn, coming, wanted, room)
				}
			}
			return ""
		}}).follow(orders(sound).Draw(t, "orders"))
	})
}

// A workspace that waits is not made to give up a connection for itself.
func TestNoOneIsEvictedForItself(t *testing.T) {
	check(t, everything, property{after: func(l *ledger, e entry) string {
		for _, c := range effectsOf[core.Close](e.effects) {
			if c.Reason == model.MakeRoom && len(l.queue(c.Workspace)) > 0 {
				return fmt.Sprintf("conn %d of %s was evicted, and %s waits", c.Conn, c.Workspace, c.Workspace)
			}
		}
		return ""
	}})
}

// What is idle is the first to go when the limits are lowered.
func TestNothingIdleIsBeyondTheLimits(t *testing.T) {
	check(t, everything, property{after: func(l *ledger, e entry) string {
		if _, ok := e.message.(core.SetLimits); !ok {
			return ""
		}
		if staying := len(l.conns) - len(l.in(closing)); staying > l.limits.Budget && l.oldest() != nil {
			return fmt.Sprintf("%d connections, and %d are idle", staying, len(l.in(idle)))
		}
		for _, id := range workspaceNames {
			if staying := l.held(id) - l.heldIn(id, closing); staying > l.limits.PerWorkspace && l.heldIn(id, idle) > 0 {
				return fmt.Sprintf("%s has %d connections, and %d are idle", id, staying, l.heldIn(id, idle))
			}
		}
		return ""
	}})
}

// I7, where it is simple: nothing is under way.
func TestNobodyWaitsForNothing(t *testing.T) {
	simple := property{after: func(l *ledger, _ entry) string {
		if len(l.in(dialing))+len(l.in(closing)) > 0 {
			return ""
		}
		free := l.limits.Budget - len(l.conns)
		for _, w := range l.waiters {
			if l.held(w.workspace) < l.limits.PerWorkspace && (free > 0 || l.oldest() != nil) {
				return fmt.Sprintf("lease %d waits, %d slots are free and %d connections idle", w.lease, free, len(l.in(idle)))
			}
		}
		return ""
	}}
	check(t, sound, simple)
	check(t, seated, simple)
}

// I7: a connection of the waiter's own workspace is never left idle.
func TestNobodyWaitsBesideAnIdleConnectionOfItsOwn(t *testing.T) {
	check(t, everything, property{after: func(l *ledger, _ entry) string {
		for _, w := range l.waiters {
			if l.heldIn(w.workspace, idle) > 0 {
				return fmt.Sprintf("lease %d waits", w.lease)
			}
		}
		return ""
	}})
}

// I7: after a step there is nothing left to do, so doing nothing does nothing.
func TestASecondLookFindsNothingToDo(t *testing.T) {
	generator := orders(draining)
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		for _, o := range generator.Draw(t, "orders") {
			r.follow([]order{o})
			if effects := r.core.Step(r.ledger.now, core.Tick{}); len(effects) > 0 {
				r.fail("a tick had effects: " + describeAll(effects))
			}
		}
	})
}

// Nothing is closed to make room but by a Reclaim, and by that only while the state
// is short: whoever tells it first of what came free loses nothing.
func TestOnlyAReclaimOfAShortStateEvicts(t *testing.T) {
	generator := orders(append(draining[:len(draining):len(draining)], seated...))
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		r.step = func(c machine, now time.Duration, m core.Message) []core.Effect { return slices.Clone(c.Step(now, m)) }
		for i, o := range generator.Draw(t, "orders") {
			r.follow([]order{o})
			if n := len(r.log); n > 0 && r.log[n-1].message != (core.Reclaim{}) {
				for _, c := range effectsOf[core.Close](r.log[n-1].effects) {
					if c.Reason == model.MakeRoom {
						r.fail("it evicts without a Reclaim")
					}
				}
			}
			if i%3 == 0 {
				continue
			}
			short, idle := r.core.Short(), len(r.ledger.in(idle))
			r.send(entry{at: r.ledger.now, message: core.Reclaim{}})
			closes := effectsOf[core.Close](r.log[len(r.log)-1].effects)
			switch {
			case r.ledger.draining && !short:
				r.fail("it drains, and is not short")
			case short && idle > 0 && len(closes) == 0:
				r.fail(fmt.Sprintf("it is short, and keeps %d idle connections", idle))
			case !short && len(closes) > 0:
				r.fail("it is not short, and closed some")
			}
			if err := r.core.Check(); err != nil {
				r.fail(err.Error())
			}
		}
	})
}

// I7 over time: who only ticks when WakeAt says so misses nothing. No wake is
// asked for to give up slots that nobody demands (rule 4's last sentence).
func TestNothingHappensBeforeTheWake(t *testing.T) {
	generator := orders(draining)
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		for _, o := range generator.Draw(t, "orders") {
			r.follow([]order{o})
			early := r.ledger.now + o.pass
			if o.kind == skip || early >= r.ledger.wake {
				continue
			}
			r.send(entry{at: early, message: core.Tick{}})
			if len(r.log[len(r.log)-1].effects) > 0 {
				r.fail("the tick was early")
			}
		}
	})
}

func TestTheWakeIsInTheFuture(t *testing.T) {
	check(t, draining, property{after: func(l *ledger, _ entry) string {
		if l.wake <= l.now {
			return "the wake has passed"
		}
		if l.draining && l.wake < core.Never {
			return "it asks for a wake while it drains"
		}
		return ""
	}})
}

// I7 to the end: from wherever a log leads, once dials succeed, closings end,
// leases come home and nobody is paused, every waiter is served. Time passes only
// as WakeAt asks.
func TestEveryWaiterIsServedInTheEnd(t *testing.T) {
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		m := rapid.SampledFrom([]mix{sound, everything, failing, seated}).Draw(t, "mix")
		r.follow(orders(m).Draw(t, "orders"))
		for len(r.ledger.paused) > 0 {
			r.send(entry{at: r.ledger.now, message: core.Resume{Workspace: r.ledger.paused[0]}})
		}
		for range 1000 {
			r.settle()
			r.bringHome()
			if len(r.ledger.waiters) == 0 {
				return
			}
			busy := len(r.ledger.in(dialing)) + len(r.ledger.in(closing))
			if busy == 0 && r.ledger.wake == core.Never {
				r.fail("somebody waits, and nothing is under way or planned")
			}
			if busy == 0 {
				r.send(entry{at: r.ledger.wake, message: core.Tick{}})
			}
		}
		r.fail("somebody waits for ever")
	})
}
