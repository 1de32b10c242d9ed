package model

import "testing"

func TestAReleasedConnectionGoesToTheFirstWaiterOfItsWorkspace(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"))
	s.at(1*ms, acquire(3, "a"))
	s.at(5*ms, release(1, 1), "grant 2 conn 1 a after 5ms")
	s.at(6*ms, release(2, 1), "grant 3 conn 1 a after 5ms")
	s.at(7*ms, release(3, 1))
	s.at(8*ms, acquire(4, "a"), "grant 4 conn 1 a")
}

func TestAStaleReleaseOnlyCounts(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.at(1*ms, release(1, 1))
	s.at(2*ms, release(1, 1)) // a second one
	s.at(3*ms, acquire(2, "a"), "grant 2 conn 1 a")
	s.at(4*ms, unclean(1, 1)) // the connection is somebody else's by now
	s.at(4*ms, release(2, 9)) // there is no such connection
	s.at(4*ms, acquire(3, "b"), "dial 2 b")
	s.at(5*ms, release(3, 2)) // it is not lent yet
	if st := s.Stats(5 * ms); st.Counters.StaleMessages != 4 || st.InUse != 1 || st.LongestLease != 2*ms {
		t.Errorf("%+v", st)
	}
	s.at(6*ms, release(2, 1))
}

func TestAConnectionThatIsNotCleanIsClosed(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.parked(2, "b")
	s.at(0, acquire(3, "a"))
	s.at(1*ms, unclean(1, 1), "close 1 a not_reusable")
	s.at(2*ms, acquire(4, "b"), "grant 4 conn 2 b") // others are above suspicion
	s.at(2*ms, Closed{1}, "dial 3 a")
}

func TestASlotMovesOnlyToAWaiterOlderByMoreThanPatience(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "b"))
	s.at(20*ms, acquire(3, "a"))
	s.at(21*ms, release(1, 1), "grant 3 conn 1 a after 1ms")
	s.at(22*ms, acquire(4, "a"))
	s.at(25*ms, release(3, 1), "close 1 a yield for b", "wake 125ms")
	s.at(26*ms, Closed{1}, "dial 2 b", "wake never")
}

func TestASlotDoesNotMoveWhenOthersAreComing(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.lent(2, "c")
	s.at(0, acquire(3, "b"))
	s.at(30*ms, acquire(4, "a"))
	s.at(31*ms, unclean(2, 2), "close 2 c not_reusable", "wake 131ms")
	s.at(32*ms, release(1, 1), "grant 4 conn 1 a after 2ms") // b has the slot of c
}

func TestASlotMovesWhenTooFewOthersAreComing(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.lent(2, "x")
	s.lent(3, "y")
	s.lent(4, "z")
	s.at(0, acquire(5, "b"))
	s.at(0, acquire(6, "b")) // it needs only one, because of the cap
	s.at(0, acquire(7, "c"))
	s.at(30*ms, acquire(8, "a"))
	s.at(31*ms, unclean(2, 2), "close 2 x not_reusable", "wake 131ms")
	s.at(31*ms, unclean(3, 3), "close 3 y not_reusable")
	s.at(32*ms, release(1, 1), "grant 8 conn 1 a after 2ms") // two older ones, two slots coming
	s.at(33*ms, acquire(9, "d"))
	s.at(60*ms, acquire(10, "a"))
	s.at(61*ms, release(8, 1), "close 1 a yield for d") // three, and two
}

func TestASlotDoesNotMoveToWhereItCouldNotBeUsed(t *testing.T) {
	t.Run("because no dial could start", func(t *testing.T) {
		l := limits(2, 1)
		l.MaxDialing = 1
		s := start(t, l)
		s.lent(1, "a")
		s.at(0, acquire(2, "b"), "dial 2 b")
		s.at(0, acquire(3, "c"))
		s.at(30*ms, acquire(4, "a"))
		s.at(31*ms, release(1, 1), "grant 4 conn 1 a after 1ms")
	})
	t.Run("because no dial beyond those that are coming could", func(t *testing.T) {
		l := limits(2, 1)
		l.MaxDialing = 1
		s := start(t, l)
		s.lent(1, "a")
		s.lent(2, "x")
		s.at(0, acquire(3, "b"))
		s.at(0, acquire(4, "c"))
		s.at(30*ms, acquire(5, "a"))
		s.at(31*ms, unclean(2, 2), "close 2 x not_reusable", "wake 131ms")
		s.at(32*ms, release(1, 1), "grant 5 conn 1 a after 2ms")
	})
	t.Run("because of the other's cap", func(t *testing.T) {
		s := start(t, limits(2, 1))
		s.lent(1, "a")
		s.lent(2, "b")
		s.at(0, acquire(3, "b"))
		s.at(30*ms, acquire(4, "a"))
		s.at(31*ms, release(1, 1), "grant 4 conn 1 a after 1ms")
	})
}

// No slot is coming, even less than none: 2 lingers beyond the lowered budget.
func TestASlotDoesNotMoveWhenNobodyElseWaits(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(0, unclean(2, 2), "close 2 b not_reusable")
	s.at(1*ms, SetLimits{1, 1})
	s.at(1*ms, acquire(3, "a"))
	s.at(200*ms, release(1, 1), "grant 3 conn 1 a after 199ms")
}

func TestAFreshConnectionFollowsTheSameRule(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(1*ms, acquire(2, "b"))
	s.at(2*ms, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(30*ms, acquire(3, "a"))
	s.at(31*ms, DialSucceeded{1}, "close 1 a yield for b", "wake 131ms")
}

func TestAFreshConnectionNobodyWaitsForIsIdle(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(1*ms, DialSucceeded{1})
	s.at(2*ms, acquire(2, "a"), "grant 2 conn 1 a")
}
