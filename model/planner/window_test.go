package planner

import (
	"testing"
	"time"
)

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
