package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestARenewClosesWhatIsIdleNowAndWhatIsLentWhenItComesHome(t *testing.T) {
	s := start(t, limits(4, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.parked(3, "b")
	s.at(1*ms, release(2, 2))
	s.at(3*ms, Renew{Operation: 7, Workspace: "a"}, "close 2 a renewed idle 2ms")
	s.at(3*ms, acquire(4, "a"), "dial 4 a") // traffic goes on, over a new connection
	s.at(4*ms, DialSucceeded{4}, "grant 4 conn 4 a after 1ms")
	s.at(5*ms, Closed{2}, "done 7 closed 1") // the lease that is out is not waited for
	s.at(6*ms, release(1, 1), "close 1 a renewed")
	s.at(7*ms, release(4, 4)) // the new one stays
	s.at(7*ms, acquire(5, "a"), "grant 5 conn 4 a")
	s.at(7*ms, acquire(6, "b"), "grant 6 conn 3 b") // another workspace's is as it was
}

func TestAStaleConnectionIsNotHandedOn(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"))
	s.at(0, Renew{Operation: 7, Workspace: "a"}, "done 7 closed 0")
	s.at(0, release(1, 1), "close 1 a renewed")
	s.at(1*ms, Closed{1}, "dial 2 a")
	s.at(2*ms, DialSucceeded{2}, "grant 2 conn 2 a after 2ms")
}

// It may have logged in to the old primary, or with the old password.
func TestADialUnderWayAtARenewIsNotLent(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(1*ms, Renew{Operation: 7, Workspace: "a"}, "done 7 closed 0")
	s.at(2*ms, acquire(2, "a"), "dial 2 a") // the old dial counts as the one for lease 1
	s.at(3*ms, DialSucceeded{1}, "close 1 a renewed")
	s.at(4*ms, Closed{1}, "dial 3 a")
	s.at(5*ms, DialSucceeded{2}, "grant 1 conn 2 a after 5ms") // first come, first served
	s.at(6*ms, DialSucceeded{3}, "grant 2 conn 3 a after 4ms")
}

func TestARenewForgetsTheDialFailures(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.Transient), "wake 11ns")
	s.at(10, Renew{Operation: 7, Workspace: "a"}, "done 7 closed 0", "dial 2 a", "wake never")
}

// A password that was just changed, a primary that was just replaced: what the old
// dial was told does not refuse its waiters.
func TestAPermanentFailureOfAStaleDialIsNotFinal(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, Renew{Operation: 7, Workspace: "a"}, "done 7 closed 0")
	s.at(10, failed(1, model.Permanent), "wake 11ns")
	s.at(11, Tick{}, "dial 2 a", "wake never")
	s.at(11, failed(2, model.Permanent), "reject 1: permanent dial of a, attempt 2: refused")
}

func TestARenewOfAllCoversEveryWorkspace(t *testing.T) {
	s := start(t, limits(6, 2))
	s.parked(1, "b")
	s.lent(2, "a")
	s.parked(3, "a")
	s.at(0, acquire(4, "c"), "dial 4 c")
	s.at(1*ms, Renew{Operation: 7, All: true}, "close 3 a renewed idle 1ms", "close 1 b renewed idle 1ms")
	s.at(2*ms, DialSucceeded{4}, "close 4 c renewed", "dial 5 c")
	s.at(2*ms, release(2, 2), "close 2 a renewed")
	s.at(3*ms, Closed{1})
	s.at(3*ms, Closed{4})
	s.at(3*ms, Closed{3}, "done 7 closed 2")
	s.at(4*ms, DialSucceeded{5}, "grant 4 conn 5 c after 4ms")
	s.at(5*ms, release(4, 5))
	s.at(5*ms, acquire(5, "c"), "grant 5 conn 5 c")
}

func TestARenewOfAnUnknownWorkspaceLeavesNoEntry(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, Renew{Operation: 7, Workspace: "nobody"}, "done 7 closed 0")
	s.at(0, Renew{Operation: 8, All: true}, "done 8 closed 0")
	if s.Known() != 0 {
		t.Errorf("%d workspaces known, want none", s.Known())
	}
}
