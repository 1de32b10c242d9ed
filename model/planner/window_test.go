package planner

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever order leases end in, a Window has them in the order of their arrival, those that
// are In its sample.
func TestAWindowHasWhatItWasToldInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leases := drawLeases(t)
		told := tellLeases(t, leases, testLimits(10, 3))
		sample := uint32(1)
		w := NewWindow(1)
		for i := range told {
			sample *= uint32(rapid.IntRange(1, 2).Draw(t, "smaller"))
			told[i].SampledOneIn = sample
			w.Add(told[i])
		}
		w.seal()
		var want []Acquire
		for _, l := range leases {
			if l.Workspace.In(sample) && l.end <= w.end {
				want = append(want, l.Acquire)
			}
		}
		slices.SortFunc(want, byArrival)
		got := slices.DeleteFunc(slices.Clone(w.acquires), func(a Acquire) bool { return a.until() >= w.end }) // held at the end
		if !slices.Equal(got, want) {
			t.Fatalf("one in %d:\n%v\nwant\n%v", sample, got, want)
		}
		if !slices.IsSortedFunc(w.acquires, byArrival) {
			t.Fatalf("not in order: %v", w.acquires)
		}
	})
}

// A pool that runs for an hour keeps what is ten minutes old, and a busy one what has room.
func TestAWindowForgetsWhatIsOldAndWhatHasNoRoom(t *testing.T) {
	for _, test := range []struct {
		what        string
		perSecond   int
		least, most time.Duration
	}{
		{"a quiet one", 3, 10 * time.Minute, 12 * time.Minute},
		{"a busy one", 1000, windowSize * 6 / 7 * time.Millisecond, windowSize * time.Millisecond},
	} {
		w := NewWindow(1)
		w.effective = 10
		const seconds = 1800
		for s := range seconds {
			now := time.Duration(s+1) * time.Second
			batch := Traffic{Now: now, SampledOneIn: 1, Effective: 10, Acquires: uint64(test.perSecond), Dialed: 1}
			for i := range test.perSecond {
				at := now - time.Second + time.Duration(i)*time.Microsecond
				batch.Ended = append(batch.Ended, Acquire{At: at, Workspace: Hash(i), Held: 100})
			}
			w.Add(batch)
		}
		if span := w.Span(); span < test.least || span > test.most || w.OneIn() != 1 {
			t.Errorf("%s: %v, one in %d", test.what, span, w.OneIn())
		}
		whole := uint64(w.Span().Seconds()+0.5) * uint64(test.perSecond)
		if got := uint64(w.Acquires()); got > whole+uint64(test.perSecond) || got+uint64(test.perSecond) < whole || got > windowSize {
			t.Errorf("%s: %d acquires in %v", test.what, got, w.Span())
		}
		if e := w.Measured(); e.DialsPerSecond < 0.95 || e.DialsPerSecond > 1.05 {
			t.Errorf("%s: %v dials a second", test.what, e.DialsPerSecond)
		}
	}
}

func TestALeaseThatIsHeldForLongStaysWhileItLasts(t *testing.T) {
	w := NewWindow(1)
	for s := range 1800 {
		now := time.Duration(s+1) * time.Second
		batch := Traffic{Now: now, SampledOneIn: 1, Effective: 10}
		if s == 1500 { // it ends, and began at the start
			batch.Ended = append(batch.Ended, Acquire{At: time.Second, Held: MicrosOf(1500 * time.Second)})
		}
		w.Add(batch)
	}
	if len(w.acquires) != 1 {
		t.Errorf("%d leases", len(w.acquires))
	}
}

func TestAClonedWindowDoesNotChange(t *testing.T) {
	w := NewWindow(1)
	w.Add(Traffic{Now: time.Second, SampledOneIn: 1, Effective: 10, Ended: []Acquire{{At: time.Millisecond, Held: 1}}})
	c := w.Clone()
	w.Add(Traffic{Now: 2 * time.Second, SampledOneIn: 1, Effective: 10, Ended: []Acquire{{At: 0, Held: 1}, {At: time.Second, Held: 1}}})
	if len(c.acquires) != 1 || c.acquires[0].At != time.Millisecond || c.Span() >= w.Span() {
		t.Errorf("%+v", c.acquires)
	}
}

// A few dials that were fast lately do not outweigh the slow ones of the minutes before.
func TestDurationsAreOfMinutes(t *testing.T) {
	var d durations
	burst := make([]Micros, 256)
	for second := range 100 {
		for i := range burst {
			burst[i] = 1000
			if second < 90 {
				burst[i] = 9000
			}
		}
		d.add(burst, perTraffic)
	}
	slow := 0
	for number := range uint64(1000) {
		if d.of(number, 0) == 9*time.Millisecond {
			slow++
		}
	}
	if slow < 850 || slow > 950 {
		t.Errorf("%d of 1000 are slow, and 900 were", slow)
	}
}
