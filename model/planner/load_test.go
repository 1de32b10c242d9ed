package planner

import (
	"math"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// feeder tells a Load what is observed, a second apart.
type feeder struct {
	t   *testing.T
	now time.Duration
	Load
}

// feed tells that so many of budget were in use for some time, and returns the changes of
// the level.
func (f *feeder) feed(over time.Duration, budget, inUse int) (changes []model.Level) {
	f.t.Helper()
	for end := f.now + over; f.now < end; f.now += time.Second {
		before, after := f.Add(f.now, budget, model.Counts{InUse: inUse, Idle: max(0, budget-inUse)})
		if before != after {
			changes = append(changes, after)
		}
	}
	return changes
}

func (f *feeder) utilisation() model.Utilisation { return f.Utilisation(f.now, noon) }

// expect wants those changes and no others.
func (f *feeder) expect(got []model.Level, want ...model.Level) {
	f.t.Helper()
	if len(got) != len(want) {
		f.t.Fatalf("at %v: the level changed to %q, not to %q", f.now, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			f.t.Fatalf("at %v: the level changed to %q, not to %q", f.now, got, want)
		}
	}
}

func TestALevelBeginsAtOneShareAndEndsAtALowerOne(t *testing.T) {
	f := feeder{t: t}
	f.expect(f.feed(time.Hour, 100, 79))
	f.expect(f.feed(time.Minute, 100, 80), model.LevelHigh)
	f.expect(f.feed(time.Minute, 100, 71))
	f.expect(f.feed(time.Minute, 100, 94))
	f.expect(f.feed(time.Minute, 100, 95), model.LevelCritical)
	f.expect(f.feed(time.Minute, 100, 90))
	f.expect(f.feed(time.Minute, 100, 89), model.LevelHigh)
	f.expect(f.feed(time.Minute, 100, 70))
	f.expect(f.feed(time.Minute, 100, 69), model.LevelNormal)
	f.expect(f.feed(time.Minute, 100, 100), model.LevelHigh, model.LevelCritical)
	f.expect(f.feed(time.Minute, 200, 100), model.LevelHigh, model.LevelNormal) // a larger budget
	if level := f.utilisation().Level; level != model.LevelNormal {
		t.Fatalf("the level is %q", level)
	}
}

func TestALoadThatMovesAroundABoundIsOneWarning(t *testing.T) {
	f := feeder{t: t}
	var changes []model.Level
	for range 100 {
		changes = append(changes, f.feed(30*time.Second, 100, 78)...)
		changes = append(changes, f.feed(30*time.Second, 100, 82)...)
	}
	f.expect(changes, model.LevelHigh)
}

func TestThePeakOfASecondIsNoWarning(t *testing.T) {
	f := feeder{t: t}
	f.expect(f.feed(time.Second, 10, 10)) // nor is the first second
	f.expect(f.feed(time.Minute, 10, 5))
	for range 10 {
		f.expect(f.feed(time.Second, 10, 10))
		f.expect(f.feed(9*time.Second, 10, 6))
	}
	if peak := f.utilisation().Windows[0].Busy.Peak; peak != 10 {
		t.Fatalf("the peak is %d", peak)
	}
}

// What is lent, dialed for or closing is busy; what is idle can be had.
func TestWhatIsBusyIsWhatNobodyElseCanHave(t *testing.T) {
	var l Load
	var level model.Level
	for now := range 20 {
		_, level = l.Add(time.Duration(now)*time.Second, 10, model.Counts{Idle: 1, InUse: 4, Dialing: 3, Closing: 2, Waiting: 7})
	}
	if level != model.LevelHigh {
		t.Fatalf("the level is %q", level)
	}
	got := l.Utilisation(20*time.Second, noon).Windows[0]
	if want := (model.UtilisationWindow{
		Over: time.Minute, Seen: 20 * time.Second, Budget: 10,
		Open: model.Range{Mean: 10, Peak: 10}, Busy: model.Range{Mean: 9, Peak: 9}, InUse: model.Range{Mean: 4, Peak: 4},
		Dialing: model.Range{Mean: 3, Peak: 3}, Waiting: model.Range{Mean: 7, Peak: 7},
	}); got != want {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestTheWindowsForgetWhatIsOlder(t *testing.T) {
	f := feeder{t: t}
	f.feed(50*time.Minute, 100, 10)
	f.feed(time.Minute, 80, 50)
	f.feed(8*time.Minute, 100, 20)
	f.feed(time.Minute, 100, 30)
	u := f.utilisation()
	for i, want := range []struct {
		mean, peak float64
		budget     int
	}{{30, 30, 100}, {(50 + 8*20 + 30) / 10., 50, 80}, {(50*10 + 50 + 8*20 + 30) / 60., 50, 80}} {
		w := u.Windows[i]
		if w.Over != windows[i] || w.Seen != windows[i] || w.Budget != want.budget || float64(w.Busy.Peak) != want.peak || math.Abs(w.Busy.Mean-want.mean) > 0.01 {
			t.Errorf("the window of %v is %+v, not %+v", windows[i], w, want)
		}
	}
	f.feed(3*time.Hour, 100, 5)
	for i, w := range f.utilisation().Windows {
		if w.Busy.Peak != 5 || math.Abs(w.Busy.Mean-5) > 1e-9 || w.Seen != windows[i] || w.Budget != 100 {
			t.Errorf("after three hours of 5 the window of %v is %+v", windows[i], w)
		}
	}
}

// A process that stood still for half an hour does not know what was then.
func TestATimeThatWasNotObservedIsNotInTheMean(t *testing.T) {
	f := feeder{t: t}
	f.feed(2*time.Hour, 10, 10)
	f.now += 30 * time.Minute
	f.feed(10*time.Minute, 10, 2)
	u := f.utilisation()
	if w := u.Windows[1]; math.Abs(w.Busy.Mean-2) > 0.05 || w.Seen != 10*time.Minute || w.Busy.Peak != 2 {
		t.Errorf("ten minutes: %+v", w)
	}
	if w := u.Windows[2]; math.Abs(w.Busy.Mean-(20*10+10*2)/30.) > 0.05 || w.Seen < 30*time.Minute || w.Seen > 30*time.Minute+15*time.Second {
		t.Errorf("an hour: %+v", w)
	}
	f.now += 12 * time.Hour
	if w := f.utilisation().Windows[2]; w.Seen != 0 || w.Busy != (model.Range{}) {
		t.Errorf("half a day later: %+v", w)
	}
}

// Before a gap it was full; what is judged after it is what is observed after it.
func TestALevelIsNotMadeOfWhatWasBeforeAGap(t *testing.T) {
	f := feeder{t: t}
	f.feed(9*time.Second, 10, 10)
	f.now += time.Hour
	f.expect(f.feed(time.Minute, 10, 6))
	f.feed(time.Minute, 10, 10)
	f.now += time.Hour
	f.expect(f.feed(9*time.Second, 10, 1)) // it stays as it was until it is known better
	f.expect(f.feed(time.Minute, 10, 1), model.LevelNormal)
}

// Two observations within a second do not count for two.
func TestAnObservationStandsForItsTime(t *testing.T) {
	var l Load
	for now := time.Duration(0); now < time.Minute; now += time.Second {
		l.Add(now, 10, model.Counts{InUse: 2})
		for range 5 {
			l.Add(now+time.Millisecond, 10, model.Counts{InUse: 8})
		}
	}
	if w := l.Utilisation(time.Minute, noon).Windows[0]; math.Abs(w.Busy.Mean-2) > 0.1 {
		t.Fatalf("%+v", w)
	}
}

// A shared budget has none before its first grant.
func TestWithoutABudgetThereIsNothingToJudge(t *testing.T) {
	f := feeder{t: t}
	f.expect(f.feed(time.Hour, 0, 0))
	f.expect(f.feed(time.Minute, 0, 2))
	u := f.utilisation()
	if u.Level != model.LevelNormal || u.Windows[2].Budget != 0 || !u.FullAt.IsZero() {
		t.Fatalf("%+v", u)
	}
	f.expect(f.feed(time.Minute, 5, 5), model.LevelCritical)
	f.expect(f.feed(30*time.Second, 0, 2))
	if w := f.utilisation().Windows[0]; w.Budget != 5 {
		t.Fatalf("%+v", w)
	}
}

// The server refuses some of it, for a moment.
func TestTheBudgetOfAWindowIsTheSmallest(t *testing.T) {
	f := feeder{t: t}
	f.feed(32*time.Second, 100, 10)
	f.feed(2*time.Second, 60, 10)
	f.feed(time.Minute, 100, 10)
	if w := f.utilisation().Windows[1]; w.Budget != 60 {
		t.Fatalf("%+v", w)
	}
}

// A few seconds say little of a minute.
func TestAMinuteThatWasHardlyObservedIsNoPoint(t *testing.T) {
	f := feeder{t: t}
	f.feed(40*time.Second, 100, 10)
	f.now = 2 * time.Minute
	f.feed(20*time.Second, 100, 90)
	f.now = 5 * time.Minute
	f.feed(time.Minute, 100, 20)
	got := f.busyByMinute(f.now)
	if len(got) != 2 || got[0] != (point{minutes: 0.5, busy: 10}) || got[1] != (point{minutes: 5.5, busy: 20}) {
		t.Fatalf("%v", got)
	}
}

func TestAnEmptyLoadSaysSo(t *testing.T) {
	var l Load
	u := l.Utilisation(time.Hour, noon)
	if u.Level != model.LevelNormal || !u.FullAt.IsZero() || u.Windows[0].Over != time.Minute || u.Windows[0].Seen != 0 {
		t.Fatalf("%+v", u)
	}
}
