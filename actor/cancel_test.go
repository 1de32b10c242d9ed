package actor_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// lateCancel is a context that does something between the moment at which an
// Acquire finds it done, and its Cancel: Acquire asks for its error there. So
// the answer always wins against the Cancel.
type lateCancel struct {
	context.Context
	once sync.Once
	do   func()
}

func (c *lateCancel) Err() error {
	err := c.Context.Err()
	if err != nil {
		c.once.Do(c.do)
	}
	return err
}

// Value hides the inner context, so that context.Cause asks for Err.
func (c *lateCancel) Value(any) any { return nil }

// tryLate begins an acquire that, when it is cancelled, runs do before it says
// Cancel.
func (w *world) tryLate(id model.WorkspaceID, do func()) (a *attempt, cancel context.CancelFunc) {
	inner, cancel := context.WithCancel(background)
	a = w.try(&lateCancel{Context: inner, do: do}, id, actor.Wait{})
	if !a.waits() {
		w.Fatal("it does not wait")
	}
	return a, cancel
}

func (w *world) cancelLate(id model.WorkspaceID, do func()) *attempt {
	a, cancel := w.tryLate(id, do)
	cancel()
	return a
}

// processed waits until the supervisor has received what was sent before.
func (w *world) processed() {
	if _, err := w.Stats(background); err != nil && !errors.Is(err, model.ErrClosed) {
		w.Error(err)
	}
}

func TestAGrantThatWinsAgainstACancelIsGivenBack(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		waiter := w.cancelLate("a", func() {
			held.Release(core.Clean)
			w.processed()
		})
		w.wraps(waiter.refused(0), context.Canceled)

		w.counts(model.Counts{Idle: 1})
		if c := w.stats().Counters; c.HandOffs != 1 || c.Rejects != 0 || c.StaleMessages != 0 {
			w.Errorf("counters %+v", c)
		}
		if hit := w.acquire("a"); hit.Conn() != held.Conn() {
			w.Error("the connection is not lent again")
		}
	})
}

// atGiveUp is a context that does something when an Acquire, whose time is over,
// asks how it stands; at its beginning the Acquire has asked once.
type atGiveUp struct {
	context.Context
	asked int
	do    func()
}

func (c *atGiveUp) Err() error {
	if c.asked++; c.asked == 2 {
		c.do()
	}
	return c.Context.Err()
}

func TestAGrantThatWinsAgainstTheTimeIsReturned(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		ctx := &atGiveUp{Context: background, do: func() {
			held.Release(core.Clean)
			w.processed()
		}}
		waiter := w.try(ctx, "a", actor.Wait{AtMost: time.Second})
		if waiter.granted() != held.Conn() || waiter.took != time.Second {
			w.Errorf("it took %v", waiter.took)
		}
		w.counts(model.Counts{InUse: 1})
	})
}

func TestAGrantThatWinsAgainstTheTimeIsGivenBackWhenTheContextHasEndedToo(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		inner, cancel := context.WithCancelCause(background)
		ctx := &atGiveUp{Context: inner, do: func() {
			held.Release(core.Clean)
			w.processed()
			cancel(errReason)
		}}
		waiter := w.try(ctx, "a", actor.Wait{AtMost: time.Second})
		err := waiter.refused(time.Second)
		w.wraps(err, context.Canceled)
		if !errors.Is(err, errReason) {
			w.Errorf("%q lacks the cause", err)
		}
		w.counts(model.Counts{Idle: 1})
	})
}

func TestAGrantThatWinsAgainstACancelGoesToTheNextWaiter(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		held := w.acquire("a")
		waiter, cancel := w.tryLate("a", func() {
			held.Release(core.Clean)
			w.processed()
		})
		next := w.tryFor(time.Second, "a")
		cancel()
		w.wraps(waiter.refused(0), context.Canceled)
		if next.granted() != held.Conn() {
			w.Error("the next waiter got another connection")
		}
	})
}

func TestAFreshConnectionThatWinsAgainstACancelIsKept(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		waiter := w.cancelLate("a", func() {
			time.Sleep(2 * w.server.dialTakes)
		})
		w.wraps(waiter.refused(2*w.server.dialTakes), context.Canceled)
		w.counts(model.Counts{Idle: 1})
	})
}

func TestARefusalThatWinsAgainstACancelIsToldWithIt(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.refuse = refuseFirst(1, failure{model.Permanent})
		waiter := w.cancelLate("a", func() {
			time.Sleep(2 * w.server.dialTakes)
		})
		err := waiter.refused(2 * w.server.dialTakes)
		w.wraps(err, context.Canceled)
		var dial *model.DialError
		if !errors.As(err, &dial) || dial.Kind != model.Permanent {
			w.Errorf("the error is %v", err)
		}
	})
}

func TestADrainThatWinsAgainstACancelIsToldWithIt(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.dialTakes = time.Hour
		waiter := w.cancelLate("a", func() {
			if err := w.Drain(background); err != nil {
				w.Error(err)
			}
		})
		w.wraps(waiter.refused(0), context.Canceled, model.ErrClosed)
	})
}

// atDone is a context that does something when it is asked for its channel: after
// a message was sent, and before its answer is looked for.
type atDone struct {
	context.Context
	do func()
}

func (c atDone) Done() <-chan struct{} {
	c.do()
	return c.Context.Done()
}

func TestARefusalIsNotLostWhenTheSupervisorStops(t *testing.T) {
	for range 20 { // so that both ends of the race are seen
		test(t, few(1, 1), func(w *world) {
			w.server.refuse = refuseFirst(2, failure{model.Permanent})
			end := func() {
				time.Sleep(2 * w.server.dialTakes)
				if err := w.Drain(background); err != nil {
					w.Error(err)
				}
			}
			_, err := w.Acquire(atDone{background, end}, first, "a", actor.Wait{})
			w.dialError(err)
		})
		test(t, few(1, 1), func(w *world) {
			w.server.refuse = refuseFirst(1, failure{model.Permanent})
			waiter := w.cancelLate("a", func() {
				time.Sleep(2 * w.server.dialTakes)
				if err := w.Drain(background); err != nil {
					w.Error(err)
				}
			})
			err := waiter.refused(2 * w.server.dialTakes)
			w.dialError(err)
			w.wraps(err, context.Canceled)
		})
	}
}

func TestWhenAGrantAndACancelMeetNothingLeaks(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		granted, inTime := 0, 0
		for i := range 600 {
			held := w.acquire("a")
			ctx, cancel := context.WithCancel(background)
			waiter := w.try(ctx, "a", actor.Wait{AtMost: time.Millisecond})
			switch i % 3 {
			case 0: // the timer and the release
				time.AfterFunc(time.Millisecond, func() { held.Release(core.Clean) })
			case 1:
				go cancel()
				go held.Release(core.Clean)
			case 2:
				go held.Release(core.Clean)
				go cancel()
			}
			<-waiter.done
			if waiter.err == nil {
				inTime++
				waiter.lease.Release(core.Clean)
			}
			cancel()
			w.counts(model.Counts{Idle: 1})
			granted++ // held
		}
		c := w.stats().Counters
		if c.Dials != 1 || c.StaleMessages != 0 || c.Acquires != c.Grants()+c.Rejects {
			w.Errorf("counters %+v", c)
		}
		w.Logf("of 600 waiters %d were granted in time, %d too late, %d never",
			inTime, c.Grants()-uint64(granted+inTime), c.Rejects)
	})
}

func TestAReplyChannelIsUsedAgainOnlyAfterItsReplyWasTaken(t *testing.T) {
	// An answer that nobody took would reach the next acquire, of another
	// workspace: also of one that begins while the answer is still on its way.
	test(t, few(2, 1), func(w *world) {
		for range 200 {
			a, b := w.acquire("a"), w.acquire("b")
			waiter := w.cancelLate("a", func() {
				a.Release(core.Clean)
				w.processed()
				_, err := w.Acquire(background, first, "b", actor.Wait{AtMost: time.Millisecond})
				w.wraps(err, model.ErrAcquireTimeout)
			})
			w.wraps(waiter.refused(time.Millisecond), context.Canceled)
			short := w.tryFor(time.Millisecond, "b")
			w.wraps(short.refused(time.Millisecond), model.ErrAcquireTimeout)
			b.Release(core.Clean)
			w.counts(model.Counts{Idle: 2})
		}
	})
}
