package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// Rule 9. The share is half of the budget where a test says nothing else.

func forBatch(lease LeaseID, w model.WorkspaceID) Message {
	return Acquire{Lease: lease, Workspace: w, Batch: true, NoWait: lease%2 == 0} // which means nothing
}

func startBatch(t *testing.T, budget int, share float64) script {
	l := limits(budget, 2)
	l.BatchShare = share
	return start(t, l)
}

// batchLent puts batch lease n on connection n, freshly dialed.
func (s script) batchLent(n uint64, w model.WorkspaceID) {
	s.t.Helper()
	s.at(s.now, forBatch(LeaseID(n), w), line(Dial{ConnID(n), w, true}))
	s.at(s.now, DialSucceeded{ConnID(n)}, line(Grant{Lease: LeaseID(n), Conn: ConnID(n), Workspace: w}))
}

func TestInteractiveWaitersOfAWorkspaceGoBeforeBatchOnes(t *testing.T) {
	s := start(t, limits(2, 1))
	s.lent(1, "a")
	s.at(0, forBatch(2, "a"))
	s.at(1*ms, acquire(3, "a"))
	s.at(2*ms, forBatch(4, "a"))
	s.at(3*ms, release(1, 1), "grant 3 conn 1 a after 2ms")
	s.at(3*ms, release(3, 1), "grant 2 conn 1 a after 3ms")
	s.at(3*ms, release(2, 1), "grant 4 conn 1 a after 1ms")
}

// A dial under way is meant for the interactive waiter, although a batch one caused it.
func TestADialForBatchWorkServesAnInteractiveWaiter(t *testing.T) {
	s := startBatch(t, 4, 0.5)
	s.at(0, forBatch(1, "a"), "dial 1 a batch")
	s.at(0, acquire(2, "a"), "dial 2 a batch") // for the batch waiter, which is uncovered again
	s.at(1*ms, DialSucceeded{1}, "grant 2 conn 1 a after 1ms")
	s.at(1*ms, DialSucceeded{2}, "grant 1 conn 2 a after 1ms")
	if got := s.Stats(s.now).Batch; got != (model.Counts{InUse: 1}) {
		t.Errorf("batch work has %+v", got)
	}
}

func TestBatchWorkKeepsToItsShare(t *testing.T) {
	s := startBatch(t, 4, 0.5)
	s.batchLent(1, "a")
	s.batchLent(2, "b")
	s.at(0, forBatch(3, "c")) // two slots are free
	s.at(0, Cancel{3}, "reject 3: batch limit of c: open 2 of 4, own 0 of 2, waiting 1 own 1")
	s.at(0, forBatch(4, "c"))
	s.at(1*ms, unclean(1, 1), "close 1 a not_reusable") // it counts until the server has let go of it
	s.at(2*ms, Closed{1}, "dial 3 c batch")
	s.at(2*ms, DialFailed{3, model.Transient, errRefused, true}, "close 3 c dial_leftover", "wake 2.000001ms")
	s.at(2*ms, forBatch(5, "d"))
	s.at(2*ms, Closed{3}, "dial 4 d batch")
	s.at(3*ms, DialSucceeded{4}, "grant 5 conn 4 d after 1ms", "wake never")
	s.at(3*ms, release(5, 4), "dial 5 c batch") // what is idle is nobody's
}

func TestTheShareIsOneSlotAtLeastAndRoundedDown(t *testing.T) {
	for _, c := range []struct {
		share  float64
		budget int
		want   int
	}{{0.25, 3, 1}, {0.25, 36, 9}, {0.25, 39, 9}, {0.29, 100, 29}, {1, 7, 7}, {0, 10, 1}} {
		if got := (model.Limits{Budget: c.budget, BatchShare: c.share}).Batch(); got != c.want {
			t.Errorf("%v of %d is %d, not %d", c.share, c.budget, got, c.want)
		}
	}
}

// The same share of the dials under way, so that an interactive one finds room.
func TestBatchWorkHasItsShareOfTheDials(t *testing.T) {
	l := limits(8, 2)
	l.BatchShare, l.MaxDialing = 0.5, 2
	s := start(t, l)
	s.at(0, forBatch(1, "a"), "dial 1 a batch")
	s.at(0, forBatch(2, "b"))
	s.at(0, acquire(3, "c"), "dial 2 c")
	s.at(0, DialSucceeded{1}, "grant 1 conn 1 a", "dial 3 b batch")
}

func TestAFreeSlotGoesToInteractiveWaitersFirst(t *testing.T) {
	s := startBatch(t, 3, 0.67)
	s.batchLent(1, "a")
	s.lent(2, "b")
	s.lent(3, "c")
	s.at(0, forBatch(4, "d"))
	s.at(1*ms, acquire(5, "e"))
	s.at(2*ms, release(2, 2), "close 2 b make_room for e", "wake 102ms")
	s.at(3*ms, Closed{2}, "dial 4 e", "wake never")
	s.at(3*ms, release(3, 3), "close 3 c make_room for d", "wake 103ms")
}

// However late it came, and however short the connection has been open.
func TestBatchWorkYieldsAtOnce(t *testing.T) {
	s := startBatch(t, 2, 1)
	s.batchLent(1, "a")
	s.at(0, forBatch(2, "b"), "dial 2 b batch")
	s.at(0, forBatch(3, "a"))
	s.at(10*ms, acquire(4, "c"))
	s.at(10*ms, DialSucceeded{2}, "close 2 b yield for c", "wake 110ms")
	s.at(10*ms, Closed{2}, "dial 3 c", "wake never")
	s.at(20*ms, acquire(5, "d"))
	s.at(21*ms, DialSucceeded{3}, "grant 4 conn 3 c after 11ms")
	s.at(21*ms, release(1, 1), "grant 3 conn 1 a after 21ms") // its only slot
	s.at(42*ms, forBatch(6, "a"))
	s.at(43*ms, release(3, 1), "close 1 a yield for b", "wake 143ms") // which is the first of batch work
}

// While batch work has no slot, its first waiter is one like all others.
func TestBatchWorkIsNotStarved(t *testing.T) {
	s := startBatch(t, 1, 0.5)
	s.lent(1, "a")
	s.at(1*ms, forBatch(2, "b"))
	s.at(2*ms, acquire(3, "c"))
	s.at(3*ms, release(1, 1), "close 1 a make_room for b", "wake 103ms")
	s.at(3*ms, Closed{1}, "dial 2 b batch", "wake never")
	s.at(4*ms, DialSucceeded{2}, "grant 2 conn 2 b after 3ms")
	s.at(5*ms, forBatch(4, "b"))
	s.at(6*ms, forBatch(5, "a"))
	s.at(7*ms, release(2, 2), "grant 4 conn 2 b after 2ms") // it came before c was older by Patience
}

// Nor is an older batch waiter by younger ones of the workspace that has the share.
func TestTheShareMovesToAnOlderBatchWaiter(t *testing.T) {
	s := startBatch(t, 2, 0.5)
	s.batchLent(1, "a")
	s.at(0, forBatch(2, "b"))
	s.at(10*ms, forBatch(3, "a"))
	s.at(20*ms, release(1, 1), "grant 3 conn 1 a after 10ms")
	s.at(30*ms, forBatch(4, "a"))
	s.at(30*ms, release(3, 1), "dial 2 b batch") // in the other slot; the share was full
}

// What only batch work has used is evicted first, whenever that was.
func TestBatchWorkDoesNotWashOutWhatIsIdle(t *testing.T) {
	s := startBatch(t, 3, 1)
	s.parked(1, "a")
	s.parked(2, "b")
	s.batchLent(3, "c")
	s.at(1*ms, release(3, 3))
	s.at(2*ms, forBatch(4, "d"), "close 3 c make_room idle 1ms for d", "wake 102ms")
	s.at(3*ms, Closed{3}, "dial 4 d batch", "wake never")
	s.at(4*ms, DialSucceeded{4}, "grant 4 conn 4 d after 2ms")
	s.at(4*ms, release(4, 4))
	s.at(5*ms, acquire(5, "d"), "grant 5 conn 4 d") // now it is one like all others
	s.at(5*ms, release(5, 4))
	s.at(6*ms, acquire(6, "e"), "close 1 a make_room idle 6ms for e", "wake 106ms")
}

// An idle connection is batch work's while lent, and what it was before after that.
func TestBatchWorkBorrowsWhatIsIdleWithinItsShare(t *testing.T) {
	s := startBatch(t, 4, 0.25)
	s.parked(1, "a")
	s.batchLent(2, "b")
	s.at(1*ms, forBatch(3, "a")) // an idle connection, and no room in the share
	s.at(2*ms, acquire(4, "a"), "grant 4 conn 1 a")
	s.at(3*ms, release(4, 1))
	s.at(4*ms, release(2, 2), "grant 3 conn 1 a after 3ms")
	s.at(5*ms, forBatch(5, "b"))
	s.at(5*ms, release(3, 1), "grant 5 conn 2 b")
}

// A batch waiter that needs a dial keeps its place before those for whom something is
// idle.
func TestBatchWorkIsServedInTheOrderOfItsArrival(t *testing.T) {
	s := startBatch(t, 3, 0.34)
	s.lent(1, "x")
	s.parked(2, "a")
	s.batchLent(3, "b")
	s.at(1*ms, forBatch(4, "c"))
	s.at(22*ms, forBatch(5, "a"))
	s.at(23*ms, release(3, 3), "close 3 b make_room for c", "wake 123ms")
	s.at(23*ms, forBatch(6, "a"))
	s.at(24*ms, Closed{3}, "dial 4 c batch", "wake never")
	s.at(25*ms, DialSucceeded{4}, "grant 4 conn 4 c after 24ms")
	s.at(26*ms, release(4, 4), "grant 5 conn 2 a after 4ms")
}

// Neither fills the other's queue.
func TestBatchWaitersHaveAQueueOfTheirOwn(t *testing.T) {
	l := limits(1, 1)
	l.MaxWaiters, l.MaxWaitersPerWorkspace = 2, 1
	s := start(t, l)
	s.lent(1, "a")
	s.at(0, forBatch(2, "a"))
	s.at(0, forBatch(3, "a"))
	s.at(0, acquire(4, "a"))
	s.at(0, acquire(5, "a"), "reject 5: queue limit of a: open 1 of 1, own 1 of 1, waiting 4 own 4")
	s.at(0, acquire(6, "b"))
	s.at(0, acquire(7, "c"), "reject 7: queue limit of c: open 1 of 1, own 0 of 1, waiting 5 own 1")
	s.at(0, forBatch(8, "c"), "reject 8: queue limit of c: open 1 of 1, own 0 of 1, waiting 5 own 1")
}

func TestALowerBudgetLowersTheShare(t *testing.T) {
	s := startBatch(t, 4, 0.5)
	s.batchLent(1, "a")
	s.batchLent(2, "b")
	s.at(0, SetLimits{Budget: 3, PerWorkspace: 2})
	s.at(0, forBatch(3, "c"))
	s.at(0, release(1, 1))
	s.at(0, release(2, 2), "dial 3 c batch")
}

func TestDrainAnswersBatchWaiters(t *testing.T) {
	s := startBatch(t, 1, 1)
	s.batchLent(1, "a")
	s.at(0, forBatch(2, "b"))
	s.at(0, acquire(3, "c"))
	s.at(0, Drain{}, "reject 3: acquire workspace \"c\": ErrClosed", "reject 2: acquire workspace \"b\": ErrClosed")
	s.at(0, release(1, 1), "close 1 a drain_asked")
	s.at(0, Closed{1}, "drained")
}

func TestAPermanentFailureAnswersBatchWaiters(t *testing.T) {
	s := startBatch(t, 2, 1)
	s.at(0, forBatch(1, "a"), "dial 1 a batch")
	s.at(0, acquire(2, "a"), "dial 2 a batch")
	s.at(0, failed(1, model.Permanent), "reject 2: permanent dial of a, attempt 1: refused", "reject 1: permanent dial of a, attempt 1: refused")
}

func TestAnExclusiveAcquireIsNoBatchWork(t *testing.T) {
	s := startBatch(t, 2, 1)
	s.at(0, Acquire{Lease: 1, Workspace: "a", Batch: true, Exclusive: true}, "dial 1 a")
	s.at(0, forBatch(2, "a"))
	s.at(0, DialSucceeded{1}, "grant 1 conn 1 a")
	s.at(0, release(1, 1), "close 1 a not_reusable", "dial 2 a batch")
}

func TestStatsAndWaitingTellOfBatchWork(t *testing.T) {
	s := startBatch(t, 2, 0.5)
	s.batchLent(1, "a")
	s.at(1*ms, forBatch(2, "b"))
	s.at(2*ms, forBatch(3, "a"))
	st := s.Stats(3 * ms)
	if want := (model.Counts{InUse: 1, Waiting: 2}); st.Batch != want || st.BatchBudget != 1 || st.Waiting != 2 || st.LongestWait != 0 {
		t.Errorf("%+v of %d, %d waiting for %v at most", st.Batch, st.BatchBudget, st.Waiting, st.LongestWait)
	}
	s.at(3*ms, acquire(4, "c"), "dial 2 c")
	w, ok := s.Waiting("b", 2)
	if !ok || !w.Batch || w.Before != 1 || w.BeforeOwn != 0 || w.Covered || refusal(w.Reason) != "batch limit of b: open 2 of 2, own 0 of 2, waiting 3 own 1" {
		t.Errorf("%+v", w)
	}
	s.at(4*ms, acquire(5, "b"))
	if w, _ := s.Waiting("b", 2); w.Before != 2 || w.BeforeOwn != 1 {
		t.Errorf("behind an interactive one: %+v", w)
	}
}

// The idle connection that was meant for a batch waiter makes room for somebody else, and
// the waiter needs a slot in its place.
func TestABatchWaiterWhoseConnectionIsEvictedGetsAnotherSlot(t *testing.T) {
	s := startBatch(t, 2, 0.5)
	s.batchLent(1, "b")
	s.at(0, release(1, 1))
	s.parked(2, "d")
	s.Step(0, acquire(3, "c"))
	s.Step(0, forBatch(5, "b"))
	s.at(0, Reclaim{}, "close 1 b make_room for c", "close 2 d make_room for b", "wake 100ms")
}
