package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestAnEvictClosesTheIdleConnectionsOfItsWorkspace(t *testing.T) {
	s := start(t, limits(4, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.lent(3, "a")
	s.parked(4, "b")
	s.at(1*ms, release(3, 3))
	s.at(2*ms, release(1, 1))
	s.at(3*ms, Evict{7, "a"}, "close 3 a evict_asked idle 2ms", "close 1 a evict_asked idle 1ms")
	s.at(4*ms, Closed{1})
	s.at(5*ms, Closed{3}, "done 7 closed 2")
	s.at(6*ms, release(2, 2)) // a lease is none of its business
	s.at(7*ms, acquire(5, "a"), "grant 5 conn 2 a")
}

func TestAnEvictWithNothingToCloseIsDoneAtOnce(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, Evict{7, "nobody"}, "done 7 closed 0")
	if s.Known() != 0 {
		t.Errorf("an Evict made an entry for a workspace that is unknown")
	}
	s.lent(1, "a")
	s.at(0, Evict{8, "a"}, "done 8 closed 0")
}

func TestAPausedWorkspaceEndsUpWithoutConnections(t *testing.T) {
	s := start(t, limits(4, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.at(0, acquire(3, "a"), "dial 3 a")
	s.at(1*ms, release(2, 2), "grant 3 conn 2 a after 1ms")
	s.at(2*ms, release(3, 2))
	s.at(3*ms, Pause{7, "a"}, "close 2 a pause_asked idle 1ms")
	s.at(3*ms, acquire(4, "a")) // it waits
	s.at(3*ms, acquire(5, "b"), "dial 4 b")
	s.at(4*ms, release(1, 1), "close 1 a pause_asked")
	s.at(5*ms, DialSucceeded{3}, "close 3 a pause_asked")
	s.at(6*ms, Closed{1})
	s.at(6*ms, Closed{2})
	s.at(6*ms, Closed{3}, "done 7 closed 3")
	s.at(9*ms, Resume{"a"}, "dial 5 a")
}

func TestTwoPausesAreDoneTogether(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.at(0, Pause{7, "a"})
	s.at(0, Pause{8, "a"})
	s.at(0, release(1, 1), "close 1 a pause_asked")
	s.at(0, Closed{1}, "done 7 closed 1", "done 8 closed 1")
	s.at(0, Pause{9, "a"}, "done 9 closed 0")
}

func TestAResumeAnswersAPauseThatIsStillGoingOn(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.at(0, Pause{7, "a"})
	s.at(1*ms, Resume{"a"}, "done 7 closed 1")
}

func TestAResumeDoesNotSpareTheConnectionsThatWereThereAtThePause(t *testing.T) {
	s := start(t, limits(4, 2))
	s.lent(1, "a")
	s.at(0, Pause{7, "a"})
	s.at(1*ms, Resume{"a"}, "done 7 closed 1")
	s.at(1*ms, acquire(2, "a"), "dial 2 a")
	s.at(2*ms, DialSucceeded{2}, "grant 2 conn 2 a after 1ms")
	s.at(3*ms, release(1, 1), "close 1 a renewed")
	s.at(4*ms, release(2, 2)) // the new one stays
}

func TestAResumeOfAWorkspaceThatIsNotPausedDoesNothing(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, Resume{"nobody"})
	s.lent(1, "a")
	s.at(0, Resume{"a"})
	if s.Known() != 1 {
		t.Errorf("%d workspaces known, want only a", s.Known())
	}
}

func TestAResumeForgetsTheDialFailures(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(10, failed(1, model.Transient), "wake 11ns")
	s.at(10, Resume{"a"}, "dial 2 a", "wake never")
	s.at(10, failed(2, model.Permanent), "reject 1: permanent dial of a, attempt 1: refused")
	s.at(10, Resume{"a"})
	s.at(10, acquire(2, "a"), "dial 3 a")
}

// Whoever pauses a workspace may be about to create its database anew.
func TestAPermanentFailureUnderAPauseRefusesNobody(t *testing.T) {
	s := start(t, limits(4, 2))
	s.lent(1, "a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, noWait(3, "a"), "reject 3: workspace limit of a: open 2 of 4, own 2 of 2, waiting 2 own 2")
	s.at(0, Pause{7, "a"})
	s.at(10, failed(2, model.Permanent)) // 2 waits on
	s.at(10, acquire(4, "a"))            // and so does a new one
	s.at(10, Resume{"a"}, "done 7 closed 2", "dial 3 a")
}

func TestAWorkspaceIsPausedFromItsPauseToItsResume(t *testing.T) {
	s := start(t, limits(1, 1))
	for _, step := range []struct {
		message Message
		paused  bool
	}{{Tick{}, false}, {Pause{1, "a"}, true}, {Pause{2, "a"}, true}, {Resume{"b"}, true}, {Resume{"a"}, false}} {
		s.Step(0, step.message)
		if s.Paused("a") != step.paused || s.Paused("b") {
			t.Errorf("after %T: a paused %v, b paused %v", step.message, s.Paused("a"), s.Paused("b"))
		}
	}
}
