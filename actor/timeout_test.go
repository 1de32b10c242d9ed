package actor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

var errReason = errors.New("the request was superseded")

func TestAWaiterWaitsNoLongerThanAtMost(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.acquire("a")
		err := w.tryFor(70*time.Millisecond, "b").refused(70 * time.Millisecond)
		w.wraps(err, model.ErrAcquireTimeout)
		limit := w.limit(err)
		if limit.Limit != model.BudgetLimit || limit.Cause != model.ErrAcquireTimeout || limit.WorkspaceID != "b" ||
			limit.LongestLease != 70*time.Millisecond || limit.LongestLeaseWorkspace != "a" || limit.Waiting != 1 {
			w.Errorf("the error is %+v", limit)
		}
		w.counts(model.Counts{InUse: 1})
	})
}

func TestANegativeAtMostIsOverAlready(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.idle("a", 1)
		for _, atMost := range []time.Duration{-1, -time.Hour} {
			err := w.tryFor(atMost, "a").refused(0)
			w.wraps(err, model.ErrAcquireTimeout)
			if !strings.Contains(err.Error(), `"a"`) {
				w.Errorf("the error is %q", err)
			}
		}
		if c := w.stats().Counters; c.Acquires != 1 {
			w.Errorf("counters %+v", c)
		}
	})
}

func TestAWaiterWaitsNoLongerThanItsDeadline(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		w.acquire("a")
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		err := w.try(ctx, "a", actor.Wait{AtMost: time.Minute}).refused(time.Second)
		w.wraps(err, context.DeadlineExceeded)
		if limit := w.limit(err); limit.Limit != model.WorkspaceLimit || limit.CurrentWorkspace != 1 {
			w.Errorf("the error is %+v", limit)
		}
	})
}

func TestTheSoonerOfAtMostAndTheDeadlineEndsTheWait(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.acquire("a")
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		err := w.try(ctx, "b", actor.Wait{AtMost: time.Second - 1}).refused(time.Second - 1)
		w.wraps(err, model.ErrAcquireTimeout)
	})
}

func TestACancelEndsTheWaitAndTellsItsCause(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		ctx, cancel := context.WithCancelCause(background)
		waiter := w.try(ctx, "b", actor.Wait{})
		behind := w.tryFor(0, "b")
		time.Sleep(time.Second)
		cancel(errReason)
		err := waiter.refused(time.Second)
		w.wraps(err, context.Canceled)
		if limit := w.limit(err); !errors.Is(err, errReason) || limit.Waiting != 2 {
			w.Errorf("the error is %v", err)
		}
		w.counts(model.Counts{InUse: 1, Waiting: 1})
		held.Release(core.Clean)
		behind.granted()
	})
}

func TestADeadlineTellsItsCauseToo(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.acquire("a")
		ctx, cancel := context.WithTimeoutCause(background, time.Second, errReason)
		defer cancel()
		err := w.try(ctx, "b", actor.Wait{}).refused(time.Second)
		w.wraps(err, context.DeadlineExceeded)
		if !errors.Is(err, errReason) {
			w.Errorf("%q lacks the cause", err)
		}
	})
}

func TestAnEndedContextIsRefusedWithoutAsking(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		ctx, cancel := context.WithCancelCause(background)
		cancel(errReason)
		err := w.try(ctx, "a", actor.Wait{}).refused(0)
		w.wraps(err, context.Canceled)
		if !errors.Is(err, errReason) || !strings.Contains(err.Error(), `"a"`) {
			w.Errorf("the error is %q", err)
		}
		if c := w.stats().Counters; c.Acquires != 0 || c.Dials != 0 {
			w.Errorf("counters %+v", c)
		}
	})
}

func TestATimeoutDuringTheDialSaysSoAndTheDialGoesOn(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.dialTakes = time.Second
		err := w.tryFor(time.Millisecond, "a").refused(time.Millisecond)
		w.wraps(err, model.ErrDialing, model.ErrAcquireTimeout)
		ctx, cancel := context.WithTimeout(background, time.Millisecond)
		defer cancel()
		err = w.try(ctx, "a", actor.Wait{}).refused(time.Millisecond)
		w.wraps(err, model.ErrDialing, context.DeadlineExceeded)

		w.counts(model.Counts{Dialing: 1})
		time.Sleep(time.Second)
		w.counts(model.Counts{Idle: 1})
		w.acquire("a")
		if n := w.server.dials(); n != 1 {
			w.Errorf("%d dials", n)
		}
	})
}

func TestADialServesWhoWaitsWhenItEnds(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.dialTakes = time.Second
		gone := w.tryFor(time.Millisecond, "a")
		stays := w.tryFor(0, "a")
		w.wraps(gone.refused(time.Millisecond), model.ErrDialing, model.ErrAcquireTimeout)
		stays.granted()
		if stays.took != time.Second || w.server.dials() != 1 {
			w.Errorf("it took %v and %d dials", stays.took, w.server.dials())
		}
	})
}

func TestATimeoutWhileTheWorkspaceIsPausedSaysSo(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		if _, err := w.Pause(background, first, "a"); err != nil {
			w.Fatal(err)
		}
		w.wraps(w.tryFor(time.Second, "a").refused(time.Second), model.ErrPaused, model.ErrAcquireTimeout)
		w.wraps(w.try(background, "a", actor.Wait{NoWait: true}).refused(0), model.ErrPaused)
	})
}

func TestATimeoutBetweenRetriesTellsTheLastFailure(t *testing.T) {
	limits := few(1, 1, func(l *model.Limits) { l.BackoffMin, l.BackoffMax = time.Hour, time.Hour })
	test(t, limits, func(w *world) {
		w.server.refuse = refuseFirst(1, failure{model.Transient})
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		err := w.try(ctx, "a", actor.Wait{}).refused(time.Second)
		w.wraps(err, context.DeadlineExceeded)
		var dial *model.DialError
		if !errors.As(err, &dial) || dial.Err != (failure{model.Transient}) || dial.Attempts != 1 {
			w.Errorf("the error is %v", err)
		}
	})
}

func TestAWaiterThatGaveUpIsPassedOver(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		waiters := make([]*attempt, 20)
		for i := range waiters {
			waiters[i] = w.tryFor(time.Duration(1+i%2)*time.Second, "a")
		}
		time.Sleep(1500 * time.Millisecond)
		w.counts(model.Counts{InUse: 1, Waiting: 10})
		held.Release(core.Clean)
		for i := range waiters {
			if i%2 == 0 {
				w.wraps(waiters[i].refused(time.Second), model.ErrAcquireTimeout)
			} else {
				waiters[i].granted()
				waiters[i].lease.Release(core.Clean)
			}
		}
	})
}
