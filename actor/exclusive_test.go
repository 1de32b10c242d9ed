package actor_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func (w *world) alone(ctx context.Context, id model.WorkspaceID) *attempt {
	return w.try(ctx, id, actor.Wait{Exclusive: true})
}

func TestAnExclusiveLeaseIsAloneAndItsConnectionIsForNobodyElse(t *testing.T) {
	test(t, few(4, 3), func(w *world) {
		held := w.acquire("a")
		w.idle("a", 1) // in a seat
		alone := w.alone(background, "a")
		other := w.tryFor(0, "a")
		time.Sleep(time.Minute)
		if !alone.waits() || !other.waits() {
			w.Fatal("somebody was served while a lease was out")
		}
		held.Release(core.Clean)
		alone.granted()
		w.counts(model.Counts{InUse: 1, Waiting: 1})
		w.notSeated("a")
		time.Sleep(time.Minute)
		if !other.waits() {
			w.Fatal("somebody else was served")
		}
		alone.lease.Release(core.Clean)
		w.notSeated("a")
		if other.granted() == alone.lease.Conn() {
			w.Error("the connection was lent again")
		}
		if closes := alone.lease.Conn().(*connection).closes; !slices.Equal(closes, []model.CloseReason{model.NotReusable}) {
			w.Errorf("its connection was closed: %v", closes)
		}
		other.lease.Release(core.Clean)
		w.seated("a") // all is as before
	})
}

func TestAnExclusiveLeaseEndsInNoSeat(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		alone := w.alone(background, "a")
		alone.granted()
		alone.lease.Release(core.Clean)
		w.notSeated("a")
		w.happened("dial a", "opened a", "close a not_reusable")
	})
}

func TestAnExclusiveLeaseIsGrantedInAPauseAndDoesNotEndIt(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		w.pause(background, "a").ended(0, 0)
		alone := w.alone(background, "a")
		alone.granted()
		second := w.alone(background, "a")
		w.resume("a")
		other := w.tryFor(0, "a")
		if !second.waits() || !other.waits() {
			w.Fatal("a resume ended an exclusive lease")
		}
		w.pause(background, "b").ended(0, 0)
		alone.lease.Release(core.Clean)
		second.granted()
		pause := w.pause(background, "a")
		second.lease.Release(core.Clean)
		<-pause.done
		if !other.waits() {
			w.Fatal("an exclusive lease ended a pause")
		}
		w.resume("a")
		other.granted()
	})
}

func TestAnExclusiveAcquireWhoseTimeEndsLetsTheOthersIn(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		w.acquire("a")
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		alone := w.alone(ctx, "a")
		other := w.tryFor(0, "a")
		w.wraps(alone.refused(time.Second), model.ErrInUse, context.DeadlineExceeded)
		other.granted()
	})
}

// Some want to be alone while others hand connections on through the seats, and
// somebody pauses and resumes.
func TestWhoeverAsksToBeAloneIsAlone(t *testing.T) {
	for _, test := range []struct{ budget, perWorkspace, callers int }{{1, 1, 3}, {4, 4, 6}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			server, s := startKeen(t, few(test.budget, test.perWorkspace), false)
			var all sync.WaitGroup
			var inside, seated atomic.Int64
			const alone = 1000
			for i := range test.callers {
				all.Go(func() {
					for range 500 {
						asked, weight := server.now(), int64(1)
						l, ok := s.AcquireSeated(first, "a")
						if ok {
							seated.Add(1)
						} else {
							wait := actor.Wait{Exclusive: i < 2 && rand.IntN(10) == 0}
							if wait.Exclusive {
								weight = alone
							}
							var err error
							if l, err = s.Acquire(background, first, "a", wait); err != nil {
								t.Error(err)
								return
							}
						}
						if n := inside.Add(weight); n >= alone && n != alone {
							t.Errorf("somebody is alone with %d others", n-alone)
						}
						if c := l.Conn().(*keenConn); weight == alone && len(c.leases) > 0 {
							t.Error("an exclusive lease has a used connection")
						}
						server.use(&l, "a", asked, func() { inside.Add(-weight) }, core.Clean)
					}
				})
			}
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(background, time.Millisecond)
					_, _ = s.Pause(ctx, first, "a")
					cancel()
					if err := s.Resume(background, first, "a"); err != nil {
						t.Error(err)
					}
					dawdle(background)
				}
			}()
			finish(t, "somebody waits", finished(&all))
			close(stop)
			<-stopped
			t.Logf("%d dials, %d leases from seats", server.dials.Load(), seated.Load())
			if err := s.Drain(background); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t)
		})
	}
}
