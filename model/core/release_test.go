package core

import (
	"testing"
	"time"
)

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
	if st := s.Stats(5 * ms); st.Counters.StaleMessages != 4 || st.InUse != 1 {
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
	s.at(1*ms, SetLimits{Budget: 1, PerWorkspace: 1})
	s.at(1*ms, acquire(3, "a"))
	s.at(200*ms, release(1, 1), "grant 3 conn 1 a after 199ms")
}

// What a dial has cost is not thrown away: its connection moves to b only after nine
// times as long.
func TestAConnectionStaysForNineTimesAsLongAsItsDialTook(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(1*ms, acquire(2, "b"))
	for lease := range LeaseID(3) {
		s.at(22*ms, acquire(3+lease, "a"))
	}
	s.at(31*ms, DialSucceeded{1}, "grant 1 conn 1 a after 31ms")
	s.at(32*ms, release(1, 1), "grant 3 conn 1 a after 10ms")
	s.at(31*ms+9*31*ms-1, release(3, 1), "grant 4 conn 1 a after 287.999999ms")
	s.at(31*ms+9*31*ms, release(4, 1), "close 1 a yield for b", "wake 410ms")
}

func TestNoConnectionStaysForMoreThanASecond(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(1*ms, acquire(2, "b"))
	for lease := range LeaseID(2) {
		s.at(22*ms, acquire(3+lease, "a"))
	}
	s.at(500*ms, DialSucceeded{1}, "grant 1 conn 1 a after 500ms")
	s.at(1500*ms-1, release(1, 1), "grant 3 conn 1 a after 1.477999999s")
	s.at(1500*ms, release(3, 1), "close 1 a yield for b", "wake 1.6s")
}

func TestAFreshConnectionNobodyWaitsForIsIdle(t *testing.T) {
	s := start(t, limits(1, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(1*ms, DialSucceeded{1})
	s.at(2*ms, acquire(2, "a"), "grant 2 conn 1 a")
}

// releasedAt is a Release of which the State is told later than it was given back.
func releasedAt(at time.Duration, lease LeaseID, c ConnID) Message {
	return Release{Lease: lease, Conn: c, At: at}
}

func TestAConnectionIsIdleSinceItWasGivenBack(t *testing.T) {
	l := limits(2, 1)
	l.MaxIdleTime, l.VerifyAfter = 50*ms, 30*ms
	s := start(t, l)
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(30*ms, releasedAt(10*ms, 1, 1), "wake 60ms")
	s.at(31*ms, releasedAt(5*ms, 2, 2), "wake 55ms")
	s.at(40*ms, acquire(3, "a"), "grant 3 conn 1 a verify")
	s.at(55*ms, Tick{}, "close 2 b idle_time_over idle 50ms", "wake never")
}

func TestWhatWasGivenBackLongAgoIsClosedAtOnce(t *testing.T) {
	l := limits(3, 3)
	l.MaxIdleTime = 50 * ms
	s := start(t, l)
	s.lent(1, "a")
	s.lent(2, "a")
	s.lent(3, "a")
	s.at(60*ms, releasedAt(10*ms, 1, 1), "close 1 a idle_time_over idle 50ms")
	s.at(60*ms, releasedAt(11*ms, 2, 2), "wake 61ms")
	s.at(60*ms, Pause{1, "b"}, "done 1 closed 0")
	s.at(61*ms, Tick{}, "close 2 a idle_time_over idle 50ms", "wake never")
	s.at(61*ms, Closed{1})
	s.at(61*ms, acquire(4, "a"), "dial 4 a")
	s.at(90*ms, releasedAt(20*ms, 3, 3), "grant 4 conn 3 a after 29ms") // somebody has a use for it
}

func TestTheOrderOfUseIsThatOfGivingBack(t *testing.T) {
	s := start(t, limits(5, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.lent(3, "a")
	s.lent(4, "b")
	s.lent(5, "b")
	s.at(10*ms, release(1, 1))
	s.at(20*ms, releasedAt(5*ms, 2, 2))
	s.at(20*ms, releasedAt(12*ms, 3, 3))
	s.at(20*ms, releasedAt(7*ms, 4, 4))
	s.at(20*ms, releasedAt(7*ms, 5, 5))
	s.at(21*ms, acquire(6, "a"), "grant 6 conn 3 a") // the most recently used
	s.at(22*ms, acquire(7, "c"), "close 2 a make_room idle 17ms for c", "wake 122ms")
	s.at(22*ms, acquire(8, "d"), "close 4 b make_room idle 15ms for d")
	s.at(22*ms, acquire(9, "e"), "close 5 b make_room idle 15ms for e")
	s.at(22*ms, acquire(10, "f"), "close 1 a make_room idle 12ms for f")
}

func TestAConnectionIsNotGivenBackLaterThanNow(t *testing.T) {
	for _, test := range []struct{ at, used time.Duration }{
		{15 * ms, 15 * ms}, {20 * ms, 20 * ms}, {25 * ms, 20 * ms}, {Never, 20 * ms}, {0, 20 * ms},
	} {
		s := start(t, limits(1, 1))
		s.Step(10*ms, Tick{})
		s.lent(1, "a")
		s.at(20*ms, releasedAt(test.at, 1, 1))
		want := "close 1 a evict_asked idle " + (30*ms - test.used).String()
		s.at(30*ms, Evict{1, "a"}, want)
	}
}

func TestAWorkspaceWasLastUsedWhenTheLastOfItsLeasesEnded(t *testing.T) {
	s := start(t, limits(2, 2))
	s.lent(1, "a")
	s.lent(2, "a")
	s.at(20*ms, releasedAt(15*ms, 1, 1))
	s.at(30*ms, releasedAt(10*ms, 2, 2))
	if used := s.Stats(40 * ms).Active[0].LastUsed; used != 25*ms {
		t.Errorf("it was last used %v ago", used)
	}
}

func TestWhatWasGivenBackBeforeALossIsVerified(t *testing.T) {
	s := start(t, limits(3, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.lent(3, "c")
	s.at(20*ms, Release{Lease: 3, Conn: 3, Health: Lost}, "close 3 c not_reusable")
	s.at(30*ms, releasedAt(20*ms, 1, 1))
	s.at(30*ms, releasedAt(21*ms, 2, 2))
	s.at(30*ms, acquire(4, "a"), "grant 4 conn 1 a verify")
	s.at(30*ms, acquire(5, "b"), "grant 5 conn 2 b")
}
