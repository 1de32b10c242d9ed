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

// operation is an Evict or a Pause on a goroutine of its own.
type operation struct {
	w      *world
	done   chan struct{}
	closed int
	err    error
	took   time.Duration
}

func (w *world) operate(f func() (int, error)) *operation {
	o := &operation{w: w, done: make(chan struct{})}
	begin := time.Now()
	go func() {
		defer close(o.done)
		o.closed, o.err = f()
		o.took = time.Since(begin)
	}()
	synctest.Wait()
	return o
}

func (w *world) evict(ctx context.Context, id model.WorkspaceID) *operation {
	return w.operate(func() (int, error) { return w.Evict(ctx, first, id) })
}

func (w *world) pause(ctx context.Context, id model.WorkspaceID) *operation {
	return w.operate(func() (int, error) { return w.Pause(ctx, first, id) })
}

func (w *world) resume(id model.WorkspaceID) {
	w.Helper()
	if err := w.Resume(background, first, id); err != nil {
		w.Error(err)
	}
}

// setLimits takes a budget and a cap for each share.
func (w *world) setLimits(limits ...int) {
	w.Helper()
	var all []core.SetLimits
	for i := 0; i < len(limits); i += 2 {
		all = append(all, core.SetLimits{Budget: limits[i], PerWorkspace: limits[i+1]})
	}
	if err := w.SetLimits(background, all...); err != nil {
		w.Error(err)
	}
}

// ended waits for the operation, which must succeed.
func (o *operation) ended(closed int, took time.Duration) {
	o.w.Helper()
	<-o.done
	if o.err != nil || o.closed != closed || o.took != took {
		o.w.Errorf("it closed %d in %v with error %v, want %d in %v", o.closed, o.took, o.err, closed, took)
	}
}

func TestAnEvictCountsTheIdleConnectionsAndWaitsForTheirEnd(t *testing.T) {
	test(t, few(6, 6), func(w *world) {
		held := w.acquire("a")
		w.idle("a", 3)
		w.idle("b", 2)
		w.server.closeTakes = time.Minute
		w.evict(background, "a").ended(3, time.Minute)
		w.counts(model.Counts{InUse: 1, Idle: 2})
		held.Release(core.Clean)
		w.counts(model.Counts{Idle: 3})
		w.evict(background, "nobody").ended(0, 0)
	})
}

func TestASecondEvictDoesNotWaitForTheFirst(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		held := w.acquire("a")
		w.idle("a", 1)
		w.server.closeTakes = time.Minute
		one := w.evict(background, "a")
		time.Sleep(time.Second)
		held.Release(core.Clean)
		w.evict(background, "a").ended(1, time.Minute)
		one.ended(1, time.Minute)
	})
}

func TestAnEvictWhoseTimeEndsClosesAllTheSame(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.idle("a", 1)
		w.server.closeTakes = time.Minute
		ctx, cancel := context.WithTimeoutCause(background, time.Second, errReason)
		defer cancel()
		o := w.evict(ctx, "a")
		<-o.done
		w.wraps(o.err, context.DeadlineExceeded)
		if o.took != time.Second || o.closed != 0 {
			w.Errorf("it took %v and closed %d", o.took, o.closed)
		}
		w.counts(model.Counts{Closing: 1})
		time.Sleep(time.Minute)
		w.counts(model.Counts{})
	})
}

func TestAPauseWaitsForTheLeasesAndTheClosesAndKeepsAcquiresWaiting(t *testing.T) {
	test(t, few(5, 5), func(w *world) {
		held := w.acquire("a")
		w.idle("a", 2)
		w.idle("b", 1)
		w.server.closeTakes = time.Second
		pause := w.pause(background, "a")
		waiter := w.tryFor(0, "a")
		time.Sleep(time.Minute)
		w.counts(model.Counts{InUse: 1, Idle: 1, Waiting: 1})
		held.Release(core.Clean)
		pause.ended(3, time.Minute+time.Second)
		w.counts(model.Counts{Idle: 1, Waiting: 1})
		time.Sleep(time.Hour)
		if !waiter.waits() {
			w.Fatal("a paused workspace was served")
		}
		w.server.since()
		w.resume("a")
		waiter.granted()
		w.happened("dial a", "opened a")
	})
}

func TestAPauseClosesWhatIsBeingDialed(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.dialTakes = time.Minute
		waiter := w.tryFor(0, "a")
		w.pause(background, "a").ended(1, time.Minute+w.server.closeTakes)
		if !waiter.waits() {
			w.Fatal("a paused workspace was served")
		}
		w.resume("a")
		waiter.granted()
	})
}

func TestAPauseWhoseTimeEndsPausesAllTheSame(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		ctx, cancel := context.WithCancelCause(background)
		o := w.pause(ctx, "a")
		cancel(errReason)
		<-o.done
		w.wraps(o.err, context.Canceled)
		waiter := w.tryFor(0, "a")
		held.Release(core.Clean)
		time.Sleep(time.Minute)
		w.counts(model.Counts{Waiting: 1})
		w.resume("a")
		waiter.granted()
	})
}

func TestAResumeEndsAPauseThatIsUnderWay(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		pause := w.pause(background, "a")
		waiter := w.tryFor(0, "a")
		w.resume("a")
		<-pause.done
		held.Release(core.Clean) // it was there at the pause, so it closes
		if waiter.granted() == held.Conn() {
			w.Error("a connection from before the pause was lent after it")
		}
	})
}

func TestAConnectionFromBeforeAPauseGoesThroughNoSeatAfterTheResume(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		held := w.acquire("a")
		pause := w.pause(background, "a")
		w.resume("a")
		<-pause.done
		w.server.since()
		held.Release(core.Clean)
		w.notSeated("a")
		w.happened("close a renewed")
	})
}

func TestOperationsUnderWayAreAnsweredByADrain(t *testing.T) {
	test(t, few(3, 3), func(w *world) {
		w.server.closeTakes = time.Minute
		held := w.acquire("a")
		w.idle("b", 2)
		pause := w.pause(background, "a")
		evict := w.evict(background, "b")
		ended := w.drain(background)
		evict.ended(2, time.Minute)
		held.Release(core.Clean)
		pause.ended(1, 2*time.Minute)
		w.drained(ended)
	})
}

func TestTheAnswerOfAnOperationIsNotLostWhenTheSupervisorStops(t *testing.T) {
	for range 20 { // so that both ends of the race are seen
		test(t, few(2, 2), func(w *world) {
			w.idle("a", 2)
			end := func() {
				if err := w.Drain(background); err != nil {
					w.Error(err)
				}
			}
			if n, err := w.Evict(atDone{background, end}, first, "a"); n != 2 || err != nil {
				w.Errorf("it closed %d, error %v", n, err)
			}
		})
	}
}

func TestAnAnswerThatComesTogetherWithTheContextsEndCounts(t *testing.T) {
	for range 20 { // a select with two ready cases would choose either
		test(t, few(2, 2), func(w *world) {
			together := func(after time.Duration) context.Context {
				ctx, cancel := context.WithCancel(background)
				return atDone{ctx, func() {
					time.Sleep(after)
					synctest.Wait()
					cancel()
				}}
			}
			w.idle("a", 2)
			if n, err := w.Evict(together(w.server.closeTakes), first, "a"); n != 2 || err != nil {
				w.Errorf("the evict closed %d, error %v", n, err)
			}
			w.idle("a", 1)
			if n, err := w.Pause(together(w.server.closeTakes), first, "a"); n != 1 || err != nil {
				w.Errorf("the pause closed %d, error %v", n, err)
			}
			if st, err := w.Stats(together(0)); len(st.Shares) != 1 || err != nil {
				w.Errorf("the stats are of %d shares, error %v", len(st.Shares), err)
			}
		})
	}
}

func TestARaisedBudgetServesTheWaitersAtOnce(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.acquire("a")
		other, same := w.tryFor(0, "b"), w.tryFor(0, "a")
		time.Sleep(time.Second)
		w.setLimits(2, 1)
		other.granted()
		if other.took != time.Second+w.server.dialTakes {
			w.Errorf("it took %v", other.took)
		}
		if !same.waits() {
			w.Fatal("the cap was not kept")
		}
		w.setLimits(3, 2)
		same.granted()
	})
}

func TestALoweredBudgetClosesWhatIsIdleNowAndWhatIsLentLater(t *testing.T) {
	test(t, few(4, 2), func(w *world) {
		one, two := w.acquire("a"), w.acquire("a")
		w.idle("b", 2)
		w.server.since()
		w.setLimits(1, 1)
		w.happened("close b shrink", "close b shrink")
		time.Sleep(time.Minute)
		w.counts(model.Counts{InUse: 2})
		one.Release(core.Clean)
		w.happened("closed b", "closed b", "close a shrink")
		two.Release(core.Clean)
		time.Sleep(time.Minute)
		w.counts(model.Counts{Idle: 1})
		if st := w.stats(); st.Budget != 1 || st.PerWorkspace != 1 || st.EffectiveBudget != 1 {
			w.Errorf("the limits are %d, %d, %d", st.Budget, st.EffectiveBudget, st.PerWorkspace)
		}
	})
}

func TestTheSharesHaveTheirOwnLimitsPausesAndConnections(t *testing.T) {
	testShares(t, []model.Limits{few(2, 2), few(1, 1)}, func(w *world) {
		w.idle("a", 2)
		same := w.acquireOf(second, "a")
		same.Release(core.Clean)
		w.setLimits(2, 2, 5, 5)
		w.evict(background, "a").ended(2, w.server.closeTakes)
		w.pause(background, "a").ended(0, 0)
		waiter := w.try(background, "a", actor.Wait{})
		if hit := w.acquireOf(second, "a"); hit.Conn() != same.Conn() {
			w.Error("the second share lost its connection")
		}
		st, err := w.Stats(background)
		if err != nil {
			w.Fatal(err)
		}
		if a, b := st.Shares[first], st.Shares[second]; a.Budget != 2 || a.Waiting != 1 || b.Budget != 5 || b.InUse != 1 {
			w.Errorf("the shares are %+v and %+v", a, b)
		}
		w.resume("a")
		waiter.granted()
	})
}

func TestAWorkspaceIsActiveWhileItHasAConnectionOrAWaiter(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		is := func(id model.WorkspaceID, active, paused bool) {
			w.Helper()
			if a, p := w.Active(first, id), w.Paused(first, id); a != active || p != paused {
				w.Errorf("%s: active %v, paused %v", id, a, p)
			}
		}
		is("a", false, false)
		lease := w.acquire("a")
		is("a", true, false)
		waiter := w.tryFor(0, "b")
		is("b", true, false)
		lease.Release(core.Clean)
		waiter.granted()
		is("a", false, false) // evicted
		waiter.lease.Release(core.Clean)
		w.pause(background, "b")
		is("b", false, true)
		w.resume("b")
		is("b", false, false)
	})
}

func TestTheLimitsOfAWorkspaceHoldAtOnce(t *testing.T) {
	test(t, few(6, 3), func(w *world) {
		w.idle("a", 3) // in seats
		if err := w.SetWorkspaceLimits(background, first, "a", model.WorkspaceLimits{Cap: 1}); err != nil {
			t.Fatal(err)
		}
		w.happened("dial a", "opened a", "dial a", "opened a", "dial a", "opened a", "close a shrink", "close a shrink")
		lease := w.acquire("b")
		w.acquire("b")
		time.Sleep(time.Second)
		w.server.since()
		if err := w.SetWorkspaceLimits(background, first, "b", model.WorkspaceLimits{Cap: 1}); err != nil {
			t.Fatal(err)
		}
		lease.Release(core.Clean) // closed, and not left in a seat
		w.happened("close b shrink")
	})
}
