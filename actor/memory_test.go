package actor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// briefDialer refuses each third dial, and then leaves a connection.
type briefDialer struct{ dials int }

type briefConn struct{}

func (briefConn) Close(model.CloseReason) { time.Sleep(time.Millisecond) }

func (d *briefDialer) Dial(context.Context, model.WorkspaceID) (Conn, error) {
	time.Sleep(time.Millisecond)
	if d.dials++; d.dials%3 == 0 {
		return briefConn{}, errors.New("refused")
	}
	return briefConn{}, nil
}

// What the supervisor notes for a connection or an operation goes away
// with it. Nobody can see that from outside.
func TestTheSupervisorForgetsWhatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := model.Limits{
			Budget: 1, PerWorkspace: 1, MaxWaiters: 10, MaxWaitersPerWorkspace: 10, MaxDialing: 1,
			BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, CloseGrace: time.Second,
		}
		s := Start(Share{Limits: limits, Dialer: &briefDialer{}})
		sh := s.shares[0]
		for i := range 100 {
			id := model.WorkspaceID(fmt.Sprintf("w%d", i))
			wait := Wait{AtMost: time.Duration(i%7) * time.Millisecond}
			if l, err := s.Acquire(t.Context(), 0, id, wait); err == nil {
				_, _ = s.Acquire(t.Context(), 0, id, Wait{AtMost: time.Millisecond})
				_, _ = s.Acquire(t.Context(), 0, id, Wait{NoWait: true})
				l.Release(model.Clean)
			}
			if _, err := s.Evict(t.Context(), 0, id); err != nil {
				t.Error(err)
			}
			if _, err := s.Pause(t.Context(), 0, id); err != nil {
				t.Error(err)
			}
			if err := s.Resume(t.Context(), 0, id); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if len(sh.slots) > 1 || len(sh.operations) > 0 {
				t.Fatalf("round %d leaves %d connections, %d operations",
					i, len(sh.slots), len(sh.operations))
			}
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if len(sh.slots) > 0 || len(sh.operations) > 0 {
			t.Errorf("in the end there are %d connections, %d operations",
				len(sh.slots), len(sh.operations))
		}
	})
}
