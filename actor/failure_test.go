package actor_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func withBackoff(minimum, maximum time.Duration) func(*model.Limits) {
	return func(l *model.Limits) { l.BackoffMin, l.BackoffMax = minimum, maximum }
}

func (w *world) dialError(err error) *model.DialError {
	w.Helper()
	var dial *model.DialError
	if !errors.As(err, &dial) {
		w.Fatalf("want a *model.DialError, got %v", err)
	}
	return dial
}

func TestAPermanentFailureAnswersItsWorkspacesWaitersAtOnce(t *testing.T) {
	limits := few(2, 1, withBackoff(time.Minute, time.Hour))
	test(t, limits, func(w *world) {
		noDatabase := fmt.Errorf("database: %w", failure{model.Permanent})
		w.server.refuse = func(n int, id model.WorkspaceID) error {
			if id == "missing" && n < 5 {
				return noDatabase
			}
			return nil
		}
		waiters := []*attempt{w.tryFor(0, "missing"), w.tryFor(0, "missing"), w.tryFor(0, "missing")}
		other := w.tryFor(0, "b")
		for _, waiter := range waiters {
			dial := w.dialError(waiter.refused(w.server.dialTakes))
			if dial.Kind != model.Permanent || dial.Err != noDatabase || dial.WorkspaceID != "missing" {
				w.Errorf("the error is %+v", dial)
			}
		}
		other.granted()
		w.dialError(w.tryFor(0, "missing").refused(0)) // without a dial
		w.counts(model.Counts{InUse: 1})

		time.Sleep(time.Minute) // the back-off is over
		w.dialError(w.tryFor(0, "missing").refused(w.server.dialTakes))
		if n := w.server.dials(); n != 3 {
			w.Errorf("%d dials", n)
		}
		w.resume("missing") // forgets the back-off
		w.dialError(w.tryFor(0, "missing").refused(w.server.dialTakes))
		time.Sleep(time.Hour)
		w.acquire("missing")
	})
}

func TestATransientFailureIsTriedAgainWithGrowingPauses(t *testing.T) {
	limits := few(1, 1, withBackoff(100*time.Millisecond, 800*time.Millisecond))
	plain := errors.New("reset") // an error without a kind is transient
	test(t, limits, func(w *world) {
		w.server.refuse = refuseFirst(6, plain)
		w.tryFor(0, "a").granted()
		most := limits.BackoffMin
		for i, gap := range w.server.gaps() {
			pause := gap - w.server.dialTakes
			if pause < most/2 || pause > most {
				w.Errorf("retry %d came %v after the failure, want %v to %v", i+1, pause, most/2, most)
			}
			most = min(2*most, limits.BackoffMax)
		}
		if got := fmt.Sprint(w.server.inARow); got != "[1 2 3 4 5 6 7]" {
			w.Errorf("the dials know that they are the attempts %s", got)
		}
		c := w.stats().Counters
		if c.Dials != 7 || c.DialFailures != 6 {
			w.Errorf("counters %+v", c)
		}
	})
}

func TestATransientFailureDoesNotHoldBackOthers(t *testing.T) {
	test(t, few(2, 2, withBackoff(time.Hour, time.Hour)), func(w *world) {
		w.server.refuse = refuseFirst(1, failure{model.Transient})
		failing := w.tryFor(time.Minute, "a")
		time.Sleep(time.Second)
		if other := w.tryFor(0, "b"); other.granted() == nil || other.took != w.server.dialTakes {
			w.Errorf("another workspace waited %v", other.took)
		}
		dial := w.dialError(failing.refused(time.Minute))
		if dial.Kind != model.Transient {
			w.Errorf("the error is %v", dial)
		}
	})
}

func TestAServerThatIsDownIsTriedByOneDialAtATime(t *testing.T) {
	limits := few(5, 5, withBackoff(time.Second, time.Second))
	test(t, limits, func(w *world) {
		w.server.refuse = refuseFirst(3, failure{model.ServerDown})
		one := w.tryFor(0, "a")
		time.Sleep(2 * w.server.dialTakes)
		two, three := w.tryFor(0, "b"), w.tryFor(100*time.Millisecond, "c")
		dial := w.dialError(three.refused(100 * time.Millisecond))
		if dial.Kind != model.ServerDown || dial.WorkspaceID != "c" {
			w.Errorf("the error is %v", dial)
		}
		if down := w.stats().ServerDown; down != (failure{model.ServerDown}) {
			w.Errorf("ServerDown is %v", down)
		}
		dial = w.dialError(w.try(background, "d", actor.Wait{NoWait: true}).refused(0))
		if dial.Kind != model.ServerDown {
			w.Errorf("the error is %v", dial)
		}
		one.granted()
		two.granted()
		for i, gap := range w.server.gaps()[:3] {
			if gap < time.Second/2 {
				w.Errorf("dial %d came %v after the one before", i+2, gap)
			}
		}
		if down := w.stats().ServerDown; down != nil || w.server.dials() != 5 {
			w.Errorf("after %d dials ServerDown is %v", w.server.dials(), down)
		}
	})
}

func TestAServerThatIsFullLowersTheBudgetAndProbesRaiseItAgain(t *testing.T) {
	test(t, few(4, 4), func(w *world) {
		w.idle("a", 2)
		held := []actor.Lease{w.acquire("a"), w.acquire("a")}
		w.server.refuse = func(n int, _ model.WorkspaceID) error {
			if n == 3 {
				return fmt.Errorf("login: %w", failure{model.ServerFull})
			}
			return nil
		}
		waiter := w.tryFor(0, "a")
		time.Sleep(w.server.dialTakes)
		st := w.stats()
		if st.EffectiveBudget != 2 || st.Budget != 4 || st.Counters.ServerRefusals != 1 {
			w.Errorf("the budget is %d of %d after %d refusals", st.EffectiveBudget, st.Budget, st.Counters.ServerRefusals)
		}
		err := w.limit(w.try(background, "b", actor.Wait{NoWait: true}).refused(0))
		if err.Limit != model.BudgetLimit {
			w.Errorf("the error is %+v", err)
		}
		waiter.granted() // by the first probe, ProbeAfter after the refusal
		if want := 500*time.Millisecond + 2*w.server.dialTakes; waiter.took != want {
			w.Errorf("it took %v, want %v", waiter.took, want)
		}
		time.Sleep(500 * time.Millisecond) // raises it by two
		if st := w.stats(); st.EffectiveBudget != 4 {
			w.Errorf("the budget is %d", st.EffectiveBudget)
		}
		held[0].Release(core.Clean)
	})
}

func TestWhatAFailedDialLeavesIsClosedAndKeepsItsSlotUntilThen(t *testing.T) {
	for _, kind := range []model.FailureKind{model.Transient, model.Permanent, model.ServerDown, model.ServerFull} {
		t.Run(kind.String(), func(t *testing.T) {
			test(t, few(1, 1), func(w *world) {
				w.server.closeTakes, w.server.leaves = time.Minute, true
				w.server.refuse = refuseFirst(1, failure{kind})
				waiter := w.tryFor(0, "a")
				time.Sleep(time.Second)
				if kind == model.Permanent {
					w.dialError(waiter.refused(w.server.dialTakes))
					waiter = w.tryFor(0, "a")
				}
				w.counts(model.Counts{Closing: 1, Waiting: 1})
				w.happened("dial a", "opened a", "close a dial_leftover")
				time.Sleep(time.Minute)
				waiter.granted()
				w.happened("closed a", "dial a", "opened a")
			})
		})
	}
}

func TestAFailedDialThatLeavesNothingFreesItsSlot(t *testing.T) {
	test(t, few(1, 1, withBackoff(time.Hour, time.Hour)), func(w *world) {
		w.server.refuse = refuseFirst(1, failure{model.Transient})
		w.tryFor(time.Minute, "a")
		time.Sleep(w.server.dialTakes)
		w.counts(model.Counts{Waiting: 1})
		w.tryFor(0, "b").granted()
	})
}

func TestADialThatFailsWhileDrainingLeavesNothing(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		test(t, few(1, 1), func(w *world) {
			w.server.dialTakes, w.server.stubborn, w.server.leaves = time.Minute, true, leaves
			w.server.refuse = refuseFirst(1, failure{model.Transient})
			waiter := w.tryFor(0, "a")
			ended := w.drain(background)
			w.wraps(waiter.refused(0), model.ErrClosed)
			w.stillDrains(ended)
			w.drained(ended)
			if n := w.server.dials(); n != 1 {
				w.Errorf("%d dials", n)
			}
		})
	}
}
