package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func exclusive(lease LeaseID, w model.WorkspaceID) Message {
	return Acquire{Lease: lease, Workspace: w, Exclusive: true}
}

func TestAnExclusiveAcquireGetsTheOnlyConnectionOfItsWorkspace(t *testing.T) {
	s := start(t, limits(6, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.parked(3, "b")
	s.at(0, release(2, 2))
	s.at(1*ms, exclusive(4, "a"), "close 2 a pause_asked idle 1ms")
	s.at(2*ms, acquire(5, "a")) // it waits
	s.at(2*ms, noWait(6, "a"), `reject 6: acquire workspace "a": ErrPaused`)
	s.at(3*ms, release(1, 1), "close 1 a pause_asked") // not lent: its session is somebody else's
	s.at(4*ms, Closed{1})
	s.at(5*ms, Closed{2}, "dial 4 a")
	s.at(6*ms, DialSucceeded{4}, "grant 4 conn 4 a after 5ms")
	s.at(6*ms, acquire(7, "a"))
	s.at(6*ms, acquire(8, "b"), "grant 8 conn 3 b") // others are not concerned
	s.at(8*ms, release(4, 4), "close 4 a not_reusable", "dial 5 a", "dial 6 a")
	s.at(9*ms, DialSucceeded{5}, "grant 5 conn 5 a after 7ms")
	s.at(9*ms, DialSucceeded{6}, "grant 7 conn 6 a after 3ms")
	s.at(9*ms, Closed{4})
}

func TestExclusiveAcquiresTakeTurnsAndGoBeforeTheOthers(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, exclusive(2, "a"))
	s.at(0, exclusive(3, "a"))
	s.at(1*ms, DialSucceeded{1}, "grant 2 conn 1 a after 1ms") // it is fresh, and the only one
	s.at(2*ms, unclean(2, 1), "close 1 a not_reusable")
	s.at(3*ms, Closed{1}, "dial 2 a")
	s.at(4*ms, DialSucceeded{2}, "grant 3 conn 2 a after 4ms")
	s.at(5*ms, release(3, 2), "close 2 a not_reusable")
	s.at(6*ms, Closed{2}, "dial 3 a")
	s.at(7*ms, DialSucceeded{3}, "grant 1 conn 3 a after 7ms")
}

func TestAnExclusiveAcquireIsServedDuringAPauseWhichItDoesNotEnd(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, Pause{7, "a"}, "done 7 closed 0")
	s.at(0, acquire(1, "a"))
	s.at(1*ms, exclusive(2, "a"), "dial 1 a")
	s.at(2*ms, DialSucceeded{1}, "grant 2 conn 1 a after 1ms")
	s.at(3*ms, Pause{8, "a"}) // it waits for the exclusive lease
	s.at(4*ms, release(2, 1), "close 1 a not_reusable")
	s.at(5*ms, Closed{1}, "done 8 closed 1")
	s.at(6*ms, Resume{"a"}, "dial 2 a")
}

func TestAResumeDoesNotEndAnExclusiveLease(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, Pause{7, "a"}, "done 7 closed 0")
	s.at(0, exclusive(1, "a"), "dial 1 a")
	s.at(1*ms, DialSucceeded{1}, "grant 1 conn 1 a after 1ms")
	s.at(2*ms, Resume{"a"})
	s.at(3*ms, acquire(2, "a"))
	s.at(4*ms, release(1, 1), "close 1 a not_reusable", "dial 2 a")
}

func TestAnExclusiveWaiterThatGivesUpLetsTheOthersIn(t *testing.T) {
	s := start(t, limits(4, 2))
	s.lent(1, "a")
	s.at(0, exclusive(2, "a"))
	s.at(0, acquire(3, "a"))
	s.at(1*ms, Cancel{2}, `reject 2: acquire workspace "a": ErrInUse`, "dial 2 a")
	s.at(2*ms, release(1, 1), "grant 3 conn 1 a after 2ms")
}

func TestADialForAnExclusiveWaiterThatGaveUpServesTheOthers(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, exclusive(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "a"))
	s.at(1*ms, Cancel{1}, `reject 1: acquire workspace "a": ErrDialing`)
	s.at(2*ms, DialSucceeded{1}, "grant 2 conn 1 a after 2ms")
}

// Whoever pauses a workspace may be about to create its database anew; who wants to
// be alone with it must know now.
func TestAPermanentFailureAnswersTheExclusiveWaitersAlsoInAPause(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, Pause{7, "a"}, "done 7 closed 0")
	s.at(0, acquire(1, "a"))
	s.at(0, exclusive(2, "a"), "dial 1 a")
	s.at(10, failed(1, model.Permanent), "reject 2: permanent dial of a, attempt 1: refused")
	s.at(11, exclusive(3, "a"), "dial 2 a")
	s.at(20, failed(2, model.Transient), "wake 21ns")
	s.at(21, Tick{}, "dial 3 a", "wake never")
	s.at(30, DialSucceeded{3}, "grant 3 conn 3 a after 19ns")
}

func TestADrainRefusesTheExclusiveWaiters(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, exclusive(1, "a"), "dial 1 a")
	s.at(1*ms, DialSucceeded{1}, "grant 1 conn 1 a after 1ms")
	s.at(2*ms, exclusive(2, "a"))
	s.at(3*ms, Drain{}, `reject 2: acquire workspace "a": ErrClosed`)
	s.at(4*ms, release(1, 1), "close 1 a drain_asked")
	s.at(5*ms, Closed{1}, "drained")
}

// A stale connection is not lent, to nobody.
func TestARenewIsForTheDialOfAnExclusiveWaiterToo(t *testing.T) {
	s := start(t, limits(4, 2))
	s.at(0, exclusive(1, "a"), "dial 1 a")
	s.at(1*ms, Renew{Operation: 7, Workspace: "a"}, "done 7 closed 0")
	s.at(2*ms, DialSucceeded{1}, "close 1 a renewed")
	s.at(3*ms, Closed{1}, "dial 2 a")
	s.at(4*ms, DialSucceeded{2}, "grant 1 conn 2 a after 4ms")
}

func TestAFreshConnectionBesideOthersIsNotForWhoWantsToBeAlone(t *testing.T) {
	s := start(t, limits(4, 2))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, exclusive(3, "a"))
	s.at(1*ms, DialSucceeded{2}, "close 2 a pause_asked")
	s.at(2*ms, release(1, 1), "close 1 a pause_asked")
	s.at(3*ms, Closed{1})
	s.at(4*ms, Closed{2}, "dial 3 a")
}
