package actor_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/model/planner"
)

// traffic of the first share, when nothing more happens without time.
func (w *world) traffic(oneIn uint32) planner.Traffic {
	w.Helper()
	synctest.Wait()
	t, err := w.Traffic(background, first, oneIn)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

// record begins to record, and returns from when on.
func (w *world) record() (begin time.Duration) {
	w.Helper()
	t := w.traffic(1)
	if len(t.Ended) > 0 || t.Missed > 0 {
		w.Fatalf("before the first call it has recorded %+v", t.Ended)
	}
	return t.Now
}

// inWords are the acquires of the workspaces a to z, in the order of their arrival.
func inWords(begin time.Duration, acquires []planner.Acquire) (words []string) {
	slices.SortFunc(acquires, func(a, b planner.Acquire) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Workspace, b.Workspace), cmp.Compare(a.Waited, b.Waited), cmp.Compare(a.Held, b.Held))
	})
	for _, a := range acquires {
		id := "?"
		for name := 'a'; name <= 'z'; name++ {
			if planner.HashOf(model.WorkspaceID(name)) == a.Workspace {
				id = string(name)
			}
		}
		word := fmt.Sprintf("%s at %v %s", id, a.At-begin, [...]string{"hit", "granted", "refused"}[a.Outcome])
		if a.Waited > 0 {
			word += fmt.Sprintf(" after %v", a.Waited.Duration())
		}
		if a.Held > 0 {
			word += fmt.Sprintf(" for %v", a.Held.Duration())
		}
		if a.More > 0 {
			word += fmt.Sprintf(" and %d more", a.More)
		}
		words = append(words, word)
	}
	return words
}

// recorded wants the next Traffic to have exactly these.
func (w *world) recorded(begin time.Duration, ended, held []string) {
	w.Helper()
	t := w.traffic(1)
	if got := inWords(begin, t.Ended); !slices.Equal(got, ended) {
		w.Errorf("ended are %q, want %q", got, ended)
	}
	if got := inWords(begin, t.Held); !slices.Equal(got, held) {
		w.Errorf("held are %q, want %q", got, held)
	}
	if t.Missed > 0 {
		w.Errorf("%d are missed", t.Missed)
	}
}

// holdFor keeps a lease for so long, and gives it back.
func holdFor(l actor.Lease, d time.Duration) {
	time.Sleep(d)
	l.Release(core.Clean)
}

const ms = time.Millisecond

func TestEachAcquireIsRecordedOnce(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		w.RecallSeldom()
		begin := w.record()
		w.recorded(begin, nil, nil)
		l := w.acquire("a") // dialed
		time.Sleep(5 * ms)
		w.recorded(begin, nil, []string{"a at 0s granted after 10ms for 5ms"})
		holdFor(l, 2*ms)
		time.Sleep(3 * ms)
		// It lies in a seat, and the next ones take it from there.
		for range 2 {
			holdFor(w.seated("a"), ms)
		}
		l = w.seated("a")
		time.Sleep(4 * ms)
		w.recorded(begin, []string{"a at 0s granted after 10ms for 7ms", "a at 20ms hit for 1ms", "a at 21ms hit for 1ms"},
			[]string{"a at 22ms hit for 4ms"})
		time.Sleep(ms)
		w.recorded(begin, nil, []string{"a at 22ms hit for 5ms"})
		l.Release(core.Unclean)
		w.recorded(begin, []string{"a at 22ms hit for 5ms"}, nil)
		w.recorded(begin, nil, nil)
	})
}

func TestWhatIsRecordedOf(t *testing.T) {
	for name, test := range map[string]struct {
		do          func(w *world)
		ended, held []string
	}{
		"an idle connection by a message": {func(w *world) {
			w.idle("a", 1)
			w.stats() // it comes home
			holdFor(w.acquire("a"), ms)
		}, []string{"a at 0s granted after 10ms", "a at 10ms hit for 1ms"}, nil},
		"a hand-off": {func(w *world) {
			l, other := w.acquire("a"), w.acquire("b")
			waiter := w.tryFor(0, "a")
			holdFor(l, 3*ms)
			waiter.granted()
			time.Sleep(ms)
			other.Release(core.Lost)
		}, []string{"a at 0s granted after 10ms for 13ms", "b at 10ms granted after 10ms for 4ms"}, []string{"a at 20ms granted after 3ms for 1ms"}},
		"a waiter whose time is over": {func(w *world) {
			w.acquire("a")
			w.acquire("b")
			w.tryFor(7*ms, "c").refused(7 * ms)
		}, []string{"c at 20ms refused after 7ms"}, []string{"a at 0s granted after 10ms for 17ms", "b at 10ms granted after 10ms for 7ms"}},
		"a waiter that is cancelled": {func(w *world) {
			w.acquire("a")
			w.acquire("b")
			ctx, stop := context.WithTimeout(background, 3*ms)
			defer stop()
			w.try(ctx, "c", actor.Wait{}).refused(3 * ms)
		}, []string{"c at 20ms refused after 3ms"}, []string{"a at 0s granted after 10ms for 13ms", "b at 10ms granted after 10ms for 3ms"}},
		"one that does not wait": {func(w *world) {
			w.acquire("a")
			w.acquire("b")
			w.try(background, "c", actor.Wait{NoWait: true}).refused(0)
		}, []string{"c at 20ms refused"}, []string{"a at 0s granted after 10ms for 10ms", "b at 10ms granted after 10ms"}},
		"batch work": {func(w *world) {
			a := w.try(background, "a", actor.Wait{Batch: true})
			a.granted()
			holdFor(a.lease, ms)
			a = w.try(background, "a", actor.Wait{Batch: true})
			a.granted()
			holdFor(a.lease, ms)
		}, []string{"a at 0s granted after 10ms for 1ms", "a at 11ms hit for 1ms"}, nil},
		"an exclusive lease": {func(w *world) {
			w.idle("a", 1)
			a := w.try(background, "a", actor.Wait{Exclusive: true})
			a.granted()
			holdFor(a.lease, ms)
		}, []string{"a at 0s granted after 10ms", "a at 10ms granted after 15ms for 1ms"}, nil},
		"a connection that is evicted": {func(w *world) {
			w.idle("a", 1)
			holdFor(w.seated("a"), ms)
			w.idle("b", 1)
			w.acquire("c") // room is made for it
		}, []string{"a at 0s granted after 10ms", "a at 10ms hit for 1ms", "b at 11ms granted after 10ms"}, []string{"c at 21ms granted after 15ms"}},
		"a lease that ended in one seat while another lies there": {func(w *world) {
			l, other := w.acquire("a"), w.acquire("a")
			holdFor(l, ms)
			holdFor(other, ms)
			w.seated("a")
			other = w.seated("a")
			holdFor(other, ms)
			time.Sleep(ms)
		}, []string{"a at 0s granted after 10ms for 11ms", "a at 10ms granted after 10ms for 2ms", "a at 22ms hit for 1ms"}, []string{"a at 22ms hit for 2ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			limits := few(2, 2, func(l *model.Limits) { l.BatchShare = 1 })
			testShares(t, []model.Limits{limits}, func(w *world) {
				w.RecallSeldom()
				begin := w.record()
				test.do(w)
				w.recorded(begin, test.ended, test.held)
				w.recorded(begin, nil, test.held)
			})
		})
	}
}

// Of what is not asked for nothing is kept, and recording begins and ends at once.
func TestRecordingIsOffUntilItIsAskedForAndAfterIt(t *testing.T) {
	test(t, few(2, 2), func(w *world) {
		w.RecallSeldom()
		w.idle("a", 1)
		holdFor(w.seated("a"), ms)
		w.RoomForHits(first, 99)
		if bytes, _, err := w.TrafficBytes(background, first); bytes != 0 || err != nil {
			t.Errorf("%d bytes are kept, %v", bytes, err)
		}
		begin := w.record()
		holdFor(w.acquire("a"), ms)
		l := w.seated("a")
		off := w.traffic(0)
		if len(off.Ended) > 0 || len(off.Held) > 0 || off.SampledOneIn != 0 {
			t.Errorf("it is off, and says %+v", off)
		}
		holdFor(l, ms)
		holdFor(w.seated("a"), ms)
		l = w.seated("a")
		time.Sleep(ms)
		if bytes, room, _ := w.TrafficBytes(background, first); bytes != 0 || room != 99 {
			t.Errorf("%d bytes are kept, room for %d is left", bytes, room)
		}
		on := w.traffic(1)
		if got := inWords(begin, on.Held); len(on.Ended) > 0 || !slices.Equal(got, []string{"a at 3ms hit for 1ms"}) {
			t.Errorf("ended are %+v, held %q", on.Ended, got)
		}
		l.Release(core.Clean)
		w.recorded(begin, []string{"a at 3ms hit for 1ms"}, nil)
	})
}

func TestOnlyASampleIsRecorded(t *testing.T) {
	var in, out model.WorkspaceID
	for name := 'a'; name <= 'z'; name++ {
		if id := model.WorkspaceID(name); planner.HashOf(id).In(2) {
			in = id
		} else {
			out = id
		}
	}
	test(t, few(4, 2), func(w *world) {
		begin := w.record()
		use := func() {
			w.acquire(out)
			holdFor(w.acquire(out), ms)
			w.acquire(in)
			holdFor(w.acquire(in), ms)
		}
		use()
		// From now on fewer are recorded, and what was is told of those only.
		for _, oneIn := range []uint32{2, 1} {
			told := w.traffic(oneIn)
			if told.SampledOneIn != 2 || len(told.Ended) == 0 || len(told.Held) != 1 {
				t.Errorf("one in %d has ended %q and is held %q", told.SampledOneIn, inWords(begin, told.Ended), inWords(begin, told.Held))
			}
			for _, a := range append(told.Ended, told.Held...) {
				if a.Workspace != planner.HashOf(in) {
					t.Errorf("%q has ended, %q is held", inWords(begin, told.Ended), inWords(begin, told.Held))
				}
			}
			for range 3 {
				holdFor(w.acquire(out), ms)
			}
			if bytes, _, _ := w.TrafficBytes(background, first); oneIn == 2 && bytes > 0 {
				t.Errorf("%d bytes are kept of what is not in the sample", bytes)
			}
			for range 3 {
				holdFor(w.acquire(in), ms)
			}
		}
		if told := w.traffic(1); told.SampledOneIn != 1 || len(told.Ended) != 6 || len(told.Held) != 2 {
			t.Errorf("one in %d has ended %q and is held %q", told.SampledOneIn, inWords(begin, told.Ended), inWords(begin, told.Held))
		}
		for _, oneIn := range []uint32{3, 1<<32 - 1} {
			if _, err := w.Traffic(background, first, oneIn); err == nil {
				t.Errorf("one in %d is no power of two", oneIn)
			}
		}
	})
}

func TestTrafficTellsWhatElseThePlannerNeeds(t *testing.T) {
	test(t, few(3, 2), func(w *world) {
		w.record()
		own := model.WorkspaceLimits{Cap: 1}
		l, err := w.Acquire(background, first, "a", actor.Wait{Limits: own})
		if err != nil {
			t.Fatal(err)
		}
		l.Release(core.Unclean)
		time.Sleep(time.Second)
		w.server.refuse = refuseFirst(2, failure{model.ServerFull})
		w.tryFor(15*ms, "b").refused(15 * ms)
		got := w.traffic(1)
		want := planner.Traffic{
			Now: got.Now, SampledOneIn: 1, Ended: got.Ended, Acquires: 2, Dialed: 2,
			Dials: []planner.Micros{10_000}, Closes: []planner.Micros{5_000},
			Limits: few(3, 2), Effective: got.Effective, Own: map[planner.Hash]model.WorkspaceLimits{planner.HashOf("a"): own},
			ShortFor: 5 * ms, WaitedForRoom: 1, // after the refused dial
		}
		if !reflect.DeepEqual(got, want) || got.Effective >= 3 {
			t.Errorf("%+v\nwant %+v", got, want)
		}
		w.setLimits(2, 1)
		w.acquire("a")
		w.acquire("b")
		w.traffic(1)
		w.tryFor(30*ms, "c").refused(30 * ms)
		w.tryFor(0, "c").waits()
		time.Sleep(10 * ms)
		got = w.traffic(1)
		if got.Limits.Budget != 2 || got.Limits.PerWorkspace != 1 || got.Counts != w.stats().Counts || got.Acquires != 2 {
			t.Errorf("%+v", got)
		}
		if got.ShortFor != 40*ms || got.WaitedForRoom != 1 {
			t.Errorf("short for %v of %d", got.ShortFor, got.WaitedForRoom)
		}
		got.Dials[0] = 7 // a copy
		if again := w.traffic(1); again.Dials[0] != 10_000 || again.Acquires != 0 {
			t.Errorf("%+v", again)
		}
	})
}

func TestADrainedSupervisorTellsNoTraffic(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		w.record()
		w.drained(w.drain(background))
		if _, err := w.Traffic(background, first, 1); !errors.Is(err, model.ErrClosed) {
			t.Error(err)
		}
	})
}
