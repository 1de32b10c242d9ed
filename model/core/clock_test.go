package core

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestAnIdleConnectionIsClosedWhenItsIdleTimeIsOver(t *testing.T) {
	l := limits(4, 1)
	l.MaxIdleTime = 5 * ms
	s := start(t, l)
	s.lent(1, "a")
	s.at(20*ms, release(1, 1), "wake 25ms")
	s.at(24*ms, Tick{}) // the wish stands: it is not told again
	s.at(24*ms, acquire(2, "a"), "grant 2 conn 1 a", "wake never")
	s.at(90*ms, Tick{}) // never under a lease
	s.at(91*ms, release(2, 1), "wake 96ms")
	s.at(96*ms, Tick{}, "close 1 a idle_time_over idle 5ms", "wake never")
}

// A lifetime of 9ns is too short for a jitter.
func TestAConnectionIsClosedWhenItsLifetimeIsOver(t *testing.T) {
	l := limits(4, 1)
	l.MaxLifetime, l.MaxIdleTime = 9, 5
	s := start(t, l)
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(100, DialSucceeded{1}, "grant 1 conn 1 a after 100ns") // it lives from here
	s.at(103, release(1, 1), "wake 108ns")                      // its idle time is over first
	s.at(104, acquire(2, "a"), "grant 2 conn 1 a", "wake never")
	s.at(104, release(2, 1), "wake 109ns")
	s.at(109, Tick{}, "close 1 a lifetime_over idle 5ns", "wake never")

	s.lent(2, "b")
	s.at(200, Tick{}) // never under a lease
	s.at(200, release(2, 2), "close 2 b lifetime_over")
}

func TestAConnectionAtItsLifetimesEndIsNotHandedOff(t *testing.T) {
	l := limits(4, 1)
	l.MaxLifetime = 9
	s := start(t, l)
	s.lent(1, "a")
	s.at(1, acquire(2, "a"))
	s.at(9, release(1, 1), "close 1 a lifetime_over")
	s.at(10, Closed{1}, "dial 2 a")
}

func TestEveryMessageLetsTimePassFirst(t *testing.T) {
	l := limits(4, 2)
	l.MaxIdleTime = 5 * ms
	s := start(t, l)
	s.lent(1, "a")
	s.at(0, release(1, 1), "wake 5ms")
	s.at(5*ms, acquire(2, "a"), "close 1 a idle_time_over idle 5ms", "dial 2 a", "wake never")
}

func TestTheNextWishIsForTheNextEnd(t *testing.T) {
	l := limits(4, 1)
	l.MaxIdleTime = 5 * ms
	s := start(t, l)
	s.lent(1, "a")
	s.lent(2, "b")
	s.at(1*ms, release(2, 2), "wake 6ms")
	s.at(2*ms, release(1, 1))
	s.at(6*ms, Tick{}, "close 2 b idle_time_over idle 5ms", "wake 7ms")
	s.at(99*ms, Tick{}, "close 1 a idle_time_over idle 97ms", "wake never")
}

func TestTheNextRetryIsTheOneDueFirst(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "b"), "dial 1 b")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "c"), "dial 3 c")
	s.at(10, failed(1, model.Transient), "wake 11ns")
	s.at(10, failed(2, model.Transient))
	s.limits.BackoffMin, s.limits.BackoffMax = 1000*ms, 1000*ms
	s.at(10, failed(3, model.Transient))
	s.at(10, Resume{"b"}, "dial 4 b") // a's retry is due at the same time
	effects := s.Step(10, Resume{"a"})
	at := effects[len(effects)-1].(WakeAt).At // and c's is next
	if at < 10+500*ms || at > 10+1000*ms {
		t.Errorf("the next retry is at %v", at)
	}
}

// An idle connection ends at 5ms. Whatever else is due is due later.
func TestTheWishIsForWhatIsDueFirst(t *testing.T) {
	l := limits(2, 1)
	l.MaxIdleTime, l.MaxDialing = 5*ms, 1
	l.BackoffMin, l.BackoffMax = time.Hour, time.Hour
	begin := func() script {
		s := start(t, l)
		s.lent(1, "a")
		s.at(0, release(1, 1), "wake 5ms")
		s.at(0, acquire(2, "b"), "dial 2 b")
		return s
	}
	begin().at(0, failed(2, model.Transient))
	begin().at(0, failed(2, model.ServerDown))

	s := begin()
	s.at(0, Cancel{2}, `reject 2: acquire workspace "b": ErrDialing`)
	s.at(0, failed(2, model.ServerFull)) // a probe

	s = begin()
	s.at(0, DialSucceeded{2}, "grant 2 conn 2 b")
	s.at(0, release(2, 2))
	s.at(0, acquire(3, "c"), "close 1 a make_room for c") // its grace; 2 ends at 5ms too
}

func TestAnEarlierTimeCountsAsTheLatest(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(10*ms, acquire(1, "a"), "dial 1 a")
	s.at(5*ms, DialSucceeded{1}, "grant 1 conn 1 a")
}

func TestALifetimeBeyondTheEndOfTimeIsForEver(t *testing.T) {
	l := limits(4, 1)
	l.MaxLifetime = Never
	s := start(t, l)
	s.at(Never/2, acquire(1, "a"), "dial 1 a")
	s.at(Never/2, DialSucceeded{1}, "grant 1 conn 1 a")
	s.at(Never/2, release(1, 1))
}

func TestAnUnknownMessagePanics(t *testing.T) {
	defer func() {
		if got := recover(); got != "model: unknown message" {
			t.Errorf("recovered %v", got)
		}
	}()
	NewState(limits(1, 1)).Step(time.Second, nil)
}
