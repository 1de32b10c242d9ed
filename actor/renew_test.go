package actor_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func (w *world) renew(ctx context.Context, id model.WorkspaceID) *operation {
	return w.operate(func() (int, error) { return w.Renew(ctx, first, id) })
}

func TestARenewClosesWhatNobodyHoldsAndWaitsForItsEnd(t *testing.T) {
	test(t, few(6, 6), func(w *world) {
		held := w.acquire("a")
		w.idle("a", 2) // in seats
		w.idle("b", 1)
		w.server.since()
		w.server.closeTakes = time.Minute
		renew := w.renew(background, "a")
		w.happened("close a renewed", "close a renewed")
		if l := w.acquire("a"); l.Conn() == held.Conn() { // traffic goes on meanwhile
			w.Error("a lent connection was lent again")
		}
		renew.ended(2, time.Minute)
		w.counts(model.Counts{InUse: 2, Idle: 1})
		w.renew(background, "nobody").ended(0, 0)
	})
}

func TestAStaleConnectionGoesThroughNoSeat(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		held := w.acquire("a")
		w.renew(background, "a").ended(0, 0)
		fresh := w.acquire("a")
		fresh.Release(core.Clean)
		w.notSeated("a") // every release is told while the stale one is out
		if l := w.acquire("a"); l.Conn() != fresh.Conn() {
			w.Error("the fresh connection was not kept")
		} else {
			l.Release(core.Clean)
		}
		w.server.since()
		held.Release(core.Clean)
		w.notSeated("a")
		w.happened("close a renewed")
		again := w.acquire("a")
		if again.Conn() != fresh.Conn() {
			w.Error("it is not the fresh one")
		}
		again.Release(core.Clean)
		w.seated("a") // and now nothing stale is left
	})
}

func TestASecondRenewMakesTheNewConnectionsStaleToo(t *testing.T) {
	test(t, few(3, 3), func(w *world) {
		one := w.acquire("a")
		w.renew(background, "a").ended(0, 0)
		two := w.acquire("a")
		w.renew(background, "a").ended(0, 0)
		w.server.since()
		one.Release(core.Clean)
		w.notSeated("a")
		two.Release(core.Clean)
		w.notSeated("a")
		w.happened("close a renewed", "close a renewed")
		l := w.acquire("a")
		l.Release(core.Clean)
		w.seated("a")
	})
}

func TestADialThatBeganBeforeARenewIsNotLent(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		waiter := w.tryFor(0, "a")
		w.renew(background, "a").ended(0, 0)
		waiter.granted()
		if want := 2*w.server.dialTakes + w.server.closeTakes; waiter.took != want {
			w.Errorf("it was served after %v, want %v: the old dial, its close and a new dial", waiter.took, want)
		}
		w.happened("dial a", "opened a", "close a renewed", "closed a", "dial a", "opened a")
	})
}

func TestARenewWhoseTimeEndsIsInForceAllTheSame(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		held := w.acquire("a")
		w.idle("a", 1)
		w.server.since()
		w.server.closeTakes = time.Minute
		ctx, cancel := context.WithTimeoutCause(background, time.Second, errReason)
		defer cancel()
		o := w.renew(ctx, "a")
		<-o.done
		w.wraps(o.err, context.DeadlineExceeded)
		if o.took != time.Second || o.closed != 0 {
			w.Errorf("it took %v and closed %d", o.took, o.closed)
		}
		held.Release(core.Clean)
		w.notSeated("a")
		w.happened("close a renewed", "close a renewed")
	})
}

func TestARenewOfAllIsForAllWorkspacesOfAllShares(t *testing.T) {
	testShares(t, []model.Limits{few(4, 2), few(2, 1)}, func(w *world) {
		w.idle("a", 1)
		held := w.acquire("b")
		l := w.acquireOf(second, "system")
		l.Release(core.Clean)
		events := w.watch(background, 100)
		w.servers[0].since()
		w.servers[1].since()
		renew := w.operate(func() (int, error) { return w.RenewAll(background) })
		renew.ended(2, w.server.closeTakes)
		held.Release(core.Clean)
		w.happened("close a renewed", "closed a", "close b renewed")
		if got := fmt.Sprint(w.servers[1].since()); got != "[close system renewed closed system]" {
			w.Errorf("the second server saw %s", got)
		}
		w.expect(events,
			model.Event{Kind: model.EventRenewed},
			model.Event{Kind: model.EventClosed, Workspace: "a", Reason: model.Renewed, IdleFor: w.server.dialTakes * 2},
			model.Event{Kind: model.EventRenewed},
			model.Event{Kind: model.EventClosed, Workspace: "system", Reason: model.Renewed},
			model.Event{Kind: model.EventClosed, Workspace: "b", Reason: model.Renewed})
	})
}

func TestARenewAfterTheEndSaysSo(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.drained(w.drain(background))
		_, err := w.Renew(background, first, "a")
		w.wraps(err, model.ErrClosed)
		_, err = w.RenewAll(background)
		w.wraps(err, model.ErrClosed)
	})
}

// Callers hand connections on through the seats as fast as they can, while somebody
// renews: whoever asks after a Renew has returned holds no connection that was
// there before it.
func TestWhoAsksAfterARenewGetsAFreshConnection(t *testing.T) {
	for _, test := range []struct {
		budget, perWorkspace, workspaces, callers int
		slow                                      bool
	}{{1, 1, 1, 2, false}, {4, 2, 2, 4, false}, {8, 4, 2, 8, true}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			server, s := startKeen(t, few(test.budget, test.perWorkspace), test.slow)
			renewed := make([]atomic.Int64, test.workspaces) // when the last Renew that has returned began
			name := func(n int) model.WorkspaceID { return model.WorkspaceID(fmt.Sprintf("w%d", n)) }
			var all sync.WaitGroup
			var seated atomic.Int64
			stop := make(chan struct{})
			for range test.callers {
				all.Go(func() {
					for range 2000 {
						n := rand.IntN(test.workspaces)
						since, asked := time.Duration(renewed[n].Load()), server.now()
						l, ok := s.AcquireSeated(first, name(n))
						if ok {
							seated.Add(1)
						} else {
							var err error
							if l, err = s.Acquire(background, first, name(n), actor.Wait{}); err != nil {
								t.Error(err)
								return
							}
						}
						if c := l.Conn().(*keenConn); c.dialed < since {
							t.Errorf("a connection dialed at %v was lent at %v, after a Renew at %v", c.dialed, asked, since)
						}
						server.use(&l, name(n), asked, func() {}, core.Clean)
					}
				})
			}
			renewing := make(chan struct{})
			renewals := 0
			go func() {
				defer close(renewing)
				for ; ; renewals++ {
					select {
					case <-stop:
						return
					default:
					}
					n, began := rand.IntN(test.workspaces), server.now()
					var err error
					if rand.IntN(4) > 0 {
						_, err = s.Renew(background, first, name(n))
						renewed[n].Store(int64(began))
					} else {
						_, err = s.RenewAll(background)
						for n := range renewed {
							renewed[n].Store(int64(began))
						}
					}
					if err != nil {
						t.Error(err)
					}
					dawdle(background)
				}
			}()
			finish(t, "somebody waits", finished(&all))
			close(stop)
			<-renewing
			t.Logf("%d renewals, %d dials, %d leases from seats", renewals, server.dials.Load(), seated.Load())
			if err := s.Drain(background); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t)
		})
	}
}
