package core

import (
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestADrainEndsWithTheLastSlot(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.lent(2, "b")
	s.parked(3, "c")
	s.at(0, acquire(4, "d"), "dial 4 d")
	s.at(0, acquire(5, "a"))
	s.at(0, acquire(6, "e"), "close 3 c make_room for e", "wake 100ms")
	s.at(0, release(2, 2))
	s.at(1*ms, Drain{},
		`reject 4: acquire workspace "d": ErrClosed`,
		`reject 5: acquire workspace "a": ErrClosed`,
		`reject 6: acquire workspace "e": ErrClosed`,
		"close 2 b drain_asked idle 1ms", "wake never")
	s.at(2*ms, acquire(7, "c"), `reject 7: acquire workspace "c": ErrClosed`)
	s.at(2*ms, Drain{})
	s.at(3*ms, release(1, 1), "close 1 a drain_asked")
	s.at(3*ms, DialSucceeded{4}, "close 4 d drain_asked")
	s.at(4*ms, Closed{1})
	s.at(4*ms, Closed{2})
	s.at(4*ms, Closed{3})
	s.at(4*ms, Closed{4}, "drained")
	s.at(5*ms, Drain{})
	if st := s.Stats(5 * ms); !st.Draining || len(st.Active) > 0 {
		t.Errorf("%+v", st)
	}
}

func TestADrainOfNothingIsDoneAtOnce(t *testing.T) {
	start(t, limits(4, 1)).at(0, Drain{}, "drained")
}

func TestWhileDrainingAnUncleanReleaseIsNothingSpecial(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.at(0, Drain{})
	s.at(0, unclean(1, 1), "close 1 a drain_asked")
}

func TestADrainWaitsForADialThatFails(t *testing.T) {
	s := start(t, limits(4, 1))
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(1*ms, Drain{}, `reject 1: acquire workspace "a": ErrClosed`)
	s.at(2*ms, failed(1, model.ServerFull), "drained")
}

func TestADrainNeedsNoTicks(t *testing.T) {
	l := limits(4, 1)
	l.MaxIdleTime = 50 * ms
	s := start(t, l)
	s.lent(1, "a")
	s.at(0, release(1, 1), "wake 50ms")
	s.at(1*ms, Drain{}, "close 1 a drain_asked idle 1ms", "wake never")
}

func TestWhileDrainingNewLimitsDoNotMatterAndOperationsAreStillAnswered(t *testing.T) {
	s := start(t, limits(4, 1))
	s.lent(1, "a")
	s.parked(2, "b")
	s.at(0, Drain{}, "close 2 b drain_asked")
	s.at(1*ms, SetLimits{Budget: 9, PerWorkspace: 9})
	s.at(1*ms, Evict{7, "b"}, "done 7 closed 0")
	s.at(1*ms, Pause{8, "a"})
	s.at(2*ms, release(1, 1), "close 1 a drain_asked")
	s.at(3*ms, Closed{1}, "done 8 closed 1")
	s.at(3*ms, Closed{2}, "drained")
	if st := s.Stats(3 * ms); st.Budget != 4 {
		t.Errorf("budget %d", st.Budget)
	}
}
