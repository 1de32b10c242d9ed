package actor_test

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func (w *world) batch(id model.WorkspaceID) *attempt {
	return w.try(background, id, actor.Wait{Batch: true})
}

// The core must know of every slot that batch work has, so its leases come from no seat
// and end in none.
func TestBatchWorkUsesNoSeats(t *testing.T) {
	test(t, few(4, 3), func(w *world) {
		w.idle("a", 1)
		batch := w.batch("a")
		batch.granted()
		if st := w.stats(); st.Batch.InUse != 1 || st.Counters.Dials != 1 {
			w.Fatalf("the connection in the seat was not lent: %+v", st)
		}
		batch.lease.Release(core.Clean)
		w.notSeated("a")
		if st := w.stats(); st.Batch != (model.Counts{}) || st.Idle != 1 {
			w.Fatalf("it is not idle: %+v", st)
		}
		w.acquire("a")
		w.leases[len(w.leases)-1].Release(core.Clean)
		w.seated("a") // all is as before
	})
}

func TestBatchWorkLetsOthersGoFirst(t *testing.T) {
	test(t, few(2, 2, func(l *model.Limits) { l.BatchShare = 1 }), func(w *world) {
		first, second := w.batch("a"), w.batch("b")
		first.granted()
		second.granted()
		third := w.batch("a")
		other := w.try(background, "c", actor.Wait{})
		first.lease.Release(core.Clean)
		time.Sleep(time.Minute)
		other.granted()
		if !third.waits() {
			w.Fatal("batch work went first")
		}
		other.lease.Release(core.Clean)
		time.Sleep(time.Minute)
		third.granted()
		third.lease.Release(core.Clean)
		second.lease.Release(core.Clean)
	})
}

func TestBatchWorkKeepsToItsShare(t *testing.T) {
	test(t, few(4, 2, func(l *model.Limits) { l.BatchShare = 0.5 }), func(w *world) {
		first, second, third := w.batch("a"), w.batch("b"), w.batch("c")
		first.granted()
		second.granted()
		time.Sleep(time.Minute)
		if !third.waits() {
			w.Fatal("it holds more than its share")
		}
		first.lease.Release(core.Clean)
		third.granted()
		w.counts(model.Counts{Idle: 1, InUse: 2})
		third.lease.Release(core.Clean)
		second.lease.Release(core.Clean)
	})
}

// A workspace with more than its own cap has its seats closed, like one beyond that of all.
func TestALowerCapOfAWorkspaceReachesItsSeats(t *testing.T) {
	test(t, few(4, 3), func(w *world) {
		first, second := w.acquire("a"), w.acquire("a")
		third := w.try(background, "a", actor.Wait{Limits: model.WorkspaceLimits{Cap: 1}})
		first.Release(core.Clean)
		if !third.waits() {
			w.Fatal("it got a connection beyond the cap")
		}
		second.Release(core.Clean)
		third.granted()
		time.Sleep(time.Minute)
		w.counts(model.Counts{InUse: 1})
		third.lease.Release(core.Clean)
		w.seated("a")
	})
}
