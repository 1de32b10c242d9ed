package actor_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// watch subscribes until the test's end.
func (w *world) watch(ctx context.Context, buffer int) <-chan model.Event {
	w.Helper()
	events, err := w.Events(ctx, buffer)
	if err != nil {
		w.Fatal(err)
	}
	return events
}

// told takes what is in the channel; ended tells whether it is closed.
func (w *world) told(events <-chan model.Event) (all []model.Event, ended bool) {
	synctest.Wait()
	for {
		select {
		case e, open := <-events:
			if !open {
				return all, true
			}
			all = append(all, e)
		default:
			return all, false
		}
	}
}

// expect checks all but the times of what is in the channel, in its order.
func (w *world) expect(events <-chan model.Event, want ...model.Event) {
	w.Helper()
	got, _ := w.told(events)
	for i := range got {
		if got[i].At.IsZero() || got[i].At.After(time.Now()) {
			w.Errorf("event %d is of %v", i, got[i].At)
		}
		got[i].At = time.Time{}
	}
	if !slices.Equal(got, want) {
		w.Errorf("the events are\n%+v, want\n%+v", got, want)
	}
}

func TestAWatcherIsToldWhatHappensInItsOrder(t *testing.T) {
	test(t, few(1, 1, withIdleTime(time.Minute)), func(w *world) {
		took, closeTakes := w.server.dialTakes, w.server.closeTakes
		w.idle("before", 1)
		events := w.watch(background, 100)
		w.expect(events) // nothing of what was before
		time.Sleep(time.Second)
		held := w.acquire("a")
		w.expect(events,
			model.Event{Kind: model.EventEvicted, Workspace: "before", Reason: model.MakeRoom, IdleFor: time.Second, For: "a"},
			model.Event{Kind: model.EventDialed, Workspace: "a", Took: took})

		waiter := w.tryFor(0, "b")
		time.Sleep(time.Second)
		own := w.tryFor(0, "a")
		held.Release(core.Clean)
		waiter.granted()
		w.expect(events,
			model.Event{Kind: model.EventEvicted, Workspace: "a", Reason: model.Yield, For: "b"},
			model.Event{Kind: model.EventDialed, Workspace: "b", Took: took})
		w.leases[len(w.leases)-1].Release(core.Clean)
		own.granted()
		w.expect(events,
			model.Event{Kind: model.EventEvicted, Workspace: "b", Reason: model.MakeRoom, For: "a"},
			model.Event{Kind: model.EventDialed, Workspace: "a", Took: took})

		// Pausing twice and resuming twice is one pause.
		pause := w.pause(background, "a")
		again := w.pause(background, "a")
		w.leases[len(w.leases)-1].Release(core.Clean)
		pause.ended(1, closeTakes)
		again.ended(1, closeTakes)
		w.resume("a")
		w.resume("a")
		w.resume("never paused")
		w.expect(events,
			model.Event{Kind: model.EventPaused, Workspace: "a"},
			model.Event{Kind: model.EventClosed, Workspace: "a", Reason: model.PauseAsked},
			model.Event{Kind: model.EventResumed, Workspace: "a"})

		w.idle("a", 1)
		time.Sleep(time.Minute)
		w.idle("a", 1)
		w.evict(background, "a").ended(1, closeTakes)
		w.setLimits(2, 1)
		w.expect(events,
			model.Event{Kind: model.EventDialed, Workspace: "a", Took: took},
			model.Event{Kind: model.EventClosed, Workspace: "a", Reason: model.IdleTimeOver, IdleFor: time.Minute},
			model.Event{Kind: model.EventDialed, Workspace: "a", Took: took},
			model.Event{Kind: model.EventEvicted, Workspace: "a", Reason: model.EvictAsked},
			model.Event{Kind: model.EventLimitsSet, MaxConnections: 2, MaxConnectionsPerDB: 1})

		w.drained(w.drain(background))
		got, ended := w.told(events)
		if len(got) != 1 || got[0].Kind != model.EventDraining || !ended {
			w.Errorf("in the end: %+v, closed %v", got, ended)
		}
	})
}

func TestAWatcherIsToldOfFailuresAndLimits(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		events := w.watch(background, 100)
		w.server.refuse = refuseFirst(1, failure{model.Permanent})
		w.tryFor(0, "missing").refused(w.server.dialTakes)
		w.expect(events, model.Event{Kind: model.EventDialFailed, Workspace: "missing", Took: w.server.dialTakes, Err: "refused: permanent"})

		w.acquire("a")
		w.told(events)
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		refused := w.try(ctx, "b", actor.Wait{}).refused(time.Second)
		limit := w.limit(refused)
		if limit.Limit != model.BudgetLimit {
			w.Errorf("%v", limit)
		}
		got, _ := w.told(events)
		if len(got) != 1 || got[0].Kind != model.EventLimitReached || got[0].Workspace != "b" ||
			!strings.HasPrefix(refused.Error(), got[0].Err) || !strings.Contains(got[0].Err, "1 of 1 connections are taken") {
			w.Errorf("the events are %+v, the error %v", got, refused)
		}
		// A refusal for another reason is none.
		w.pause(background, "c")
		w.told(events)
		w.tryFor(time.Second, "c").refused(time.Second)
		w.expect(events)
		w.resume("c")
	})
}

// What a drain calls off says nothing about the server.
func TestADialThatADrainCallsOffIsNoFailure(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		events := w.watch(background, 10)
		waiter := w.tryFor(0, "a")
		w.drained(w.drain(background))
		w.wraps(waiter.refused(0), model.ErrClosed)
		w.expect(events, model.Event{Kind: model.EventDraining})
	})
}

func TestTheEventsOfTheSystemsShareSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		workspaces, system := &server{}, &server{}
		w := &world{T: t, server: workspaces, servers: []*server{workspaces, system}}
		w.Supervisor = actor.Start(
			actor.Share{Limits: few(3, 2), Dialer: workspaces},
			actor.Share{Limits: few(2, 2), Dialer: system, System: true})
		defer w.end()
		events := w.watch(background, 10)
		w.acquireOf(second, "main")
		w.acquireOf(first, "a")
		w.setLimits(5, 4, 3, 3)
		w.expect(events,
			model.Event{Kind: model.EventDialed, System: true, Workspace: "main"},
			model.Event{Kind: model.EventDialed, Workspace: "a"},
			model.Event{Kind: model.EventLimitsSet, MaxConnections: 8, MaxConnectionsPerDB: 4})
	})
}

func TestASlowWatcherLosesEventsAndIsToldHowMany(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		slow, fast := w.watch(background, 2), w.watch(background, 100)
		w.idle("a", 1)
		w.idle("b", 1) // 3 events: a dialed, a evicted, b dialed
		w.idle("a", 1) // 2 more
		got, _ := w.told(slow)
		if len(got) != 2 || got[0].Workspace != "a" || got[1].Kind != model.EventEvicted || got[0].Lost+got[1].Lost != 0 {
			w.Errorf("it was told %+v", got)
		}
		w.evict(background, "a").ended(1, w.server.closeTakes)
		w.idle("c", 1)
		got, _ = w.told(slow)
		if len(got) != 2 || got[0].Reason != model.EvictAsked || got[0].Lost != 3 || got[1].Lost != 0 {
			w.Errorf("after three that it lost it was told %+v", got)
		}
		all, _ := w.told(fast)
		if len(all) != 7 || slices.ContainsFunc(all, func(e model.Event) bool { return e.Lost > 0 }) {
			w.Errorf("the other was told %+v", all)
		}
	})
}

// A watcher that never reads costs the supervisor nothing, however much happens.
func TestNobodyWaitsForAWatcher(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		for _, buffer := range []int{-1, 0, 1} {
			w.watch(background, buffer)
		}
		took := took(func() {
			for range 50 {
				w.idle("a", 1)
				w.idle("b", 1)
			}
		})
		if want := 100*w.server.dialTakes + 99*w.server.closeTakes; took != want {
			w.Errorf("it took %v, without watchers %v", took, want)
		}
	})
}

func TestTheEventsEndWithTheirContext(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		ctx, cancel := context.WithCancel(background)
		events, other := w.watch(ctx, 10), w.watch(background, 10)
		w.idle("a", 1)
		cancel()
		synctest.Wait()
		w.idle("b", 1)
		got, ended := w.told(events)
		if len(got) != 1 || !ended {
			w.Errorf("it was told %+v, closed %v", got, ended)
		}
		if got, ended := w.told(other); len(got) != 3 || ended {
			w.Errorf("the other was told %+v, closed %v", got, ended)
		}
	})
}

func TestAWatcherWhoseContextHasEndedIsForgotten(t *testing.T) {
	for range 20 { // the answer may be faster
		test(t, few(1, 1), func(w *world) {
			ctx, cancel := context.WithCancelCause(background)
			cancel(errReason)
			events, err := w.Events(ctx, 1)
			if err != nil && (!errors.Is(err, errReason) || !errors.Is(err, context.Canceled)) {
				w.Error(err)
			}
			if events == nil {
				return
			}
			if _, ended := w.told(events); !ended {
				w.Error("the channel is open")
			}
		})
	}
}

func TestTheHistogramsCountGrantsAndDials(t *testing.T) {
	test(t, few(2, 1), func(w *world) {
		w.server.dialTakes = 20 * time.Millisecond
		one := w.acquire("a") // waits for its dial
		waiter := w.tryFor(0, "a")
		time.Sleep(3 * time.Second)
		one.Release(core.Clean) // a hand-off after three seconds
		waiter.granted()
		w.leases[len(w.leases)-1].Release(core.Clean)
		w.acquire("a") // a hit
		w.server.refuse = func(int, model.WorkspaceID) error { return failure{model.Permanent} }
		w.tryFor(0, "missing").refused(20 * time.Millisecond)

		st := w.stats()
		var waits, dials model.Histogram
		waits.Counts[0], waits.Counts[6], waits.Counts[13] = 1, 1, 1 // 0, up to 25 ms, up to 5 s
		waits.Sum = 3*time.Second + 20*time.Millisecond
		dials.Counts[6], dials.Sum = 1, 20*time.Millisecond
		if st.Waits != waits || st.DialTimes != dials {
			w.Errorf("waits %+v, want %+v;\ndials %+v, want %+v", st.Waits, waits, st.DialTimes, dials)
		}
	})
}

func TestNewLimitsAreOfOneMoment(t *testing.T) {
	testShares(t, []model.Limits{few(10, 2), few(10, 2)}, func(w *world) {
		stop, ended := make(chan bool), make(chan bool)
		var looks atomic.Int64
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
				}
				st, err := w.Stats(background)
				if err != nil || st.Shares[first].Budget != st.Shares[second].Budget {
					w.Errorf("the budgets are %d and %d (%v)", st.Shares[first].Budget, st.Shares[second].Budget, err)
				}
				looks.Add(1)
			}
		}()
		for i := 0; i < 200 || looks.Load() == 0; i++ {
			budget := 10 + i%200
			w.setLimits(budget, 2, budget, 2)
			if st := w.statsNow(); st.Shares[first].Budget != budget {
				w.Errorf("after SetLimits the budget is %d, not %d", st.Shares[first].Budget, budget)
			}
		}
		close(stop)
		<-ended
	})
}

func (w *world) statsNow() actor.Stats {
	st, err := w.Stats(background)
	if err != nil {
		w.Error(err)
	}
	return st
}

func TestASupervisorThatDrainsKeepsItsLimits(t *testing.T) {
	testShares(t, []model.Limits{few(2, 2), few(1, 1)}, func(w *world) {
		held := w.acquire("a")
		ended := w.drain(background)
		err := w.SetLimits(background, core.SetLimits{Budget: 5, PerWorkspace: 5}, core.SetLimits{Budget: 5, PerWorkspace: 5})
		w.wraps(err, model.ErrClosed)
		if st := w.statsNow(); st.Shares[first].Budget != 2 || st.Shares[second].Budget != 1 {
			w.Errorf("the shares are %+v", st.Shares)
		}
		held.Release(core.Clean)
		w.drained(ended)
	})
}

func TestLimitsMustBeForAllShares(t *testing.T) {
	testShares(t, []model.Limits{few(2, 2), few(1, 1)}, func(w *world) {
		if err := w.SetLimits(background, core.SetLimits{Budget: 5, PerWorkspace: 5}); err == nil {
			w.Error("there are two shares")
		}
		if st := w.statsNow(); st.Shares[first].Budget != 2 {
			w.Errorf("the shares are %+v", st.Shares)
		}
	})
}

func TestARetryDialsAtOnceAndEndsNoPause(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.server.refuse = refuseFirst(1, failure{model.Permanent})
		w.tryFor(0, "new").refused(w.server.dialTakes)
		w.tryFor(0, "new").refused(0) // it backs off
		if err := w.Retry(background, first, "new"); err != nil {
			w.Error(err)
		}
		w.idle("new", 1)

		w.pause(background, "new").ended(1, w.server.closeTakes)
		waiter := w.tryFor(0, "new")
		if err := w.Retry(background, first, "new"); err != nil {
			w.Error(err)
		}
		time.Sleep(time.Second)
		if !waiter.waits() {
			w.Error("the pause is over")
		}
		w.resume("new")
		waiter.granted()
	})
}
