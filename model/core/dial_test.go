package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// In these tests a back-off lasts one nanosecond: see limits.

func TestFreeSlotsGoToTheOldestWaiters(t *testing.T) {
	s := start(t, limits(2, 2))
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(1*ms, acquire(3, "d"))
	s.at(2*ms, acquire(4, "c"))
	s.at(3*ms, acquire(5, "d"))
	s.at(4*ms, unclean(1, 1), "close 1 a not_reusable", "wake 104ms")
	s.at(4*ms, unclean(2, 2), "close 2 b not_reusable")
	s.at(5*ms, Closed{2}, "dial 3 d")
	s.at(5*ms, Closed{1}, "dial 4 c", "wake never")
}

func TestAtMostMaxDialingDialsAreUnderWay(t *testing.T) {
	l := limits(4, 1)
	l.MaxDialing = 2
	s := start(t, l)
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "b"), "dial 2 b")
	s.at(0, acquire(3, "c"))
	s.at(0, acquire(4, "d"))
	s.at(1*ms, DialSucceeded{1}, "grant 1 conn 1 a after 1ms", "dial 3 c")
	s.at(2, failed(2, model.Permanent), "reject 2: permanent dial of b, attempt 1: refused", "dial 4 d")
}

func TestAPermanentFailureAnswersAllWaitersOfItsWorkspace(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "a"))
	s.at(0, acquire(4, "b"), "dial 3 b")
	s.at(5, failed(1, model.Permanent),
		"reject 1: permanent dial of a, attempt 1: refused",
		"reject 2: permanent dial of a, attempt 1: refused",
		"reject 3: permanent dial of a, attempt 1: refused")
	s.at(5, DialSucceeded{3}, "grant 4 conn 3 b after 5ns")
	s.at(5, DialSucceeded{2}) // it works after all, and that is what counts
	s.at(5, acquire(5, "a"), "grant 5 conn 2 a")
	s.at(5, acquire(6, "a"), "dial 4 a")
}

func TestATransientFailureIsRetriedWhileTheWaiterWaits(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.Transient), "wake 11ns")
	s.at(10, acquire(2, "b"), "dial 2 b") // no concern of other workspaces
	s.at(10, acquire(9, "a"))             // a new waiter waits too
	s.at(10, Cancel{9}, "reject 9: transient dial of a, attempt 1: refused")
	s.at(11, Tick{}, "dial 3 a", "wake never")
	s.at(20, failed(3, model.Transient), "wake 21ns")
	s.at(20, Cancel{1}, "reject 1: transient dial of a, attempt 2: refused", "wake never")
	s.at(21, acquire(3, "a"), "dial 4 a")
	s.at(22, DialSucceeded{4}, "grant 3 conn 4 a after 1ns")
	s.at(23, unclean(3, 4), "close 4 a not_reusable")
	s.at(24, Closed{4})
	s.at(25, acquire(4, "a"), "dial 5 a")
	s.at(26, failed(5, model.Transient), "wake 27ns")
	s.at(26, Cancel{4}, "reject 4: transient dial of a, attempt 1: refused", "wake never") // a success ends the row
}

func TestATransientFailureAnswersTheNoWaitsThatNoOtherDialIsFor(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, noWait(1, "a"), "dial 1 a")
	s.at(0, noWait(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "a"))
	s.at(5, failed(1, model.Transient), "reject 2: transient dial of a, attempt 1: refused", "wake 6ns")
	s.at(5, failed(2, model.Transient), "reject 1: transient dial of a, attempt 2: refused")
	s.at(6, Tick{}, "dial 3 a", "wake never")
}

func TestAFailedDialThatNobodyWaitsForRefusesNobody(t *testing.T) {
	s := start(t, limits(4, 3))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "a"), "dial 3 a")
	s.at(0, Cancel{2}, `reject 2: acquire workspace "a": ErrDialing`)
	s.at(0, Cancel{3}, `reject 3: acquire workspace "a": ErrDialing`)
	s.at(0, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(1, failed(1, model.Transient)) // nobody to retry for
	s.at(1, DialSucceeded{2})
	s.at(1, acquire(4, "a"), "grant 4 conn 2 a")
}

func TestWhenTheServerIsDownOneDialAtATimeFindsOutWhetherItIsBack(t *testing.T) {
	s := start(t, limits(9, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "b"), "dial 2 b")
	s.at(10, failed(1, model.ServerDown), "wake 11ns")
	s.at(10, failed(2, model.ServerDown)) // the same outage: not a second attempt
	s.at(10, acquire(3, "c"))
	s.at(11, Tick{}, "dial 3 a", "wake never")
	s.at(11, acquire(4, "d"))
	if err := s.Stats(11).ServerDown; err != errRefused {
		t.Errorf("ServerDown is %v", err)
	}
	s.at(20, failed(3, model.ServerDown), "wake 21ns")
	s.at(20, Cancel{1}, "reject 1: server_down dial of a, attempt 2: refused")
	s.at(21, Tick{}, "dial 4 b", "wake never")
	s.at(22, DialSucceeded{4}, "grant 2 conn 4 b after 22ns", "dial 5 c", "dial 6 d")
	if err := s.Stats(22).ServerDown; err != nil {
		t.Errorf("ServerDown is still %v", err)
	}
}

func TestANoWaitLearnsThatTheServerIsDown(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, noWait(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.ServerDown), "reject 1: server_down dial of a, attempt 1: refused")
	s.at(11, noWait(2, "a"), "dial 2 a")
	s.at(12, failed(2, model.ServerDown), "reject 2: server_down dial of a, attempt 2: refused")
}

func TestAServerThatRefusesIsNotDown(t *testing.T) {
	down := func(t *testing.T) script { // and conn 3 finds out
		s := start(t, limits(4, 1))
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(0, acquire(2, "b"), "dial 2 b")
		s.at(10, failed(1, model.ServerDown), "wake 11ns")
		s.at(10, failed(2, model.ServerDown))
		s.at(11, acquire(3, "c"), "dial 3 a", "wake never")
		return s
	}
	t.Run("for good", func(t *testing.T) {
		down(t).at(12, failed(3, model.Permanent), "reject 1: permanent dial of a, attempt 1: refused", "dial 4 b", "dial 5 c")
	})
	t.Run("because it is full", func(t *testing.T) {
		s := down(t)
		s.at(12, failed(3, model.ServerFull), "wake 500.000012ms")
		if err := s.Stats(12).ServerDown; err != nil {
			t.Errorf("ServerDown is still %v", err)
		}
	})
}

func TestAFullServerHoldsTheBudgetAtWhatIsOpen(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(0, acquire(3, "c"), "dial 3 c")
	s.at(10*ms, failed(3, model.ServerFull), "wake 510ms")
	s.at(20*ms, acquire(4, "d"))
	s.at(20*ms, Cancel{4}, "reject 4: budget limit of d: open 2 of 4, own 0 of 1, waiting 2 own 1, effective 2")
	s.at(510*ms, Tick{}, "dial 4 c", "wake 1.01s")
	s.at(520*ms, failed(4, model.ServerFull), "wake 1.02s")
	s.at(1020*ms, Tick{}, "dial 5 c", "wake 1.52s")
	s.at(1021*ms, DialSucceeded{5}, "grant 3 conn 5 c after 1.021s")
	s.at(1520*ms, Tick{}, "wake never") // the whole budget again
	s.at(1520*ms, acquire(5, "d"), "dial 6 d")
}

func TestAfterAFullServerTheBudgetIsProbedInDoublingSteps(t *testing.T) {
	s := start(t, limits(9, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, failed(1, model.ServerFull), "wake 500ms")
	s.at(1*ms, Cancel{1}, "reject 1: budget limit of a: open 0 of 9, own 0 of 1, waiting 1 own 1, effective 0")
	effective := func(want int) {
		t.Helper()
		if got := s.Stats(s.now).EffectiveBudget; got != want {
			t.Errorf("at %v the effective budget is %d, want %d", s.now, got, want)
		}
	}
	effective(0)
	s.at(499*ms, Tick{})
	effective(0)
	s.at(500*ms, Tick{}, "wake 1s")
	effective(1)
	s.at(1000*ms, Tick{}, "wake 1.5s")
	effective(3)
	s.at(1500*ms, Tick{}, "wake 2s")
	effective(7)
	s.at(2000*ms, Tick{}, "wake never")
	effective(9)
}

func TestAFullServerDoesNotRaiseALoweredBudget(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(0, acquire(3, "c"), "dial 3 c")
	s.at(0, SetLimits{Budget: 1, PerWorkspace: 1})
	s.at(0, failed(3, model.ServerFull)) // two are open, but one is the budget
}

// What is idle is still good for a swap.
func TestAFullServerDoesNotKeepIdleConnectionsFromMoving(t *testing.T) {
	s := start(t, limits(4, 1))
	s.parked(1, "a")
	s.at(0, acquire(2, "b"), "dial 2 b")
	s.at(10*ms, failed(2, model.ServerFull), "wake 510ms", "close 1 a make_room idle 10ms for b", "wake 110ms")
	s.at(11*ms, Closed{1}, "dial 3 b", "wake 510ms")
}

func TestAFullServerAnswersNoWaits(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, noWait(1, "a"), "dial 1 a")
	s.at(10*ms, failed(1, model.ServerFull), "reject 1: server_full dial of a, attempt 1: refused", "wake 510ms")
}

func TestAFailedDialWhoseSlotIsHeldKeepsItUntilClosed(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, DialFailed{1, model.Transient, errRefused, true}, "close 1 a dial_leftover", "wake 11ns")
	s.at(11, Tick{}, "wake never")
	s.at(12, Closed{1}, "dial 2 a")
}

func TestAReportOfNoDialUnderWayOnlyCounts(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.at(1*ms, DialSucceeded{1})
	s.at(1*ms, failed(1, model.Permanent))
	s.at(1*ms, DialSucceeded{9})
	s.at(1*ms, failed(9, model.ServerFull))
	if st := s.Stats(1 * ms); st.Counters.StaleMessages != 4 || st.InUse != 1 || st.EffectiveBudget != 4 {
		t.Errorf("%+v", st)
	}
}
