package actor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// The supervisor is not told of what lies in a seat. In these tests it finds out
// before it matters.

func TestStatsSeeWhatLiesInASeat(t *testing.T) {
	test(t, few(3, 2), func(w *world) {
		l := w.acquire("a") // took a dial of 10ms
		for range 5 {
			l.Release(core.Clean)
			l = w.seated("a")
		}
		w.counts(model.Counts{InUse: 1})
		for range 3 {
			l.Release(core.Clean)
			l = w.seated("a")
		}
		l.Release(core.Clean)
		w.counts(model.Counts{Idle: 1})
		w.counts(model.Counts{Idle: 1})
		st := w.stats()
		if c := st.Counters; c.Acquires != 9 || c.Hits != 8 || c.FreshGrants != 1 || c.Grants() != 9 || c.HandOffs+c.Rejects+c.StaleMessages != 0 {
			w.Errorf("%+v", c)
		}
		if h := st.Waits; h.Counts[0] != 8 || h.Counts[5] != 1 || h.Sum != 10*time.Millisecond {
			w.Errorf("waits are %v", h)
		}
		if a := st.Active; len(a) != 1 || a[0].Idle != 1 || a[0].LastUsed != 0 {
			w.Errorf("%+v", a)
		}
	})
}

func TestHitsAreCountedWheneverTheSupervisorLooks(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		first, second := w.acquire("a"), w.acquire("a")
		leases := []*actor.Lease{&first, &second}
		hits := uint64(0)
		for i := range 200 {
			l := leases[i%2]
			l.Release(core.Clean)
			if i%7 == 0 {
				w.stats() // in a seat
			}
			if i%11 == 0 {
				time.Sleep(1500 * time.Millisecond) // it is looked for by itself
			}
			*l = w.acquire("a")
			hits++
			if i%5 == 0 {
				w.stats() // in use again
			}
		}
		c := w.stats().Counters
		if c.Hits != hits || c.Acquires != hits+2 || c.Grants() != c.Acquires || c.StaleMessages != 0 {
			w.Errorf("%d hits are counted as %+v", hits, c)
		}
	})
}

func TestTheLongestLeaseIsThatOfOneHolder(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		l := w.acquire("a")
		for range 3600 {
			time.Sleep(time.Second)
			l.Release(core.Clean)
			l = w.acquire("a")
		}
		if st := w.stats(); st.LongestLease > time.Second || st.LongestLeaseWorkspace != "a" {
			w.Errorf("it is %v of %s", st.LongestLease, st.LongestLeaseWorkspace)
		}
		time.Sleep(time.Minute)
		if st := w.stats(); st.LongestLease != time.Minute {
			w.Errorf("it is %v", st.LongestLease)
		}
	})
}

func TestTheLongestLeaseIsTheOldestThatLasts(t *testing.T) {
	test(t, few(3, 1), func(w *world) {
		longest := func(want time.Duration, of model.WorkspaceID) {
			w.Helper()
			if st := w.stats(); st.LongestLease != want || st.LongestLeaseWorkspace != of {
				w.Errorf("it is %v of %q, want %v of %q", st.LongestLease, st.LongestLeaseWorkspace, want, of)
			}
		}
		longest(0, "")
		a := w.acquire("a")
		time.Sleep(time.Second)
		b := w.acquire("b")
		longest(time.Second+w.server.dialTakes, "a")
		time.Sleep(time.Second)
		a.Release(core.Clean)
		longest(time.Second, "b")
		a = w.acquire("a")
		time.Sleep(time.Second)
		longest(2*time.Second, "b")
		b.Release(core.Clean)
		longest(time.Second, "a")
		a.Release(core.Clean)
		longest(0, "")
	})
}

func TestAWorkspaceInUseThroughASeatIsNotCalledIdle(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		w.RecallSeldom()
		l := w.acquire("a")
		l.Release(core.Clean)
		time.Sleep(time.Minute)
		w.seated("a")
		time.Sleep(time.Second)
		if a := w.stats().Active; len(a) != 1 || a[0].LastUsed != time.Second {
			w.Errorf("%+v", a)
		}
	})
}

func TestALimitErrorTellsTheAgeOfALeaseThatCameThroughASeat(t *testing.T) {
	test(t, few(3, 2), func(w *world) {
		w.RecallSeldom()
		w.acquire("slow")
		w.idle("a", 2)
		time.Sleep(time.Minute)
		w.seated("a")
		time.Sleep(time.Second)
		w.seated("a")
		time.Sleep(time.Second)
		limit := w.limit(w.tryFor(time.Second, "a").refused(time.Second))
		if limit.Limit != model.WorkspaceLimit || limit.LongestLease != 3*time.Second || limit.LongestLeaseWorkspace != "a" {
			w.Errorf("at its cap: %+v", limit)
		}
		limit = w.limit(w.tryFor(time.Second, "b").refused(time.Second))
		if limit.Limit != model.BudgetLimit || limit.LongestLease < time.Minute || limit.LongestLeaseWorkspace != "slow" {
			w.Errorf("of the budget: %+v", limit)
		}
		w.leases[0].Release(core.Clean)
		limit = w.limit(w.try(background, "a", actor.Wait{NoWait: true}).refused(0))
		if limit.LongestLease != 4*time.Second || limit.LongestLeaseWorkspace != "a" {
			w.Errorf("without a wait: %+v", limit)
		}
	})
}

func TestALeaseTellsHowLongItsConnectionLayUnused(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		w.RecallSeldom()
		l := w.acquire("a")
		if l.Idle() != 0 {
			w.Errorf("just dialed: %v", l.Idle())
		}
		time.Sleep(time.Second)
		l.Release(core.Clean)
		time.Sleep(time.Minute)
		l = w.seated("a")
		if l.Idle() != time.Minute {
			w.Errorf("in a seat: %v", l.Idle())
		}
		time.Sleep(time.Second)
		l.Release(core.Clean)
		time.Sleep(time.Hour)
		w.stats() // it is the core's
		l = w.acquire("a")
		if l.Idle() != time.Hour {
			w.Errorf("with the supervisor: %v", l.Idle())
		}
		waiter := w.try(background, "a", actor.Wait{})
		time.Sleep(time.Second)
		l.Release(core.Clean)
		waiter.granted()
		if idle := waiter.lease.Idle(); idle != 0 {
			w.Errorf("handed off: %v", idle)
		}
	})
}

func TestEvictAndPauseCloseWhatLiesInASeat(t *testing.T) {
	test(t, few(4, 2), func(w *world) {
		w.idle("a", 2)
		w.idle("b", 2)
		w.server.since()
		evict := w.evict(background, "a")
		w.happened("close a evict_asked", "close a evict_asked")
		pause := w.pause(background, "b")
		w.happened("close b pause_asked", "close b pause_asked")
		<-evict.done
		<-pause.done
		if evict.closed != 2 || pause.closed != 2 || evict.took != w.server.closeTakes || pause.took != w.server.closeTakes {
			w.Errorf("evict %+v, pause %+v", evict, pause)
		}
		w.notSeated("a")
		w.notSeated("b")
	})
}

func TestTheIdleTimeIsThatInTheSeat(t *testing.T) {
	for _, idleTime := range []time.Duration{10 * time.Millisecond, 500 * time.Millisecond, time.Minute} {
		test(t, few(2, 2, withIdleTime(idleTime)), func(w *world) {
			for i := range 20 {
				l := w.acquire("a")
				time.Sleep(idleTime * time.Duration(i) / 10)
				l.Release(core.Clean)
				l = w.acquire("a") // most often the core does not see this
				time.Sleep(idleTime * time.Duration(i) / 7)
				l.Release(core.Clean)
				w.server.since()
				time.Sleep(idleTime - 1)
				w.happened()
				time.Sleep(time.Nanosecond)
				w.happened("close a idle_time_over")
				time.Sleep(time.Second)
			}
		})
	}
}

// What is lent from a seat was not there for long: it was found there otherwise.
func TestWhatLayInASeatForLongIsVerified(t *testing.T) {
	const long = 30 * time.Second
	test(t, few(1, 1, func(l *model.Limits) { l.VerifyAfter = long }), func(w *world) {
		for i := range 100 {
			l := w.acquire("a")
			time.Sleep(time.Duration(i) * 777 * time.Millisecond)
			l.Release(core.Clean)
			lay := long - 50*time.Millisecond + time.Duration(i)*time.Millisecond
			time.Sleep(lay)
			l = w.acquire("a")
			if l.Verify() != (lay >= long) {
				w.Errorf("it lay there for %v, verify is %v", lay, l.Verify())
			}
			l.Release(core.Clean)
		}
	})
}

func TestASeatIsLeftBeforeItsConnectionMustBeVerified(t *testing.T) {
	for _, long := range []time.Duration{10 * time.Millisecond, time.Second, time.Hour} {
		test(t, few(1, 1, func(l *model.Limits) { l.VerifyAfter = long }), func(w *world) {
			l := w.acquire("a")
			for i := range 50 {
				time.Sleep(long * time.Duration(i) / 49)
				l.Release(core.Clean)
				time.Sleep(long)
				l = w.acquire("a")
				if !l.Verify() {
					w.Errorf("round %d: it is not verified", i)
				}
			}
		})
	}
}

func TestALifetimeEndsInASeatToo(t *testing.T) {
	test(t, few(1, 1, func(l *model.Limits) { l.MaxLifetime = time.Hour }), func(w *world) {
		l := w.acquire("a")
		begin := time.Now()
		for len(w.server.closed) == 0 && time.Since(begin) < 2*time.Hour {
			l.Release(core.Clean)
			l = w.acquire("a")
			time.Sleep(time.Second)
		}
		// An hour less up to a tenth, and then the next release.
		if d := time.Since(begin); d > time.Hour+2*time.Second || d < 54*time.Minute {
			w.Errorf("it was closed after %v", d)
		}
	})
}

func TestWhatLiesInASeatIsSuspectWhenOthersAreLost(t *testing.T) {
	test(t, few(3, 1), func(w *world) {
		a, b, held := w.acquire("a"), w.acquire("b"), w.acquire("c")
		a.Release(core.Clean)
		b.Release(core.Clean)
		time.Sleep(time.Millisecond)
		held.Release(core.Lost)
		synctest.Wait()
		again := w.acquire("a")
		if !again.Verify() {
			w.Error("what was idle when another was lost is not verified")
		}
		again.Release(core.Clean)
		if l := w.acquire("a"); l.Verify() { // it has worked since
			w.Error("it is verified twice")
		}
		if l := w.acquire("b"); !l.Verify() {
			w.Error("what was idle when another was lost is not verified")
		}
	})
}

func TestWhatLiesInASeatIsSuspectWhenTheServerWasDown(t *testing.T) {
	test(t, few(3, 1), func(w *world) {
		a := w.acquire("a")
		a.Release(core.Clean)
		w.server.refuse = refuseFirst(2, failure{model.ServerDown})
		w.acquire("b")
		if l := w.acquire("a"); !l.Verify() {
			w.Error("what was idle when the server was down is not verified")
		}
	})
}

func TestWhoDoesNotWaitFindsTheSeatsOfOthers(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		w.idle("a", 1)
		w.idle("b", 1)
		w.server.since()
		c := w.try(background, "c", actor.Wait{NoWait: true})
		w.happened("close a make_room")
		c.granted()
		d := w.try(background, "d", actor.Wait{NoWait: true})
		w.limit(w.try(background, "e", actor.Wait{NoWait: true}).refused(0))
		d.granted()
	})
}

func TestLoweredLimitsCloseTheLeastRecentlyUsedOfTheSeats(t *testing.T) {
	test(t, few(6, 3), func(w *world) {
		var leases [6]actor.Lease
		for i, id := range []model.WorkspaceID{"a", "a", "a", "b", "b", "c"} {
			leases[i] = w.acquire(id)
		}
		for _, i := range []int{3, 1, 2, 5, 4, 0} { // b a a c b a
			leases[i].Release(core.Clean)
			time.Sleep(time.Millisecond)
		}
		w.server.since()
		w.setLimits(6, 2)
		w.happened("close a shrink")
		w.setLimits(4, 2)
		w.happened("close b shrink")
		w.setLimits(3, 2)
		w.happened("close a shrink")
		w.setLimits(2, 1)
		w.happened("close c shrink")
		w.setLimits(1, 1)
		w.happened("close b shrink")
		if l := w.acquire("a"); l.Conn() != leases[0].Conn() {
			w.Error("it was not the one used last")
		}
	})
}

func TestTheLeastRecentlyUsedOneGivesWayWhereverItLies(t *testing.T) {
	test(t, few(4, 1), func(w *world) {
		for _, id := range []model.WorkspaceID{"a", "b", "c", "d"} {
			w.idle(id, 1)
		}
		w.stats() // they are no longer in seats
		for _, id := range []model.WorkspaceID{"b", "a"} {
			l := w.acquire(id)
			time.Sleep(time.Millisecond)
			l.Release(core.Clean)
		}
		l := w.seated("b")
		time.Sleep(time.Millisecond)
		l.Release(core.Clean)
		w.server.since()
		var all []*attempt
		for _, id := range []model.WorkspaceID{"e", "f", "g", "h"} {
			all = append(all, w.tryFor(time.Minute, id))
		}
		w.happened("close c make_room", "close d make_room", "close a make_room", "close b make_room")
		for _, a := range all {
			a.granted()
		}
	})
}

// A slot may be wanted because of something else than an acquire.
func TestSeatsAreLookedIntoWhenADialMayFollowTheLast(t *testing.T) {
	test(t, few(2, 1, func(l *model.Limits) { l.MaxDialing = 1 }), func(w *world) {
		w.idle("a", 1)
		b, c := w.tryFor(0, "b"), w.tryFor(0, "c")
		l := w.seated("a") // nothing can be dialed for c
		l.Release(core.Clean)
		b.granted()
		c.granted()
		if want := 2*w.server.dialTakes + w.server.closeTakes; c.took != want {
			w.Errorf("it took %v, want %v", c.took, want)
		}
	})
}

func TestSeatsAreLookedIntoWhenABackOffIsOver(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		a := w.acquire("a")
		w.server.refuse = func(attempt int, _ model.WorkspaceID) error {
			if attempt == 2 {
				return failure{model.Transient}
			}
			return nil
		}
		b := w.tryFor(0, "b")
		time.Sleep(w.server.dialTakes)
		w.server.dialTakes = 0
		w.acquire("c") // it has the slot
		a.Release(core.Clean)
		l := w.seated("a")
		l.Release(core.Clean)
		b.granted()
		if most := 20*time.Millisecond + w.server.closeTakes; b.took > most {
			w.Errorf("it took %v", b.took)
		}
	})
}
