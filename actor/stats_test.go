package actor_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func TestStatsCountEveryState(t *testing.T) {
	test(t, few(4, 2), func(w *world) {
		w.acquire("lent")
		w.idle("idle", 1)
		w.idle("closing", 1)
		w.server.closesIn(time.Hour)
		evict := w.evict(background, "closing")
		w.server.dialTakes = time.Minute
		dialing := w.tryFor(0, "dialing")
		time.Sleep(time.Second)
		st := w.stats()
		want := model.Counts{Dialing: 1, Idle: 1, InUse: 1, Closing: 1, Waiting: 1}
		if st.Counts != want || st.Open() != 4 || st.Budget != 4 || st.EffectiveBudget != 4 || st.PerWorkspace != 2 {
			w.Errorf("stats are %+v", st)
		}
		if st.LongestWait != time.Second || st.LongestLeaseWorkspace != "lent" || st.LongestLease < time.Second {
			w.Errorf("the longest wait is %v, the longest lease %v of %s", st.LongestWait, st.LongestLease, st.LongestLeaseWorkspace)
		}
		for _, ws := range st.Active {
			if one := ws.Idle + ws.InUse + ws.Closing + ws.Dialing; one != 1 {
				w.Errorf("workspace %s has %+v", ws.ID, ws.Counts)
			}
		}
		if len(st.Active) != 4 || st.Draining {
			w.Errorf("%d workspaces are active; draining is %v", len(st.Active), st.Draining)
		}
		dialing.granted()
		if st.Counts != want {
			w.Error("stats are not a copy")
		}
		<-evict.done
		w.server.closesIn(time.Second)
	})
}

func TestStatsGoOnDuringADrainAndTellOfIt(t *testing.T) {
	testShares(t, []model.Limits{few(2, 2), few(1, 1)}, func(w *world) {
		held := w.acquire("a")
		ended := w.drain(background)
		st, err := w.Stats(background)
		if err != nil || !st.Shares[first].Draining || st.Shares[second].Draining || st.Shares[first].InUse != 1 {
			w.Errorf("stats are %+v, error %v", st, err)
		}
		held.Release(core.Clean)
		w.drained(ended)
		_, err = w.Stats(background)
		w.wraps(err, model.ErrClosed)
	})
}

func TestStatsWithAnEndedContextReturn(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		ctx, cancel := context.WithCancelCause(background)
		cancel(errReason)
		refused := 0
		for range 1000 { // the answer may be faster
			_, err := w.Stats(ctx)
			if err != nil && !errors.Is(err, errReason) {
				w.Fatal(err)
			}
			if err != nil {
				refused++
			}
		}
		if refused == 0 {
			w.Error("an ended context never mattered")
		}
	})
}

func TestAnIdleSupervisorIsNotSaturated(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		for range 3 {
			w.idle("a", 1)
			time.Sleep(time.Minute)
			synctest.Wait()
			// In virtual time the supervisor takes none for its work.
			if st, err := w.Stats(background); err != nil || st.Saturation != 0 {
				w.Errorf("saturation is %v, error %v", st.Saturation, err)
			}
		}
	})
}

func TestSaturationIsAPartOfTheTime(t *testing.T) {
	s := actor.Start(actor.Share{Limits: few(3, 3), Dialer: instant{}})
	saturation := func() float64 {
		st, err := s.Stats(background)
		if err != nil || st.Saturation < 0 || st.Saturation > 1 {
			t.Errorf("saturation is %v, error %v", st.Saturation, err)
		}
		return st.Saturation
	}
	load := func(rounds int) {
		for range rounds {
			l, err := s.Acquire(background, first, "a", actor.Wait{})
			if err != nil {
				t.Error(err)
				return
			}
			l.Release(core.Clean)
		}
	}
	gather(8, func(int) bool {
		for range 20 {
			load(100)
			saturation()
		}
		return true
	})
	// The machine may take the processor from the loop at any time: what counts
	// is that a busy time and a quiet one can be told apart at all.
	soon := func(complaint string, ok func() bool) {
		for deadline := time.Now().Add(30 * time.Second); !ok(); {
			if time.Now().After(deadline) {
				t.Error(complaint)
				return
			}
		}
	}
	soon("no time of nothing but acquires has a saturation over 0.02", func() bool {
		load(5000)
		return saturation() > 0.02
	})
	soon("no time of nothing at all has a saturation under 0.02", func() bool {
		for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; {
			runtime.Gosched()
		}
		return saturation() < 0.02
	})
	if err := s.Drain(background); err != nil {
		t.Error(err)
	}
}

// instant dials and closes in no time.
type instant struct{}

type instantConn struct{}

func (instant) Dial(context.Context, model.WorkspaceID) (actor.Conn, error) {
	return instantConn{}, nil
}

func (instantConn) Close(model.CloseReason) {}
