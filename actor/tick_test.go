package actor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// In these tests nobody says anything to the supervisor while time passes: what
// happens is up to its timer.

func TestAConnectionIsClosedWhenItsIdleTimeIsOver(t *testing.T) {
	test(t, few(2, 2, withIdleTime(time.Minute)), func(w *world) {
		w.idle("a", 1)
		time.Sleep(30 * time.Second)
		w.idle("b", 1)
		w.server.since()
		time.Sleep(30*time.Second - w.server.dialTakes - 1)
		w.happened()
		time.Sleep(time.Nanosecond)
		w.happened("close a idle_time_over")
		time.Sleep(30*time.Second + w.server.dialTakes - 1)
		w.happened("closed a")
		time.Sleep(time.Nanosecond)
		w.happened("close b idle_time_over")
	})
}

func TestAUseBeginsTheIdleTimeAnew(t *testing.T) {
	test(t, few(2, 2, withIdleTime(time.Minute)), func(w *world) {
		w.idle("a", 1)
		for range 5 {
			time.Sleep(time.Minute - 1)
			l := w.acquire("a")
			time.Sleep(time.Hour) // a lease may take its time
			l.Release(core.Clean)
			synctest.Wait()
		}
		if n := w.server.dials(); n != 1 {
			w.Errorf("%d dials", n)
		}
		w.server.since()
		time.Sleep(time.Minute)
		w.happened("close a idle_time_over")
	})
}

func TestAnIdleConnectionIsClosedWhenItsLifetimeIsOverAndALentOneOnItsRelease(t *testing.T) {
	limits := few(2, 2, func(l *model.Limits) { l.MaxLifetime = time.Hour })
	test(t, limits, func(w *world) {
		held := w.acquire("a")
		w.idle("b", 1)
		w.server.since()
		time.Sleep(54*time.Minute - time.Second) // an hour less up to a tenth
		w.happened()
		time.Sleep(6*time.Minute + 2*time.Second)
		w.happened("close b lifetime_over", "closed b")
		time.Sleep(time.Hour)
		w.happened()
		held.Release(core.Clean)
		w.happened("close a lifetime_over")
	})
}

func TestATickThatIsWantedSoonerThanTheOneSetComesInTime(t *testing.T) {
	limits := few(3, 3, withIdleTime(time.Hour), withBackoff(time.Second, time.Second))
	test(t, limits, func(w *world) {
		w.idle("a", 1) // sets the timer an hour ahead
		w.server.refuse = refuseFirst(2, failure{model.Transient})
		retried := w.tryFor(0, "b")
		retried.granted()
		if retried.took > time.Second+2*w.server.dialTakes {
			w.Errorf("it took %v", retried.took)
		}
		w.server.since()
		time.Sleep(time.Hour) // and the later one still comes
		w.happened("close a idle_time_over", "closed a")
	})
}

func TestATickThatIsWantedLaterThanTheOneSetComesInTime(t *testing.T) {
	test(t, few(3, 3, withIdleTime(time.Minute)), func(w *world) {
		w.idle("a", 1)
		time.Sleep(30 * time.Second)
		l := w.acquire("a") // nothing is idle: no tick is wanted
		time.Sleep(time.Hour)
		l.Release(core.Clean)
		synctest.Wait()
		w.server.since()
		time.Sleep(time.Minute - 1)
		w.happened()
		time.Sleep(time.Nanosecond)
		w.happened("close a idle_time_over")
	})
}

func TestALingeringCloseIsNotCountedOn(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		w.idle("a", 1)
		time.Sleep(time.Second)
		w.idle("b", 1)
		w.server.closeTakes = time.Hour
		waiter := w.tryFor(0, "c")
		w.counts(model.Counts{Idle: 1, Closing: 1, Waiting: 1})
		time.Sleep(100*time.Millisecond - 1)
		w.counts(model.Counts{Idle: 1, Closing: 1, Waiting: 1})
		w.server.closesIn(time.Millisecond)
		time.Sleep(time.Nanosecond) // the grace is over
		w.counts(model.Counts{Closing: 2, Waiting: 1})
		waiter.granted()
		if want := 101*time.Millisecond + w.server.dialTakes; waiter.took != want {
			w.Errorf("it took %v, want %v", waiter.took, want)
		}
	})
}

func TestEachShareHasItsTicks(t *testing.T) {
	limits := []model.Limits{few(1, 1, withIdleTime(time.Hour)), few(1, 1, withIdleTime(time.Minute))}
	testShares(t, limits, func(w *world) {
		for range 3 {
			w.idle("a", 1)
			l := w.acquireOf(second, "sys")
			l.Release(core.Clean)
			synctest.Wait()
			w.servers[first].since()
			w.servers[second].since()
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := w.servers[second].since(); len(got) != 1 || got[0] != "close sys idle_time_over" {
				w.Errorf("the second share saw %v", got)
			}
			w.happened()
			time.Sleep(time.Hour)
			w.happened("close a idle_time_over", "closed a")
		}
	})
}

func TestWithNothingToDoTheTimerStandsStill(t *testing.T) {
	test(t, few(2, 2, withIdleTime(time.Minute)), func(w *world) {
		l := w.acquire("a")
		time.Sleep(time.Hour) // while a lease is out, the seats are looked through
		l.Release(core.Clean)
		time.Sleep(100 * 365 * 24 * time.Hour)
		w.acquire("a")
		if n := w.server.dials(); n != 2 {
			w.Errorf("%d dials", n)
		}
	})
}
