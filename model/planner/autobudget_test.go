package planner

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// autoScript steps an AutoBudget once a second. What it says comes into force at once,
// unless stuck.
type autoScript struct {
	t     *testing.T
	auto  *AutoBudget
	now   time.Duration
	o     Observation
	stuck bool
	// changes are the reasons so far.
	changes []string
}

func newAutoScript(t *testing.T, lowest, highest, budget int) *autoScript {
	return &autoScript{t: t, auto: NewAutoBudget(lowest, highest, budget), o: Observation{Budget: budget}}
}

// pass lets time go by in which so many slots are in use and so many acquires wait for room.
func (s *autoScript) pass(d time.Duration, inUse, waiting int) {
	for end := s.now + d; s.now < end; s.now += time.Second {
		s.o.Counts = model.Counts{InUse: inUse, Idle: max(0, s.o.Budget-inUse), Waiting: waiting}
		s.o.WaitingForRoom = waiting
		budget, reason, changed := s.auto.Step(s.now, s.o)
		if changed != (reason != "") {
			s.t.Fatalf("at %v: changed is %v, and the reason %q", s.now, changed, reason)
		}
		if changed {
			s.changes = append(s.changes, reason)
		}
		if !s.stuck {
			s.o.Budget = budget
		}
	}
}

// said wants these reasons since the last time.
func (s *autoScript) said(want ...string) {
	s.t.Helper()
	for i := range max(len(want), len(s.changes)) {
		if i >= len(want) || i >= len(s.changes) || want[i] != s.changes[i] {
			s.t.Fatalf("before %v it said\n%q\nand not\n%q", s.now, s.changes, want)
		}
	}
	s.changes = nil
}

func (s *autoScript) budget(want int) {
	s.t.Helper()
	if got := s.auto.target; got != want {
		s.t.Fatalf("at %v the budget is %d, not %d; it said %q", s.now, got, want, s.changes)
	}
}

// knee is a curve that rises to 99 % at a budget and is flat from there.
func knee(at int) func(int) float64 {
	return func(budget int) float64 { return 0.99 * min(1, float64(budget)/float64(at)) }
}

func TestABudgetIsRaisedAtOnceWhenSomebodyWaitsForRoom(t *testing.T) {
	s := newAutoScript(t, 40, 100, 48)
	s.pass(time.Minute, 48, 0)
	s.said()
	s.pass(time.Second, 48, 7)
	s.said("raised from 48 to 67 slots: 7 requests waited for room") // 55 and 12 more
	s.pass(time.Second, 67, 1)
	s.said("raised from 67 to 81 slots: a request waited for room")
	s.pass(time.Second, 81, 1000)
	s.said("raised from 81 to 100 slots: 1000 requests waited for room")
	s.pass(time.Minute, 100, 1000)
	s.said()
}

// Most of a crowd waits for leases of milliseconds, and needs no slot each.
func TestACrowdDoublesABudgetAtMost(t *testing.T) {
	s := newAutoScript(t, 10, 1000, 50)
	s.pass(time.Second, 50, 5000)
	s.budget(115) // 100 and 15 more
}

func TestABudgetIsLoweredSlowlyAfterTenCalmMinutes(t *testing.T) {
	s := newAutoScript(t, 20, 100, 100)
	s.pass(10*time.Minute, 30, 0)
	s.said()
	s.pass(time.Second, 30, 0)
	s.said("lowered from 100 to 95 slots: the last ten minutes needed 39") // 30 and 9 more
	s.pass(29*time.Second, 30, 0)
	s.said()
	s.pass(time.Second, 30, 0)
	s.said("lowered from 95 to 91 slots: the last ten minutes needed 39")
	s.pass(10*time.Minute, 30, 0)
	s.budget(39)
	s.changes = nil
	s.pass(time.Hour, 25, 0) // 33 would do; it is not worth a change
	s.said()
	s.pass(30*time.Minute, 19, 0)
	s.budget(26)
}

func TestAPeakOfTheLastTenMinutesKeepsItsRoom(t *testing.T) {
	s := newAutoScript(t, 20, 100, 100)
	for range 6 {
		s.pass(9*time.Minute, 30, 0)
		s.pass(time.Second, 60, 0)
	}
	s.budget(72) // 60 and 12 more
	s.pass(9*time.Minute, 30, 0)
	s.budget(72)
	s.pass(15*time.Minute, 30, 0)
	s.budget(39)
}

// What waits without a raise, at the upper bound or while the server is full, is no calm either.
func TestSomebodyWhoWaitsForRoomIsNoCalm(t *testing.T) {
	s := newAutoScript(t, 20, 100, 100)
	for range 12 {
		s.pass(5*time.Minute, 20, 0)
		s.pass(time.Second, 20, 1)
	}
	s.said()
}

func TestTheHitRatioKeepsAndRaisesABudget(t *testing.T) {
	s := newAutoScript(t, 20, 100, 100)
	s.o.HitRatio, s.o.Seen = knee(60), enoughSeen
	s.pass(30*time.Minute, 10, 0)
	s.budget(60)
	if want := "lowered from 61 to 60 slots: 99.0 % of requests find their connection open with 60"; s.changes[len(s.changes)-1] != want {
		t.Fatalf("%q", s.changes)
	}
	s.changes = nil

	s.o.HitRatio = knee(80)
	s.pass(time.Minute, 10, 0)
	s.said()
	s.pass(time.Second, 10, 0)
	s.said("raised from 60 to 80 slots: 74.2 % of requests find their connection open, and with 80 99.0 % would")
	s.pass(time.Hour, 10, 0)
	s.said()
}

// A hit ratio is an estimate: for a moment it may be anything.
func TestAHitRatioThatIsBadForHalfAMinuteRaisesNothing(t *testing.T) {
	s := newAutoScript(t, 20, 100, 60)
	for range 20 {
		s.o.HitRatio, s.o.Seen = knee(60), enoughSeen
		s.pass(30*time.Second, 10, 0)
		s.o.HitRatio = knee(80)
		s.pass(50*time.Second, 10, 0)
	}
	s.said()
}

// Between half a point and one point nothing is worth a change.
func TestAHitRatioWithinAPointIsGoodEnough(t *testing.T) {
	within := func(points float64) func(int) float64 {
		return func(budget int) float64 { return 0.9 - 0.01*points*float64(100-budget)/50 }
	}
	s := newAutoScript(t, 20, 100, 50)
	s.o.Seen = enoughSeen
	s.o.HitRatio = within(0.99)
	s.pass(time.Hour, 10, 0)
	s.said()
	s.o.HitRatio = within(1.01)
	s.pass(2*time.Minute, 10, 0)
	s.said("raised from 50 to 76 slots: 89.0 % of requests find their connection open, and with 76 89.5 % would")
}

func TestAFewAcquiresSayNothingOfTheHitRatio(t *testing.T) {
	s := newAutoScript(t, 20, 100, 60)
	s.o.HitRatio, s.o.Seen = knee(100), enoughSeen-1
	s.pass(30*time.Minute, 10, 0)
	s.budget(20)
}

func TestABudgetIsNeverMoreThanTheServerGrants(t *testing.T) {
	s := newAutoScript(t, 40, 100, 80)
	s.o.Grantable = 70
	s.pass(time.Second, 70, 0)
	s.said("lowered from 80 to 70 slots: the server grants 70")
	s.o.Grantable = 100
	s.pass(holdFor-time.Second, 70, 5) // it would go to and fro
	s.said()
	s.o.Grantable = 75
	s.pass(2*time.Second, 70, 5)
	s.said("raised from 70 to 75 slots: 5 requests waited for room")
	s.o.Grantable = 10
	s.pass(2*time.Second, 10, 5)
	s.said("lowered from 75 to 40 slots: the server grants 10") // the lower bound holds
}

func TestAServerThatRefusedIsNotAskedForMoreForAWhile(t *testing.T) {
	s := newAutoScript(t, 40, 100, 50)
	s.o.Refusals = 3 // of before
	s.pass(time.Second, 50, 2)
	s.said("raised from 50 to 63 slots: 2 requests waited for room")
	s.o.Refusals = 4
	s.pass(holdFor, 63, 2)
	s.said()
	s.pass(time.Second, 63, 2)
	s.said("raised from 63 to 78 slots: 2 requests waited for room")
}

func TestABudgetThatSomebodyElseSetsIsTheNewBeginning(t *testing.T) {
	s := newAutoScript(t, 40, 100, 50)
	s.pass(time.Hour, 30, 0)
	s.said("lowered from 50 to 48 slots: the last ten minutes needed 40", "lowered from 48 to 46 slots: the last ten minutes needed 40",
		"lowered from 46 to 44 slots: the last ten minutes needed 40", "lowered from 44 to 42 slots: the last ten minutes needed 40",
		"lowered from 42 to 40 slots: the last ten minutes needed 40")
	s.stuck, s.o.Budget = true, 90
	s.pass(adoptAfter, 30, 0)
	s.budget(90)
	s.stuck = false
	s.pass(9*time.Minute, 30, 0)
	s.said() // calm begins anew
	s.stuck, s.o.Budget = true, 200
	s.pass(adoptAfter, 30, 0)
	s.said("lowered from 200 to 100 slots: DB_AUTO_BUDGET has these bounds")
}

// What cannot be set is given up, and decided upon again.
func TestABudgetThatDoesNotComeIntoForceIsSetAgain(t *testing.T) {
	s := newAutoScript(t, 40, 100, 50)
	s.stuck = true
	s.pass(30*time.Second, 50, 1)
	s.said("raised from 50 to 62 slots: a request waited for room",
		"raised from 50 to 62 slots: a request waited for room",
		"raised from 50 to 62 slots: a request waited for room")
}

// Nobody knows what was needed while the process stood still.
func TestCalmBeginsAnewAfterAPause(t *testing.T) {
	s := newAutoScript(t, 20, 100, 100)
	s.pass(9*time.Minute, 30, 0)
	s.now += time.Hour
	s.pass(10*time.Minute, 30, 0)
	s.said()
	s.pass(time.Second, 30, 0)
	s.budget(95)
}

func TestAPeakOfBeforeAPauseIsForgotten(t *testing.T) {
	s := newAutoScript(t, 20, 200, 100)
	s.pass(time.Minute, 90, 0)
	s.now += time.Hour
	s.o.Budget = 40
	s.pass(time.Second, 40, 1)
	s.said("raised from 40 to 51 slots: a request waited for room")
}

func TestWithoutABudgetInForceNothingIsDecided(t *testing.T) {
	s := newAutoScript(t, 40, 100, 50)
	s.stuck, s.o.Budget = true, 0
	s.pass(time.Hour, 0, 10)
	s.said()
	s.budget(50)
}

// Who becomes the oldest of a group finds another budget than the one it was started with.
func TestTheFirstStepBeginsWithTheBudgetThatIsInForce(t *testing.T) {
	s := newAutoScript(t, 40, 100, 50)
	s.o.Budget = 90
	s.pass(time.Second, 40, 2) // 52 would do for these, and is less than there is
	s.said()
	s.budget(90)
}
