package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestAnAcquireTakesTheIdleConnectionUsedLast(t *testing.T) {
	s := start(t, limits(4, 2))
	s.lent(1, "a")
	s.lent(2, "a")
	s.at(1*ms, release(2, 2))
	s.at(2*ms, release(1, 1))
	s.at(3*ms, acquire(3, "a"), "grant 3 conn 1 a")
	s.at(3*ms, acquire(4, "a"), "grant 4 conn 2 a")
}

func TestWithNothingIdleAnAcquireWaitsForADial(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(5*ms, DialSucceeded{1}, "grant 1 conn 1 a after 5ms")
}

func TestADialServesTheWorkspaceNotTheWaiterThatCausedIt(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "a")) // the cap is reached
	s.at(1*ms, DialSucceeded{2}, "grant 1 conn 2 a after 1ms")
	s.at(2*ms, release(1, 2), "grant 2 conn 2 a after 2ms")
	s.at(3*ms, DialSucceeded{1}, "grant 3 conn 1 a after 3ms")
}

func TestAtItsCapAWorkspaceWaitsAlthoughSlotsAreFree(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"))
	s.at(1*ms, release(1, 1), "grant 2 conn 1 a after 1ms")
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	l := limits(1, 1)
	l.MaxWaiters, l.MaxWaitersPerWorkspace = 3, 2
	s := start(t, l)
	s.lent(1, "a")
	s.at(5*ms, acquire(2, "b"))
	s.at(5*ms, acquire(3, "b"))
	s.at(5*ms, acquire(4, "b"), "reject 4: queue limit of b: open 1 of 1, own 0 of 1, waiting 3 own 3")
	s.at(5*ms, acquire(5, "c"))
	s.at(5*ms, acquire(6, "d"), "reject 6: queue limit of d: open 1 of 1, own 0 of 1, waiting 4 own 1")
}

func TestAFullQueueIsNoReasonToRefuseAnIdleConnection(t *testing.T) {
	l := limits(2, 1)
	l.MaxWaiters = 1
	s := start(t, l)
	s.lent(1, "a")
	s.parked(2, "b")
	s.at(0, acquire(3, "a"))
	s.at(0, acquire(4, "b"), "grant 4 conn 2 b")
}

func TestNoWaitWaitsForADialButNotForALease(t *testing.T) {
	s := start(t, limits(2, 1))
	s.at(0, noWait(1, "a"), "dial 1 a")
	s.at(0, noWait(2, "a"), "reject 2: workspace limit of a: open 1 of 2, own 1 of 1, waiting 2 own 2")
	s.at(0, noWait(3, "b"), "dial 2 b")
	s.at(0, noWait(4, "c"), "reject 4: budget limit of c: open 2 of 2, own 0 of 1, waiting 3 own 1")
	s.at(1*ms, DialSucceeded{1}, "grant 1 conn 1 a after 1ms")
}

func TestARefusalNamesTheLimitThatWasReached(t *testing.T) {
	l := limits(4, 2)
	l.MaxWaitersPerWorkspace = 1
	s := start(t, l)
	s.lent(1, "slow")
	s.at(1*ms, acquire(2, "a"), "dial 2 a")
	s.at(1*ms, DialSucceeded{2}, "grant 2 conn 2 a")
	s.at(2*ms, acquire(3, "a"), "dial 3 a")
	s.at(2*ms, DialSucceeded{3}, "grant 3 conn 3 a")
	s.at(3*ms, noWait(4, "a"), "reject 4: workspace limit of a: open 3 of 4, own 2 of 2, waiting 1 own 1")
	s.at(4*ms, acquire(5, "a"))
	s.at(4*ms, acquire(6, "a"), "reject 6: queue limit of a: open 3 of 4, own 2 of 2, waiting 2 own 2")
	s.at(5*ms, Cancel{5}, "reject 5: workspace limit of a: open 3 of 4, own 2 of 2, waiting 1 own 1")
	s.at(6*ms, acquire(7, "b"), "dial 4 b")
	s.at(6*ms, noWait(8, "c"), "reject 8: budget limit of c: open 4 of 4, own 0 of 2, waiting 2 own 1")
}

func TestAtItsCapAWorkspaceWithoutALeaseIsToldOfNone(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "slow")
	s.lent(2, "a")
	s.at(1*ms, unclean(2, 2), "close 2 a not_reusable")
	s.at(2*ms, noWait(3, "a"), "reject 3: workspace limit of a: open 2 of 4, own 1 of 1, waiting 1 own 1")
}

func TestNoWaitWaitsForAnEvictionThatIsMeantForIt(t *testing.T) {
	s := start(t, limits(1, 1))
	s.parked(1, "a")
	s.at(1*ms, noWait(2, "b"), "close 1 a make_room idle 1ms for b", "wake 101ms")
	s.at(1*ms, noWait(3, "c"), "reject 3: budget limit of c: open 1 of 1, own 0 of 1, waiting 2 own 1")
	s.at(2*ms, Closed{1}, "dial 2 b", "wake never")
}

func TestNoWaitMayHaveTheDialOfAWaiterThatGaveUp(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(0, acquire(2, "b")) // it cannot use a dial of a
	s.at(0, noWait(3, "a"))
	s.at(1*ms, DialSucceeded{1}, "grant 3 conn 1 a after 1ms")
}

func TestNoWaitWaitsForNoRetryAndNoResume(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.Transient), "wake 11ns")
	s.at(10, noWait(2, "a"), "reject 2: transient dial of a, attempt 1: refused")

	s = start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.ServerDown), "wake 11ns")
	s.at(10, noWait(2, "b"), "reject 2: server_down dial of b, attempt 1: refused")

	s = start(t, limits(4, 1))
	s.at(0, Pause{7, "a"}, "done 7 closed 0")
	s.at(0, noWait(1, "a"), `reject 1: acquire workspace "a": ErrPaused`)
}

func TestWhileAPermanentFailureLastsAcquiresAreRefusedAtOnce(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.Permanent), "reject 1: permanent dial of a, attempt 1: refused")
	s.at(10, acquire(2, "a"), "reject 2: permanent dial of a, attempt 1: refused")
	s.at(10, acquire(3, "b"), "dial 2 b")
	s.at(11, acquire(4, "a"), "dial 3 a") // perhaps the database exists by now
	s.at(20, failed(3, model.Permanent), "reject 4: permanent dial of a, attempt 2: refused")
}

func TestALongIdleConnectionIsVerified(t *testing.T) {
	l := limits(4, 1)
	l.VerifyAfter = 30 * ms
	s := start(t, l)
	s.parked(1, "a")
	s.at(29*ms, acquire(2, "a"), "grant 2 conn 1 a")
	s.at(30*ms, release(2, 1))
	s.at(60*ms, acquire(3, "a"), "grant 3 conn 1 a verify")
}

func TestAfterTheServerWasDownTheIdleOnesAreVerified(t *testing.T) {
	s := start(t, limits(4, 1))
	s.parked(1, "a")
	s.at(0, acquire(2, "b"), "dial 2 b")
	s.at(1*ms, failed(2, model.ServerDown), "wake 1.000001ms")
	s.at(2*ms, Cancel{2}, "reject 2: server_down dial of b, attempt 1: refused", "wake never")
	s.at(3*ms, acquire(3, "a"), "grant 3 conn 1 a verify")
}

func TestAfterALostConnectionTheIdleOnesAreVerified(t *testing.T) {
	s := start(t, limits(4, 1))
	s.parked(1, "a")
	s.lent(2, "b")
	s.lent(3, "c")
	s.at(5*ms, release(2, 2))
	s.at(5*ms, Release{Lease: 3, Conn: 3, Health: Lost}, "close 3 c not_reusable")
	s.at(6*ms, acquire(4, "a"), "grant 4 conn 1 a verify")
	s.at(7*ms, release(4, 1))
	s.at(8*ms, acquire(5, "a"), "grant 5 conn 1 a") // it has worked since
	s.at(8*ms, acquire(6, "b"), "grant 6 conn 2 b verify")
}

func TestAWaiterThatGivesUpLearnsWhatItWaitedFor(t *testing.T) {
	t.Run("a resume", func(t *testing.T) {
		s := start(t, limits(4, 1))
		s.at(0, Pause{7, "a"}, "done 7 closed 0")
		s.at(0, acquire(1, "a"))
		s.at(0, Cancel{1}, `reject 1: acquire workspace "a": ErrPaused`)
	})
	t.Run("a retry", func(t *testing.T) {
		s := start(t, limits(4, 1))
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(10, failed(1, model.Transient), "wake 11ns")
		s.at(10, Cancel{1}, "reject 1: transient dial of a, attempt 1: refused", "wake never")
	})
	t.Run("a retry that is under way", func(t *testing.T) {
		s := start(t, limits(4, 1))
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(10, failed(1, model.Transient), "wake 11ns")
		s.at(11, Tick{}, "dial 2 a", "wake never")
		s.at(12, Cancel{1}, "reject 1: transient dial of a, attempt 1: refused")
	})
	t.Run("its turn to be dialed, with connections to evict", func(t *testing.T) {
		l := limits(2, 1)
		l.MaxDialing = 1
		s := start(t, l)
		s.parked(1, "a")
		s.parked(2, "b")
		s.at(0, acquire(3, "c"), "close 1 a make_room for c", "wake 100ms")
		s.at(0, acquire(4, "d"))
		s.at(0, Cancel{4}, `reject 4: acquire workspace "d": ErrDialing`)
	})
	t.Run("the server", func(t *testing.T) {
		s := start(t, limits(4, 1))
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(10, failed(1, model.ServerDown), "wake 11ns")
		s.at(11, Tick{}, "dial 2 a", "wake never")
		s.at(12, Cancel{1}, "reject 1: server_down dial of a, attempt 1: refused")
	})
	t.Run("the server, which went down after a failure of its own", func(t *testing.T) {
		s := start(t, limits(4, 1))
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(10, failed(1, model.Transient), "wake 11ns")
		s.at(11, Tick{}, "dial 2 a", "wake never")
		s.at(1*ms, failed(2, model.ServerDown), "wake 1.000001ms")
		s.at(1*ms, Cancel{1}, "reject 1: server_down dial of a, attempt 1: refused", "wake never")
	})
	t.Run("its dial", func(t *testing.T) {
		s := start(t, limits(4, 2))
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(0, acquire(2, "a"), "dial 2 a")
		s.at(0, Cancel{2}, `reject 2: acquire workspace "a": ErrDialing`)
	})
	t.Run("its turn to be dialed", func(t *testing.T) {
		l := limits(4, 1)
		l.MaxDialing = 1
		s := start(t, l)
		s.at(0, acquire(1, "a"), "dial 1 a")
		s.at(0, acquire(2, "b"))
		s.at(0, Cancel{2}, `reject 2: acquire workspace "b": ErrDialing`)
	})
	t.Run("a lease of its own workspace", func(t *testing.T) {
		s := start(t, limits(4, 2))
		s.lent(1, "a")
		s.at(0, acquire(2, "a"), "dial 2 a")
		s.at(0, acquire(3, "a"))
		s.at(5*ms, Cancel{3}, "reject 3: workspace limit of a: open 2 of 4, own 2 of 2, waiting 2 own 2")
	})
	t.Run("a lease of anybody", func(t *testing.T) {
		s := start(t, limits(2, 1))
		s.lent(1, "a")
		s.at(1*ms, acquire(2, "b"), "dial 2 b")
		s.at(2*ms, DialSucceeded{2}, "grant 2 conn 2 b after 1ms")
		s.at(3*ms, acquire(3, "c"))
		s.at(5*ms, Cancel{3}, "reject 3: budget limit of c: open 2 of 2, own 0 of 1, waiting 1 own 1")
	})
}

func TestACancelledWaiterOnlyLeavesTheQueue(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"))
	s.at(0, acquire(3, "a"))
	s.at(0, acquire(4, "a"))
	s.at(0, Cancel{3}, "reject 3: workspace limit of a: open 1 of 1, own 1 of 1, waiting 3 own 3")
	s.at(0, Cancel{3})
	s.at(0, release(1, 1), "grant 2 conn 1 a")
	s.at(0, Cancel{2}) // the grant is on its way
	s.at(0, release(2, 1), "grant 4 conn 1 a")
}
