package core

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func limited(lease LeaseID, w model.WorkspaceID, most, waiters int32) Message {
	return Acquire{Lease: lease, Workspace: w, Limits: model.WorkspaceLimits{Cap: most, MaxWaiters: waiters}}
}

func TestAWorkspaceHasItsOwnCap(t *testing.T) {
	s := start(t, limits(5, 2))
	s.at(0, limited(1, "a", 1, 0), "dial 1 a")
	s.at(0, limited(2, "a", 1, 0))
	s.at(0, Cancel{2}, "reject 2: workspace limit of a: open 1 of 5, own 1 of 1, waiting 2 own 2")
	s.at(0, limited(3, "b", 3, 0), "dial 2 b")
	s.at(0, limited(4, "b", 3, 0), "dial 3 b")
	s.at(0, limited(5, "b", 3, 0), "dial 4 b")
	s.at(0, limited(6, "b", 3, 0))
	s.at(0, limited(7, "a", 2, 0), "dial 5 a") // it may have more from now on
}

func TestALowerCapOfAWorkspaceClosesWhatIsBeyondIt(t *testing.T) {
	s := start(t, limits(5, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.parked(3, "a")
	s.at(0, limited(4, "a", 2, 0), "close 3 a shrink")
	s.at(0, Closed{3})
	s.at(0, limited(5, "a", 1, 0))
	s.at(1*ms, release(1, 1), "close 1 a shrink")
	s.at(2*ms, release(2, 2), "grant 4 conn 2 a after 2ms")
	s.at(3*ms, acquire(6, "a"), "dial 4 a") // as all others again
	s.at(3*ms, SetLimits{Budget: 5, PerWorkspace: 1})
}

func TestAWorkspaceHasItsOwnQueue(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "x")
	s.at(0, limited(2, "a", 0, 1))
	s.at(0, limited(3, "a", 0, 1), "reject 3: queue limit of a: open 1 of 1, own 0 of 1, waiting 2 own 2")
	s.at(0, limited(4, "a", 0, 2))
}

func softly(most, soft int32) model.WorkspaceLimits {
	return model.WorkspaceLimits{Cap: most, SoftCap: soft}
}

func TestLimitsOfAWorkspaceHoldAtOnce(t *testing.T) {
	s := start(t, limits(5, 2))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "a"))
	s.at(0, SetWorkspaceLimits{"a", softly(3, 0)}, "dial 3 a")
	s.at(0, SetWorkspaceLimits{"a", softly(1, 0)})
	s.at(0, SetWorkspaceLimits{"unknown", softly(1, 0)})
	s.at(1*ms, release(1, 1), "close 1 a shrink")
}

func TestASurplusWaiterComesAfterAllOthers(t *testing.T) {
	l := limits(2, 2)
	l.SoftPerWorkspace = 1
	s := start(t, l)
	s.lent(1, "x")
	s.lent(2, "x")
	s.at(0, acquire(3, "a"))
	s.at(0, acquire(4, "a")) // beyond the soft cap
	s.at(0, acquire(5, "b"))
	s.at(1*ms, unclean(1, 1), "close 1 x not_reusable", "wake 101ms")
	s.at(1*ms, Closed{1}, "dial 3 a", "wake never")
	s.at(2*ms, unclean(2, 2), "close 2 x not_reusable", "wake 102ms")
	s.at(2*ms, Closed{2}, "dial 4 b", "wake never")
}

func TestAConnectionBeyondTheSoftCapYieldsAtOnce(t *testing.T) {
	l := limits(2, 2)
	l.SoftPerWorkspace, l.Patience = 1, time.Hour
	s := start(t, l)
	s.lent(1, "a")
	s.lent(2, "a")
	s.at(0, acquire(3, "a"))
	s.at(1*ms, acquire(4, "b"))
	s.at(1*ms, release(1, 1), "close 1 a yield for b", "wake 101ms")
	s.at(1*ms, release(2, 2), "grant 3 conn 2 a after 1ms") // this one is within it
}
