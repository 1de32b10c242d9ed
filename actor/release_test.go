package actor_test

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func TestASecondReleaseChangesNothingButACounter(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		l := w.acquire("a")
		same := l // its copies are the same lease
		l.Release(core.Clean)
		l.Release(core.Clean)
		same.Release(core.Lost)
		w.counts(model.Counts{Idle: 1})
		if n := w.stats().Counters.StaleMessages; n != 2 {
			w.Errorf("%d stale messages", n)
		}
	})
}

func TestAStaleReleaseDoesNotTakeTheConnectionFromItsNewHolder(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		old := w.acquire("a")
		waiter := w.tryFor(0, "a")
		third := w.tryFor(time.Second, "a")
		old.Release(core.Clean)
		waiter.granted()
		old.Release(core.Unclean)
		w.counts(model.Counts{InUse: 1, Waiting: 1})
		third.refused(time.Second)
	})
}

func TestAReleaseOfAConnectionThatIsGoneIsStale(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		old := w.acquire("a")
		old.Release(core.Clean)
		w.acquire("b") // evicts it
		old.Release(core.Lost)
		w.counts(model.Counts{InUse: 1})
		if n := w.stats().Counters.StaleMessages; n != 1 {
			w.Errorf("%d stale messages", n)
		}
	})
}

func TestAReleaseAfterDrainBeganClosesTheConnection(t *testing.T) {
	test(t, few(3, 3), func(w *world) {
		leases := map[core.Health]func(core.Health){}
		for _, h := range []core.Health{core.Clean, core.Unclean, core.Lost} {
			l := w.acquire("a")
			leases[h] = l.Release
		}
		w.server.since()
		drained := make(chan error)
		go func() { drained <- w.Drain(background) }()
		time.Sleep(time.Minute)
		for _, h := range []core.Health{core.Clean, core.Unclean, core.Lost} {
			w.happened()
			leases[h](h)
			w.happened("close a drain_asked")
			time.Sleep(w.server.closeTakes)
			w.happened("closed a")
		}
		if err := <-drained; err != nil {
			w.Error(err)
		}
	})
}

func TestReleasesFasterThanTheSupervisorAreAllReceived(t *testing.T) {
	const many = 3000 // far more than the mailbox has room for
	limits := few(many, many, func(l *model.Limits) { l.MaxDialing, l.MaxWaiters = many, many })
	limits.MaxWaitersPerWorkspace = many
	test(t, limits, func(w *world) {
		leases := gather(many, func(int) actor.Lease {
			l, err := w.Acquire(background, first, "a", actor.Wait{})
			if err != nil {
				w.Error(err)
			}
			return l
		})
		for i := range leases {
			leases[i].Release(core.Clean)
		}
		w.counts(model.Counts{Idle: many})
	})
}

func TestReleasesAfterTheEndReturn(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		l := w.acquire("a")
		l.Release(core.Clean)
		if err := w.Drain(background); err != nil {
			w.Fatal(err)
		}
		for range 1000 { // more than the mailbox has room for
			l.Release(core.Lost)
		}
	})
}
