package actor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

var background = context.Background()

func TestAnAcquireDialsAndTheReleasedConnectionIsAHit(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		var fresh, hit actor.Lease
		if d := took(func() { fresh = w.acquire("a") }); d != w.server.dialTakes {
			w.Errorf("the dial took %v", d)
		}
		if fresh.Waited() != w.server.dialTakes || fresh.Verify() {
			w.Errorf("a fresh grant waited %v, verify %v", fresh.Waited(), fresh.Verify())
		}
		fresh.Release(core.Clean)
		time.Sleep(time.Second)
		if d := took(func() { hit = w.acquire("a") }); d != 0 {
			w.Errorf("the hit took %v", d)
		}
		if hit.Conn() != fresh.Conn() || hit.Waited() != 0 {
			w.Errorf("the hit waited %v for %v, want %v", hit.Waited(), hit.Conn(), fresh.Conn())
		}
		c := w.stats().Counters
		if c.Acquires != 2 || c.Hits != 1 || c.FreshGrants != 1 || c.Dials != 1 {
			w.Errorf("counters %+v", c)
		}
	})
}

func TestAReleasedConnectionIsHandedToTheWaitersInTheirOrder(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		one := w.tryFor(0, "a")
		two := w.tryFor(0, "a")
		w.counts(model.Counts{InUse: 1, Waiting: 2})
		time.Sleep(time.Second)
		held.Release(core.Clean)
		if one.granted() != held.Conn() || one.lease.Waited() != time.Second || one.took != time.Second {
			w.Errorf("the first waiter waited %v, and %v by its lease", one.took, one.lease.Waited())
		}
		if !two.waits() {
			w.Fatal("both waiters have the connection")
		}
		one.lease.Release(core.Clean)
		two.granted()
		if c := w.stats().Counters; c.HandOffs != 2 || c.Dials != 1 {
			w.Errorf("counters %+v", c)
		}
	})
}

func TestAFullBudgetEvictsTheLeastRecentlyUsedFirst(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		a, b := w.acquire("a"), w.acquire("b")
		b.Release(core.Clean)
		time.Sleep(time.Millisecond)
		a.Release(core.Clean)
		w.happened("dial a", "opened a", "dial b", "opened b")

		d := took(func() { w.acquire("c") })
		if want := w.server.closeTakes + w.server.dialTakes; d != want {
			w.Errorf("to evict and to dial took %v, want %v", d, want)
		}
		w.happened("close b make_room", "closed b", "dial c", "opened c")
		w.acquire("d")
		w.happened("close a make_room", "closed a", "dial d", "opened d")
	})
}

func TestASlotIsDialedOnlyWhenTheServerHasLetGoOfIt(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.closeTakes = time.Minute
		w.idle("a", 1)
		b := w.tryFor(0, "b")
		time.Sleep(time.Minute - time.Nanosecond)
		w.counts(model.Counts{Closing: 1, Waiting: 1})
		time.Sleep(time.Nanosecond)
		w.counts(model.Counts{Dialing: 1, Waiting: 1})
		b.granted()
	})
}

func TestTheCapKeepsAWorkspaceFromTheSlotsOfOthers(t *testing.T) {
	test(t, few(3, 1), func(w *world) {
		a := w.acquire("a")
		more := w.tryFor(0, "a")
		time.Sleep(time.Second)
		w.counts(model.Counts{InUse: 1, Waiting: 1})
		w.acquire("b")
		a.Release(core.Clean)
		more.granted()
	})
}

func TestNoWaitIsRefusedAtOnceWithTheLimit(t *testing.T) {
	noWait := actor.Wait{NoWait: true, AtMost: time.Second}
	test(t, few(3, 2), func(w *world) {
		w.acquire("a")
		w.acquire("a")
		err := w.limit(w.try(background, "a", noWait).refused(0))
		if err.Limit != model.WorkspaceLimit || err.MaxPerWorkspace != 2 || err.CurrentWorkspace != 2 {
			w.Errorf("the cap's error is %+v", err)
		}
		w.wraps(err)

		w.try(background, "b", noWait).granted() // a dial is waited for
		err = w.limit(w.try(background, "c", noWait).refused(0))
		if err.Limit != model.BudgetLimit || err.CurrentConnections != 3 || err.WorkspaceID != "c" || err.Cause != nil {
			w.Errorf("the budget's error is %+v", err)
		}
	})
}

func TestNoWaitMayEvict(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.idle("a", 1)
		a := w.try(background, "b", actor.Wait{NoWait: true})
		a.granted()
		if want := w.server.closeTakes + w.server.dialTakes; a.took != want {
			w.Errorf("it took %v, want %v", a.took, want)
		}
	})
}

func TestAFullQueueIsRefusedAtOnce(t *testing.T) {
	limits := few(1, 1, func(l *model.Limits) { l.MaxWaiters = 2 })
	test(t, limits, func(w *world) {
		held := w.acquire("a")
		one, two := w.tryFor(time.Minute, "a"), w.tryFor(time.Minute, "b")
		err := w.limit(w.tryFor(time.Minute, "c").refused(0))
		if err.Limit != model.QueueLimit || err.Waiting != 3 || err.LongestLeaseWorkspace != "a" || err.Cause != nil {
			w.Errorf("the queue's error is %+v", err)
		}
		held.Release(core.Clean)
		one.granted()
		one.lease.Release(core.Clean)
		two.granted()
	})
}

func TestSomeMoreAcquiresAtOnceThanTheMailboxHolds(t *testing.T) {
	test(t, few(3, 3), func(w *world) {
		errs := gather(1000, func(int) error {
			l, err := w.Acquire(background, first, "a", actor.Wait{})
			if err == nil {
				time.Sleep(time.Millisecond)
				l.Release(core.Clean)
			}
			return err
		})
		for _, err := range errs {
			if err != nil {
				w.Fatal(err)
			}
		}
		w.counts(model.Counts{Idle: 3})
	})
}

func TestAConnectionReleasedUncleanIsClosedAndTheWaiterGetsAnother(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		waiter := w.tryFor(0, "a")
		w.server.since()
		held.Release(core.Unclean)
		if waiter.granted() == held.Conn() {
			w.Error("an unclean connection was lent")
		}
		w.happened("close a not_reusable", "closed a", "dial a", "opened a")
	})
}

func TestALostConnectionMakesTheIdleOnesSuspect(t *testing.T) {
	test(t, few(3, 3), func(w *world) {
		lost, other := w.acquire("a"), w.acquire("a")
		other.Release(core.Clean)
		time.Sleep(time.Second)
		lost.Release(core.Lost)
		suspect := w.acquire("a")
		if suspect.Conn() != other.Conn() || !suspect.Verify() {
			w.Errorf("the lease of the idle connection says verify: %v", suspect.Verify())
		}
		time.Sleep(time.Second)
		suspect.Release(core.Clean)
		if again := w.acquire("a"); again.Verify() {
			w.Error("a connection used since is still suspect")
		}
	})
}

func TestAConnectionIdleForLongIsToBeVerified(t *testing.T) {
	limits := few(1, 1, func(l *model.Limits) { l.VerifyAfter = time.Minute })
	test(t, limits, func(w *world) {
		w.idle("a", 1)
		time.Sleep(time.Minute - time.Nanosecond)
		l := w.acquire("a")
		l.Release(core.Clean)
		time.Sleep(time.Minute)
		if late := w.acquire("a"); l.Verify() || !late.Verify() {
			w.Errorf("verify before the time: %v, after: %v", l.Verify(), late.Verify())
		}
		synctest.Wait()
	})
}
