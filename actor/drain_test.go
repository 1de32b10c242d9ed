package actor_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// drain begins to drain on a goroutine of its own.
func (w *world) drain(ctx context.Context) (ended chan error) {
	ended = make(chan error, 1)
	go func() { ended <- w.Drain(ctx) }()
	synctest.Wait()
	return ended
}

// stillDrains fails when the drain has ended.
func (w *world) stillDrains(ended chan error) {
	w.Helper()
	synctest.Wait()
	select {
	case err := <-ended:
		w.Fatalf("the drain ended too early, with %v", err)
	default:
	}
}

func (w *world) drained(ended chan error) {
	w.Helper()
	if err := <-ended; err != nil {
		w.Fatalf("the drain ended with %v", err)
	}
}

func TestADrainRefusesTheWaitersAndWaitsForTheLeases(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		one, two := w.acquire("a"), w.acquire("b")
		waiters := []*attempt{w.tryFor(0, "a"), w.tryFor(0, "b"), w.tryFor(0, "c")}
		ended := w.drain(background)
		for _, waiter := range waiters {
			w.wraps(waiter.refused(0), model.ErrClosed)
		}
		time.Sleep(time.Hour)
		one.Release(core.Clean)
		w.stillDrains(ended)
		time.Sleep(time.Hour)
		w.counts(model.Counts{InUse: 1})
		two.Release(core.Clean)
		w.stillDrains(ended)
		if d := took(func() { w.drained(ended) }); d != w.server.closeTakes {
			w.Errorf("it ended %v after the last lease, want %v", d, w.server.closeTakes)
		}
	})
}

func TestAnAcquireAfterDrainBeganIsRefused(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		l := w.acquire("a")
		ended := w.drain(background)
		w.wraps(w.tryFor(0, "a").refused(0), model.ErrClosed)
		w.wraps(w.try(background, "b", actor.Wait{NoWait: true}).refused(0), model.ErrClosed)
		l.Release(core.Clean)
		w.drained(ended)
		for range 600 { // more than the mailbox has room for
			w.wraps(w.tryFor(0, "a").refused(0), model.ErrClosed)
		}
	})
}

func TestARefusalBecauseOfADrainNamesTheWorkspace(t *testing.T) {
	const want = `acquire workspace "b": `
	named := func(err error) error {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q does not begin with %q", err, want)
		}
		return err
	}
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		waits := w.tryFor(0, "b")
		ended := w.drain(background)
		w.wraps(named(waits.refused(0)), model.ErrClosed)
		w.wraps(named(w.tryFor(0, "b").refused(0)), model.ErrClosed)
		held.Release(core.Clean)
		w.drained(ended)
		for range 600 { // more than the mailbox has room for
			w.wraps(named(w.tryFor(0, "b").refused(0)), model.ErrClosed)
		}
	})
}

func TestADrainClosesWhatIsIdleAtOnce(t *testing.T) {
	test(t, few(20, 20), func(w *world) {
		w.idle("a", 10)
		w.idle("b", 10)
		if d := took(func() { w.drained(w.drain(background)) }); d != w.server.closeTakes {
			w.Errorf("it took %v, want %v", d, w.server.closeTakes)
		}
	})
}

func TestADrainCallsDialsOff(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		w.server.dialTakes = time.Hour
		waiters := []*attempt{w.tryFor(0, "a"), w.tryFor(0, "b")}
		if d := took(func() { w.drained(w.drain(background)) }); d != 0 {
			w.Errorf("it took %v", d)
		}
		for _, waiter := range waiters {
			w.wraps(waiter.refused(0), model.ErrClosed)
		}
		if w.server.gaveUp != 2 {
			w.Errorf("%d dials ended with their context", w.server.gaveUp)
		}
	})
}

func TestAConnectionThatIsDialedAllTheSameIsClosed(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.dialTakes, w.server.stubborn = time.Hour, true
		waiter := w.tryFor(0, "a")
		w.server.since()
		begin := time.Now()
		ended := w.drain(background)
		w.wraps(waiter.refused(0), model.ErrClosed)
		w.stillDrains(ended)
		w.drained(ended)
		if d := time.Since(begin); d != w.server.dialTakes+w.server.closeTakes {
			w.Errorf("it took %v", d)
		}
		w.happened("opened a", "close a drain_asked", "closed a")
	})
}

func TestADrainEndsABackOffAndAPause(t *testing.T) {
	limits := few(2, 2, func(l *model.Limits) { l.BackoffMin, l.BackoffMax = time.Hour, time.Hour })
	test(t, limits, func(w *world) {
		w.server.refuse = refuseFirst(1, failure{model.ServerDown})
		retrying := w.tryFor(0, "a")
		if _, err := w.Pause(background, first, "b"); err != nil {
			w.Fatal(err)
		}
		paused := w.tryFor(0, "b")
		time.Sleep(time.Minute)
		if d := took(func() { w.drained(w.drain(background)) }); d != 0 {
			w.Errorf("it took %v", d)
		}
		w.wraps(retrying.refused(time.Minute), model.ErrClosed)
		w.wraps(paused.refused(time.Minute), model.ErrClosed)
	})
}

func TestADrainWhoseTimeEndsSaysWhatIsOpenAndGoesOn(t *testing.T) {
	test(t, few(5, 5), func(w *world) {
		w.server.closeTakes = time.Hour
		one, two := w.acquire("a"), w.acquire("b")
		w.idle("c", 3)
		ctx, cancel := context.WithTimeoutCause(background, time.Second, errReason)
		defer cancel()
		err := <-w.drain(ctx)
		w.wraps(err, context.DeadlineExceeded)
		for _, part := range []string{"2 connections are in use, 0 idle, 0 dialing, 3 closing", errReason.Error()} {
			if !strings.Contains(err.Error(), part) {
				w.Errorf("%q does not say %q", err, part)
			}
		}
		w.wraps(w.tryFor(0, "a").refused(0), model.ErrClosed)

		one.Release(core.Clean)
		two.Release(core.Clean)
		ended := w.drain(background)
		w.stillDrains(ended)
		w.drained(ended)
		w.drained(w.drain(background))
	})
}

func TestADrainWhoseTimeHasEndedBeginsAllTheSame(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.acquire("a")
		ctx, cancel := context.WithCancel(background)
		cancel()
		err := <-w.drain(ctx)
		w.wraps(err, context.Canceled)
		w.wraps(w.tryFor(0, "b").refused(0), model.ErrClosed)
	})
}

func TestADrainThatHasEndedIsNoErrorWhateverTheContext(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		w.drained(w.drain(background))
		ctx, cancel := context.WithCancel(background)
		cancel()
		for range 100 { // a select with two ready cases would choose either
			w.drained(w.drain(ctx))
		}
	})
}

func TestADrainWithNothingOpenEndsWhateverTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	for range 20 {
		testShares(t, []model.Limits{few(1, 1), few(1, 1)}, func(w *world) {
			w.drained(w.drain(ctx))
		})
	}
}

func TestADrainWhoseTimeEndsTellsIdleFromDialingAndClosing(t *testing.T) {
	testShares(t, []model.Limits{few(2, 2), few(3, 3)}, func(w *world) {
		w.acquire("a")
		w.idle("b", 1)
		w.acquireOf(second, "sys")
		w.server.closeTakes, w.servers[second].dialTakes = time.Minute, time.Minute
		go func() { // the second share serves until the first is empty
			l, _ := w.Acquire(background, second, "sys", actor.Wait{})
			l.Release(core.Clean)
		}()
		synctest.Wait()
		says := func(want string) {
			w.Helper()
			ctx, cancel := context.WithTimeout(background, time.Second)
			defer cancel()
			if err := <-w.drain(ctx); err == nil || !strings.Contains(err.Error(), want) {
				w.Errorf("%q does not say %q", err, want)
			}
		}
		says("2 connections are in use, 0 idle, 1 dialing, 1 closing")
		time.Sleep(time.Minute)
		says("2 connections are in use, 1 idle, 0 dialing, 0 closing")
	})
}

func TestManyDrainsAtOnceAllWaitForTheEnd(t *testing.T) {
	test(t, few(3, 3), func(w *world) {
		l := w.acquire("a")
		w.idle("b", 2)
		time.AfterFunc(time.Second, func() { l.Release(core.Clean) })
		for _, d := range gather(400, func(int) time.Duration {
			return took(func() {
				if err := w.Drain(background); err != nil {
					w.Error(err)
				}
			})
		}) {
			if d != time.Second+w.server.closeTakes {
				w.Fatalf("a drain took %v", d)
			}
		}
		if n := w.server.dials(); n != 3 {
			w.Errorf("%d dials", n)
		}
	})
}

func TestASupervisorThatDidNothingDrainsAtOnce(t *testing.T) {
	testShares(t, []model.Limits{few(1, 1), few(1, 1)}, func(w *world) {
		if d := took(func() { w.drained(w.drain(background)) }); d != 0 {
			w.Errorf("it took %v", d)
		}
	})
}

func TestTheSecondShareServesUntilTheFirstIsEmpty(t *testing.T) {
	testShares(t, []model.Limits{few(1, 1), few(2, 2)}, func(w *world) {
		system := w.servers[second]
		held := w.acquire("a")
		parked := w.acquireOf(second, "sys")
		parked.Release(core.Clean)
		ended := w.drain(background)
		time.Sleep(time.Minute)

		hit, fresh := w.acquireOf(second, "sys"), w.acquireOf(second, "sys")
		w.wraps(w.tryFor(0, "a").refused(0), model.ErrClosed)
		fresh.Release(core.Clean)
		system.since()

		held.Release(core.Clean)
		synctest.Wait()
		if got := system.since(); got != nil {
			w.Errorf("the second share saw %v although the first is not empty", got)
		}
		w.stillDrains(ended)
		time.Sleep(w.server.closeTakes) // now the first is empty
		synctest.Wait()
		if got := strings.Join(system.since(), "; "); got != "close sys drain_asked" {
			w.Errorf("the second share saw %q when the first was empty", got)
		}
		_, err := w.Acquire(background, second, "sys", actor.Wait{})
		w.wraps(err, model.ErrClosed)
		w.stillDrains(ended)
		time.Sleep(time.Minute)
		w.stillDrains(ended)
		hit.Release(core.Clean)
		w.drained(ended)
	})
}

func TestTheDialsOfTheSecondShareGoOnUntilItDrains(t *testing.T) {
	testShares(t, []model.Limits{few(1, 1), few(1, 1)}, func(w *world) {
		w.servers[second].dialTakes = time.Minute
		held := w.acquire("a")
		ended := w.drain(background)
		l := w.acquireOf(second, "sys") // takes a minute
		l.Release(core.Clean)
		synctest.Wait()
		held.Release(core.Clean)
		w.drained(ended)
		if w.servers[second].gaveUp != 0 {
			w.Error("its dial was called off")
		}
	})
}

func TestAWaiterOfTheSecondShareIsRefusedWhenItDrains(t *testing.T) {
	testShares(t, []model.Limits{few(1, 1), few(1, 1)}, func(w *world) {
		w.servers[second].dialTakes = time.Hour
		w.idle("a", 1)
		w.server.closeTakes = time.Minute
		ended := w.drain(background)
		d := took(func() {
			_, err := w.Acquire(background, second, "sys", actor.Wait{})
			w.wraps(err, model.ErrClosed)
		})
		if d != time.Minute {
			w.Errorf("it was refused after %v", d)
		}
		w.drained(ended)
	})
}

func TestAfterTheEndEverythingIsRefusedAndNothingBlocks(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.drained(w.drain(background))
		for range 600 { // more than the mailbox has room for
			_, err := w.Stats(background)
			w.wraps(err, model.ErrClosed)
			_, err = w.Evict(background, first, "a")
			w.wraps(err, model.ErrClosed)
			_, err = w.Pause(background, first, "a")
			w.wraps(err, model.ErrClosed)
			w.wraps(w.Resume(background, first, "a"), model.ErrClosed)
			w.wraps(w.Retry(background, first, "a"), model.ErrClosed)
			w.wraps(w.SetLimits(background, core.SetLimits{Budget: 3, PerWorkspace: 3}), model.ErrClosed)
			_, err = w.Events(background, 1)
			w.wraps(err, model.ErrClosed)
		}
		w.happened()
	})
}
