package actor_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// seated acquires what the last holder has left in a seat.
func (w *world) seated(id model.WorkspaceID) actor.Lease {
	w.Helper()
	l, ok := w.AcquireSeated(first, id)
	if !ok {
		w.Fatalf("no connection of %s lies in a seat", id)
	}
	w.leases = append(w.leases, l)
	if c := l.Conn().(*connection); c.workspace != id {
		w.Fatalf("acquire %s: got a connection of %s", id, c.workspace)
	}
	return l
}

// notSeated wants no seat to be used, now and when nothing more happens.
func (w *world) notSeated(id model.WorkspaceID) {
	w.Helper()
	for range 2 {
		if l, ok := w.AcquireSeated(first, id); ok {
			w.leases = append(w.leases, l)
			w.Fatalf("a connection of %s lay in a seat", id)
		}
		synctest.Wait()
	}
}

func TestAConnectionGoesToTheNextHolderWithoutAMessage(t *testing.T) {
	testShares(t, []model.Limits{few(3, 3), few(3, 3)}, func(w *world) {
		w.notSeated("a")
		l := w.acquire("a")
		w.notSeated("a") // it is lent
		l.Release(core.Clean)
		w.notSeated("b")
		if _, ok := w.AcquireSeated(second, "a"); ok {
			w.Error("the other share has it")
		}
		again := w.seated("a")
		if again.Conn() != l.Conn() || again.Verify() || again.Waited() != 0 {
			w.Errorf("it got %+v, and not %+v", again.Conn(), l.Conn())
		}
		w.notSeated("a")
		again.Release(core.Clean)
		if l := w.acquire("a"); l.Conn() != again.Conn() { // this way, too
			w.Error("it was not the one in the seat")
		}
		w.happened("dial a", "opened a")
	})
}

func TestNoSeatIsUsedFor(t *testing.T) {
	for name, f := range map[string]func(w *world){
		"a connection that is not clean": func(w *world) {
			l := w.acquire("a")
			l.Release(core.Unclean)
			w.notSeated("a")
			w.happened("dial a", "opened a", "close a not_reusable")
		},
		"a connection that is lost": func(w *world) {
			l := w.acquire("a")
			l.Release(core.Lost)
			w.notSeated("a")
			w.happened("dial a", "opened a", "close a not_reusable")
		},
		"a connection whose lifetime is over": func(w *world) {
			l := w.acquire("a")
			time.Sleep(time.Hour)
			l.Release(core.Clean)
			w.notSeated("a")
			w.happened("dial a", "opened a", "close a lifetime_over")
		},
		"a workspace with a waiter": func(w *world) {
			l, other := w.acquire("a"), w.acquire("a")
			waiter := w.tryFor(0, "a")
			l.Release(core.Clean)
			w.notSeated("a") // it would overtake
			waiter.granted()
			other.Release(core.Clean) // and now nobody waits
			w.seated("a")
		},
		"a workspace with a waiter for whom it dials": func(w *world) {
			l := w.acquire("a")
			waiter := w.tryFor(0, "a")
			l.Release(core.Clean)
			w.notSeated("a")
			if waiter.granted() != l.Conn() || waiter.took != 0 {
				w.Error("it waited for the dial")
			}
		},
		"a workspace while another one needs a slot": func(w *world) {
			a, b, c := w.acquire("a"), w.acquire("b"), w.acquire("c")
			d, e := w.tryFor(0, "d"), w.tryFor(0, "e")
			w.server.since()
			a.Release(core.Clean)
			w.notSeated("a")
			w.happened("close a make_room")
			time.Sleep(time.Second)
			d.granted()
			b.Release(core.Clean)
			w.notSeated("b")
			e.granted()
			c.Release(core.Clean) // and now nobody needs one
			w.seated("c")
		},
		"a workspace that pauses": func(w *world) {
			l := w.acquire("a")
			pause := w.pause(background, "a")
			l.Release(core.Clean)
			w.notSeated("a")
			<-pause.done
			w.resume("a")
			l = w.acquire("a")
			l.Release(core.Clean)
			w.seated("a")
		},
		"a workspace above a lowered cap": func(w *world) {
			l, other := w.acquire("a"), w.acquire("a")
			w.setLimits(3, 1)
			l.Release(core.Clean)
			w.notSeated("a")
			other.Release(core.Clean) // this one fits
			w.seated("a")
			w.happened("dial a", "opened a", "dial a", "opened a", "close a shrink")
		},
		"a budget that was lowered": func(w *world) {
			a, b := w.acquire("a"), w.acquire("b")
			w.setLimits(1, 1)
			synctest.Wait() // it answers before it raises short, and then recalls what was left in a seat
			a.Release(core.Clean)
			w.notSeated("a")
			b.Release(core.Clean)
			w.seated("b")
		},
		"a supervisor that drains": func(w *world) {
			l := w.acquire("a")
			ended := w.drain(background)
			l.Release(core.Clean)
			w.notSeated("a")
			w.drained(ended)
		},
	} {
		t.Run(name, func(t *testing.T) {
			limits := few(3, 2, func(l *model.Limits) { l.MaxLifetime = time.Hour })
			test(t, limits, f)
		})
	}
}

func TestNoSeatsWhenTheyHadToBeLookedThroughAllTheTime(t *testing.T) {
	for _, change := range []func(*model.Limits){
		withIdleTime(9 * time.Millisecond),
		func(l *model.Limits) { l.VerifyAfter = 9 * time.Millisecond },
		func(l *model.Limits) { l.MaxLifetime = 99 * time.Millisecond },
	} {
		test(t, few(1, 1, change), func(w *world) {
			l := w.acquire("a")
			l.Release(core.Clean)
			w.notSeated("a")
			if l := w.acquire("a"); l.Conn().(*connection).number != 1 {
				w.Error("it was not lent again")
			}
		})
	}
}

func TestWhatWasSeatedIsServedToAWaiterOfAnotherWorkspace(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		a, b := w.acquire("a"), w.acquire("b")
		a.Release(core.Clean)
		b.Release(core.Clean)
		w.server.since()
		c := w.tryFor(0, "c")
		w.happened("close a make_room") // b was used later
		c.granted()
		w.acquire("b") // it is there still
		d := w.try(background, "d", actor.Wait{NoWait: true})
		w.limit(d.refused(0))
	})
}

func TestEveryConnectionIsFoundWhereverItLies(t *testing.T) {
	test(t, few(11, 11), func(w *world) {
		var leases []actor.Lease
		for range 11 {
			leases = append(leases, w.acquire("a"))
		}
		for _, l := range leases {
			l.Release(core.Clean)
		}
		seats := 0
		for ok := true; ok; seats++ {
			var l actor.Lease
			if l, ok = w.AcquireSeated(first, "a"); ok {
				w.leases = append(w.leases, l)
			}
		}
		if seats--; seats != 8 {
			w.Errorf("%d lay in seats", seats)
		}
		for range 11 - seats {
			w.acquire("a")
		}
		if n := w.server.dials(); n != 11 {
			w.Errorf("%d dials", n)
		}
		w.counts(model.Counts{InUse: 11})
	})
}

func TestAnOldLeaseDoesNotTouchTheNextHolder(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		old := w.acquire("a")
		same := old
		if old.Ended() {
			w.Error("it has not ended")
		}
		old.Release(core.Clean)
		if !old.Ended() || !same.Ended() {
			w.Error("it has ended")
		}
		next := w.seated("a")
		old.Release(core.Lost)
		same.Release(core.Clean)
		w.notSeated("a")
		if next.Ended() || !old.Ended() {
			w.Error("the wrong one has ended")
		}
		waiter := w.tryFor(0, "a")
		old.Release(core.Clean)
		if !waiter.waits() {
			w.Error("an old lease's connection was handed to a waiter")
		}
		next.Release(core.Clean)
		waiter.granted()
		st := w.stats()
		if c := st.Counters; c.StaleMessages != 3 || c.Acquires != 3 || c.Hits != 1 || c.HandOffs != 1 || st.InUse != 1 {
			w.Errorf("%+v", st)
		}
	})
}

func TestTheSeatsThatAreNeverNeededGrowOld(t *testing.T) {
	test(t, few(3, 3, withIdleTime(time.Minute)), func(w *world) {
		w.idle("a", 3)
		w.server.since()
		for range 61 {
			l := w.acquire("a")
			time.Sleep(time.Second)
			l.Release(core.Clean)
		}
		w.happened("close a idle_time_over", "close a idle_time_over", "closed a", "closed a")
		w.counts(model.Counts{Idle: 1})
	})
}

// LRU2: a's last use but one was later than b's, but only its seat knows.
func TestTheUseBeforeTheLastCountsWhereverItWas(t *testing.T) {
	test(t, few(2, 1, func(l *model.Limits) { l.Eviction = model.LRU2 }), func(w *world) {
		w.RecallSeldom()
		use := func(l actor.Lease) {
			time.Sleep(time.Millisecond)
			l.Release(core.Clean)
		}
		use(w.acquire("a"))
		use(w.acquire("b"))
		use(w.seated("b"))
		use(w.seated("a"))
		use(w.seated("a"))
		use(w.seated("b")) // used last, but before that earlier than a
		w.server.since()
		c := w.tryFor(time.Minute, "c")
		w.happened("close b make_room")
		c.granted()
	})
}
