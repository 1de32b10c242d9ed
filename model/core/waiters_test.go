package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// A dial under way is meant for the first waiter, so the second one says how
// long its workspace has been in need.
func TestAWorkspacesPlaceInLineIsThatOfItsFirstUncoveredWaiter(t *testing.T) {
	l := limits(9, 2)
	l.MaxDialing = 1
	s := start(t, l)
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(1*ms, acquire(2, "b"))
	s.at(2*ms, acquire(3, "a"))
	s.at(3*ms, DialSucceeded{1}, "grant 1 conn 1 a after 3ms", "dial 2 b")
	s.at(4*ms, DialSucceeded{2}, "grant 2 conn 2 b after 3ms", "dial 3 a")
}

func TestAWaiterThatGivesUpLeavesItsDialToTheNext(t *testing.T) {
	s := start(t, limits(9, 2))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(0, acquire(3, "a")) // two dials, two waiters
	s.at(0, acquire(4, "b"), "dial 3 b")
	s.at(1*ms, DialSucceeded{2}, "grant 2 conn 2 a after 1ms")
	s.at(1*ms, DialSucceeded{1}, "grant 3 conn 1 a after 1ms")
}

// The released connection's slot is owed elsewhere only if more than the slots
// that are coming are wanted by older waiters. They are counted in the heap of
// needy workspaces; some of its branches are too young.
func TestOnlyWaitersOlderByMoreThanPatienceAreCounted(t *testing.T) {
	for _, test := range []struct {
		older, younger int // workspaces with two waiters each
		want           string
	}{
		{0, 5, "grant 5 conn 1 a after 1ms"},
		{1, 5, "grant 5 conn 1 a after 1ms"}, // its two waiters take the two slots
		{2, 0, "close 1 a yield for bb"},
		{2, 5, "close 1 a yield for bb"},
		{5, 5, "close 1 a yield for bb"},
	} {
		s := start(t, limits(3, 2))
		s.lent(1, "a")
		s.lent(2, "x")
		s.lent(3, "y")
		lease, w := LeaseID(9), model.WorkspaceID("b")
		wait := func(workspaces int) {
			for range workspaces {
				s.Step(s.now, acquire(lease, w))
				s.Step(s.now, acquire(lease+1, w))
				lease, w = lease+2, w+"b"
			}
		}
		wait(test.older)
		s.at(30*ms, Tick{})
		wait(test.younger)
		s.at(30*ms, acquire(5, "a"))
		s.at(31*ms, unclean(2, 2), "close 2 x not_reusable", "wake 131ms")
		s.at(31*ms, unclean(3, 3), "close 3 y not_reusable")
		s.at(31*ms, release(1, 1), test.want)
	}
}

func TestAYoungWaiterIsNoOlderForItsWorkspacesOldOne(t *testing.T) {
	s := start(t, limits(2, 2))
	s.lent(1, "a")
	s.lent(2, "x")
	s.at(0, acquire(3, "b"))
	s.at(30*ms, acquire(4, "b"))
	s.at(30*ms, acquire(5, "a"))
	s.at(31*ms, unclean(2, 2), "close 2 x not_reusable", "wake 131ms")
	s.at(31*ms, release(1, 1), "grant 5 conn 1 a after 1ms") // the slot of x is for 3
}

func TestAnOldWaiterThatHasItsDialIsOwedNothing(t *testing.T) {
	s := start(t, limits(2, 2))
	s.lent(1, "a")
	s.at(0, acquire(2, "b"), "dial 2 b")
	s.at(30*ms, acquire(3, "b"))
	s.at(30*ms, acquire(4, "a"))
	s.at(31*ms, release(1, 1), "grant 4 conn 1 a after 1ms")
}
