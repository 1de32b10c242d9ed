package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestTheLeastRecentlyUsedIdleConnectionGivesWay(t *testing.T) {
	s := start(t, limits(3, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.lent(3, "c")
	s.at(1*ms, release(2, 2))
	s.at(2*ms, release(3, 3))
	s.at(2*ms, release(1, 1)) // as long ago as 3: the lower number goes first
	s.at(3*ms, acquire(4, "d"), "close 2 b make_room idle 2ms for d", "wake 103ms")
	s.at(4*ms, acquire(5, "e"), "close 1 a make_room idle 2ms for e")
	s.at(5*ms, acquire(6, "f"), "close 3 c make_room idle 3ms for f")
	s.at(5*ms, acquire(7, "g"))
	// The slots go to the waiters in order, whichever is free first.
	s.at(6*ms, Closed{3}, "dial 4 d")
	s.at(6*ms, Closed{2}, "dial 5 e", "wake 104ms")
	s.at(6*ms, Closed{1}, "dial 6 f", "wake never")
}

func TestNoMoreAreEvictedThanTheWaitersCanUse(t *testing.T) {
	s := start(t, limits(3, 1))
	s.parked(1, "a")
	s.parked(2, "b")
	s.parked(3, "c")
	s.at(1*ms, acquire(4, "d"), "close 1 a make_room idle 1ms for d", "wake 101ms")
	s.at(1*ms, acquire(5, "d")) // the cap is one
	s.at(2*ms, Tick{})          // and one is on its way
}

func TestNoMoreAreEvictedThanCanBeDialed(t *testing.T) {
	l := limits(3, 1)
	l.MaxDialing = 1
	s := start(t, l)
	s.parked(1, "a")
	s.parked(2, "b")
	s.parked(3, "c")
	s.at(0, acquire(4, "d"), "close 1 a make_room for d", "wake 100ms")
	s.at(0, acquire(5, "e"))
	s.at(0, acquire(6, "f"))
	s.at(1*ms, Closed{1}, "dial 4 d", "wake never")
	s.at(2*ms, DialSucceeded{4}, "grant 4 conn 4 d after 2ms", "close 2 b make_room idle 2ms for e", "wake 102ms")
}

// Each waiter is named once, in their order, and no one for whom a slot is coming
// already.
func TestSeveralEvictionsAtOnceAreEachForAnotherWaiter(t *testing.T) {
	s := start(t, limits(5, 3))
	s.lent(1, "x")
	s.parked(2, "a")
	s.parked(3, "b")
	s.parked(4, "c")
	s.at(0, acquire(5, "d"), "dial 5 d")
	s.at(0, failed(5, model.ServerDown), "wake 1ns")
	s.at(0, acquire(6, "e"))
	s.at(0, acquire(7, "d"))
	s.at(0, acquire(8, "f"))
	s.at(1, Tick{}, "dial 6 d", "wake never")
	s.at(2*ms, unclean(1, 1), "close 1 x not_reusable", "wake 102ms") // this one is for e
	s.at(3*ms, DialSucceeded{6}, "grant 5 conn 6 d after 3ms",
		"close 2 a make_room idle 3ms for d", "close 3 b make_room idle 3ms for f")
}

func TestAFreeSlotIsUsedBeforeAnIdleConnectionIsEvicted(t *testing.T) {
	s := start(t, limits(2, 2))
	s.parked(1, "a")
	s.at(0, Pause{7, "b"}, "done 7 closed 0")
	s.at(0, acquire(2, "b"))
	s.at(0, acquire(3, "b"))
	s.at(0, Resume{"b"}, "dial 2 b", "close 1 a make_room for b", "wake 100ms")
}

// A backend that ignores its end must not hold the waiters up.
func TestAClosingConnectionThatLingersIsNotCountedOn(t *testing.T) {
	s := start(t, limits(2, 1))
	s.parked(1, "a")
	s.parked(2, "b")
	s.at(0, acquire(3, "c"), "close 1 a make_room for c", "wake 100ms")
	s.at(99*ms, Tick{})
	s.at(100*ms, Tick{}, "wake never", "close 2 b make_room idle 100ms for c", "wake 200ms")
	s.at(101*ms, Closed{2}, "dial 3 c", "wake never")
	s.at(101*ms, acquire(4, "d")) // connection 1 still has its slot
	s.at(900*ms, Closed{1}, "dial 4 d")
}

func TestALoweredBudgetClosesWhatIsIdleNowAndTheRestOnRelease(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.parked(3, "c")
	s.at(0, acquire(4, "d"), "dial 4 d")
	s.at(1*ms, SetLimits{Budget: 1, PerWorkspace: 1}, "close 3 c shrink idle 1ms")
	s.at(2*ms, release(1, 1), "close 1 a shrink")
	s.at(3*ms, DialSucceeded{4}, "close 4 d shrink")
	s.at(4*ms, release(2, 2))                                                 // the last one fits
	s.at(5*ms, Closed{4}, "wake 101ms", "close 2 b make_room idle 1ms for d") // 3 lingers from then on
}

func TestALoweredCapClosesEachWorkspacesLeastRecentlyUsed(t *testing.T) {
	s := start(t, limits(6, 3))
	s.lent(1, "b")
	s.lent(2, "b")
	s.lent(3, "b")
	s.lent(4, "a")
	s.lent(5, "a")
	s.lent(6, "a")
	s.at(1*ms, release(2, 2))
	s.at(2*ms, release(1, 1))
	s.at(2*ms, release(6, 6))
	// In the order of the ids; 3, 4 and 5 are in use.
	s.at(3*ms, SetLimits{Budget: 6, PerWorkspace: 1}, "close 6 a shrink idle 1ms", "close 2 b shrink idle 2ms", "close 1 b shrink idle 1ms")
	s.at(4*ms, release(5, 5), "close 5 a shrink")
	s.at(5*ms, release(4, 4))
	s.at(5*ms, release(3, 3))
}

func TestALoweredCapCountsWhatIsClosingAlready(t *testing.T) {
	s := start(t, limits(6, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.lent(3, "a")
	s.at(1*ms, unclean(1, 1), "close 1 a not_reusable")
	s.at(1*ms, release(2, 2))
	s.at(1*ms, release(3, 3))
	s.at(2*ms, SetLimits{Budget: 6, PerWorkspace: 2})
}

func TestRaisedLimitsServeTheWaitersAtOnce(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "b"))
	s.at(0, acquire(3, "a"))
	s.at(1*ms, SetLimits{Budget: 3, PerWorkspace: 2}, "dial 2 b", "dial 3 a")
}

func TestNewLimitsDoNotMakeAFullServerLarger(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(0, acquire(3, "c"), "dial 3 c")
	s.at(0, failed(3, model.ServerFull), "wake 500ms")
	s.at(1*ms, SetLimits{Budget: 9, PerWorkspace: 1})
	if st := s.Stats(1 * ms); st.Budget != 9 || st.EffectiveBudget != 2 {
		t.Errorf("budget %d, effective %d", st.Budget, st.EffectiveBudget)
	}
	s.at(2*ms, SetLimits{Budget: 1, PerWorkspace: 1}, "wake never") // now the server is no longer the limit
	if st := s.Stats(2 * ms); st.Budget != 1 || st.EffectiveBudget != 1 {
		t.Errorf("budget %d, effective %d", st.Budget, st.EffectiveBudget)
	}
}

func TestAClosedThatNobodyAskedForOnlyCounts(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "a")
	s.at(0, Closed{1})
	s.at(0, Closed{9})
	if st := s.Stats(0); st.Counters.StaleMessages != 2 || st.InUse != 1 {
		t.Errorf("%+v", st)
	}
}

func TestOnlyAReclaimEvicts(t *testing.T) {
	s := start(t, limits(2, 1))
	s.parked(1, "a")
	s.lent(2, "b")
	s.Step(6*ms, acquire(3, "c"))
	s.short(true)
	s.Step(7*ms, releasedAt(5*ms, 2, 2))
	s.at(7*ms, Reclaim{}, "close 1 a make_room idle 7ms for c", "wake 107ms")
	s.short(false)
	s.at(7*ms, Reclaim{})
}

func TestAnOlderOneThatIsToldLaterGivesWayFirst(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(5*ms, release(2, 2))
	s.Step(6*ms, acquire(3, "c"))
	s.Step(7*ms, releasedAt(3*ms, 1, 1))
	s.at(7*ms, Reclaim{}, "close 1 a make_room idle 4ms for c", "wake 107ms")
}

func (s script) short(want bool) {
	s.t.Helper()
	if got := s.Short(); got != want {
		s.t.Fatalf("at %v: short is %v", s.now, got)
	}
}

func TestASlotIsShortWhenItIsWantedAndNoneIsComing(t *testing.T) {
	l := limits(2, 2)
	l.MaxDialing = 1
	s := start(t, l)
	s.short(false)
	s.lent(1, "a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.short(false) // it has its slot
	s.at(0, acquire(3, "b"))
	s.short(false) // it could not be dialed
	s.at(1*ms, DialSucceeded{2}, "grant 2 conn 2 a after 1ms")
	s.short(true)
	s.at(1*ms, acquire(4, "a"))
	s.at(2*ms, unclean(1, 1), "close 1 a not_reusable", "wake 102ms")
	s.short(false) // it is coming
	s.at(102*ms, Tick{}, "wake never")
	s.short(true) // it lingers
	s.at(103*ms, Cancel{3}, "reject 3: budget limit of b: open 2 of 2, own 0 of 2, waiting 2 own 1")
	s.short(false) // 4 cannot have one more than its cap
	s.at(104*ms, SetLimits{Budget: 1, PerWorkspace: 2})
	s.short(false) // only one is open that does not close
	s.at(104*ms, SetLimits{Budget: 0, PerWorkspace: 2})
	s.short(true)
	s.at(105*ms, release(2, 2), "close 2 a shrink")
	s.short(false)
}

func TestADrainingStateMustBeToldOfEveryConnection(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "a")
	s.at(0, Drain{})
	s.short(true)
}
