package core

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func lru2(budget, perWorkspace int) model.Limits {
	l := limits(budget, perWorkspace)
	l.Eviction = model.LRU2
	return l
}

// startLRU2 begins just after 0, since when nothing is used.
func startLRU2(t *testing.T, budget, perWorkspace int) script {
	t.Helper()
	s := start(t, lru2(budget, perWorkspace))
	s.at(1, Tick{})
	return s
}

// used lends idle connection n of the workspace and takes it back.
func (s script) used(n uint64, w model.WorkspaceID) {
	s.t.Helper()
	s.at(s.now, acquire(LeaseID(1000+s.now), w), fmt.Sprintf("grant %d conn %d %s", 1000+s.now, n, w))
	s.at(s.now+1*ms, release(LeaseID(1000+s.now), ConnID(n)))
}

// A single use does not push out what is used again and again.
func TestLRU2EvictsWhatWasUsedOnceBeforeWhatWasUsedTwice(t *testing.T) {
	s := startLRU2(t, 3, 1)
	s.parked(1, "a")
	s.parked(2, "b")
	s.at(1*ms, Tick{})
	s.used(1, "a")
	s.used(2, "b")
	s.parked(3, "once")
	s.at(4*ms, acquire(9, "d"), "close 3 once make_room idle 1ms for d", "wake 104ms")
	s.at(4*ms, Closed{3}, "dial 4 d", "wake never")
}

func TestLRU2EvictsTheOneWhoseLastUseButOneIsLongestAgo(t *testing.T) {
	for eviction, first := range map[model.Eviction]string{
		"":         "close 2 b make_room idle 1ms for c",
		model.LRU:  "close 2 b make_room idle 1ms for c",
		model.LRU2: "close 1 a make_room for c",
	} {
		l := limits(2, 1)
		l.Eviction = eviction
		s := start(t, l)
		s.at(1, Tick{})
		s.parked(1, "a")
		s.at(5*ms, Tick{})
		s.parked(2, "b")
		s.used(2, "b") // from 5ms to 6ms
		s.used(1, "a") // to 7ms
		s.at(7*ms, acquire(9, "c"), first, "wake 107ms")
	}
}

// The dial counts as a use until there is another.
func TestLRU2AConnectionThatNobodyHasUsedHasNoLastUseButOne(t *testing.T) {
	s := startLRU2(t, 2, 1)
	s.parked(1, "a")
	s.at(1*ms, Tick{})
	s.used(1, "a")
	s.at(3*ms, acquire(2, "b"), "dial 2 b")
	s.at(3*ms, Cancel{2}, "reject 2: acquire workspace \"b\": ErrDialing")
	s.at(4*ms, DialSucceeded{2})
	s.at(5*ms, acquire(3, "c"), "close 2 b make_room idle 1ms for c", "wake 105ms")
}

// A workspace that comes back goes on from where it was.
func TestLRU2RemembersTheLastUseOfWhatWasEvicted(t *testing.T) {
	s := startLRU2(t, 2, 1)
	s.parked(1, "a")
	s.at(1*ms, Tick{})
	s.used(1, "a") // its last use but one was at 0
	s.at(3*ms, Tick{})
	s.lent(2, "b")
	s.at(3*ms, release(2, 2))
	s.at(4*ms, acquire(3, "c"), "close 2 b make_room idle 1ms for c", "wake 104ms")
	s.at(4*ms, Closed{2}, "dial 3 c", "wake never")
	s.at(5*ms, DialSucceeded{3}, "grant 3 conn 3 c after 1ms")
	s.at(6*ms, release(3, 3))
	s.at(7*ms, acquire(4, "b"), "close 3 c make_room idle 1ms for b", "wake 107ms")
	s.at(8*ms, Closed{3}, "dial 4 b", "wake never")
	s.at(8*ms, acquire(5, "c"), "close 1 a make_room idle 6ms for c", "wake 108ms")
	s.at(8*ms, Closed{1}, "dial 5 c", "wake never")
	s.at(9*ms, DialSucceeded{4}, "grant 4 conn 4 b after 2ms")
	s.at(9*ms, DialSucceeded{5}, "grant 5 conn 5 c after 1ms")
	s.at(10*ms, release(5, 5))
	s.at(11*ms, release(4, 4))
	// b was used at 3ms, before it was evicted, and c at 6ms.
	s.at(12*ms, acquire(6, "d"), "close 4 b make_room idle 1ms for d", "wake 112ms")
	s.at(12*ms, acquire(7, "e"), "close 5 c make_room idle 2ms for e")
}

// What a burst has opened is the first to go.
func TestLRU2AFurtherConnectionOfAWorkspaceBeginsWithoutHistory(t *testing.T) {
	s := startLRU2(t, 3, 2)
	s.parked(1, "a")
	s.parked(2, "b")
	s.at(1*ms, Tick{})
	s.used(1, "a")
	s.used(2, "b")
	s.at(3*ms, acquire(3, "a"), "grant 3 conn 1 a")
	s.at(3*ms, acquire(4, "a"), "dial 3 a")
	s.at(4*ms, DialSucceeded{3}, "grant 4 conn 3 a after 1ms")
	s.at(5*ms, release(3, 1))
	s.at(6*ms, release(4, 3))
	s.at(7*ms, acquire(5, "c"), "close 3 a make_room idle 1ms for c", "wake 107ms")
}

func TestLRU2SuccessorOfAClosingConnectionGoesOnFromIt(t *testing.T) {
	s := startLRU2(t, 3, 2)
	s.lent(1, "a")
	s.parked(2, "b")
	s.at(4*ms, unclean(1, 1), "close 1 a not_reusable")
	s.at(4*ms, acquire(3, "a"), "dial 3 a")
	s.at(5*ms, DialSucceeded{3}, "grant 3 conn 3 a after 1ms")
	s.at(6*ms, release(3, 3))
	s.at(6*ms, Closed{1})
	s.used(2, "b") // its last use but one was at 0
	s.at(8*ms, SetLimits{Budget: 1, PerWorkspace: 2}, "close 2 b shrink idle 1ms")
}

func TestAReleaseOfSeveralUsesTellsOfTheLastTwo(t *testing.T) {
	s := startLRU2(t, 2, 1)
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(9*ms, Release{Lease: 1, Conn: 1, At: 8 * ms, Before: 5 * ms})
	s.at(9*ms, Release{Lease: 2, Conn: 2, At: 7 * ms, Before: 6 * ms})
	s.at(9*ms, acquire(3, "c"), "close 1 a make_room idle 1ms for c", "wake 109ms")
}

// I10: the ghosts are bounded.
func TestLRU2ForgetsWhatIsInactiveTheLongest(t *testing.T) {
	s := startLRU2(t, 1, 1)
	for i := range maxRetired + 3 { // the last two are not retired
		s.Step(s.now+1*ms, acquire(LeaseID(i+1), model.WorkspaceID(fmt.Sprint(i))))
		s.Step(s.now, Reclaim{})
		s.Step(s.now, Closed{ConnID(i)})
		s.Step(s.now, DialSucceeded{ConnID(i + 1)})
		s.Step(s.now, release(LeaseID(i+1), ConnID(i+1)))
	}
	if s.workspaces["0"] != nil || s.workspaces["1"] != nil || s.workspaces["2"].Released != 3*ms+1 {
		t.Errorf("%v, %v, %+v", s.workspaces["0"], s.workspaces["1"], s.workspaces["2"])
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

func TestARestoredStateEvictsInTheSameOrder(t *testing.T) {
	s := startLRU2(t, 3, 1)
	s.parked(1, "a")
	s.parked(2, "b")
	s.at(1*ms, Tick{})
	s.used(2, "b")
	s.used(2, "b")
	s.used(1, "a") // last, but before that at the beginning
	s.lent(3, "c")
	text, err := json.Marshal(s.Image())
	if err != nil {
		t.Fatal(err)
	}
	var i Image
	if err := json.Unmarshal(text, &i); err != nil {
		t.Fatal(err)
	}
	if s.State, err = Restore(i); err != nil {
		t.Fatal(err)
	}
	s.at(5*ms, acquire(9, "d"), "close 1 a make_room idle 1ms for d", "wake 105ms")
	s.at(5*ms, release(3, 3))
}

// A recording that is older than the field is one of LRU.
func TestAnImageWithoutAnEvictionIsOfLRU(t *testing.T) {
	l := limits(2, 1)
	l.Eviction = model.LRU2
	s := start(t, l)
	s.at(1, Tick{})
	s.parked(1, "a")
	s.at(1*ms, Tick{})
	s.used(1, "a")
	s.at(3*ms, Tick{})
	s.parked(2, "b")
	i := s.Image()
	i.Limits.Eviction = ""
	restored, err := Restore(i)
	if err != nil {
		t.Fatal(err)
	}
	s.State = restored
	s.at(4*ms, acquire(9, "d"), "close 1 a make_room idle 2ms for d", "wake 104ms")
}

func TestCheckSeesALRU2HeapOutOfOrder(t *testing.T) {
	s := startLRU2(t, 2, 1)
	s.parked(1, "a")
	s.at(1*ms, Tick{})
	s.parked(2, "b")
	s.conns[1].Before = 5 * ms
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "I6: connection 2 comes before the head of a heap") {
		t.Error(err)
	}
}
