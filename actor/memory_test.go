package actor

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
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
				l.Release(core.Clean)
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
			if len(sh.leased) > len(sh.slots) || sh.directory.size > len(sh.slots) || entries(sh.directory) != sh.directory.size {
				t.Fatalf("round %d leaves %d connections, but %d lent ones, %d seats by its own account, %d in truth",
					i, len(sh.slots), len(sh.leased), sh.directory.size, entries(sh.directory))
			}
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if len(sh.slots) > 0 || len(sh.operations) > 0 {
			t.Errorf("in the end there are %d connections, %d operations",
				len(sh.slots), len(sh.operations))
		}
		if len(sh.leased) != 0 || sh.directory.size != 0 || entries(sh.directory) != 0 {
			t.Errorf("in the end there are %d lent ones, %d seats by the directory's own account, %d in truth",
				len(sh.leased), sh.directory.size, entries(sh.directory))
		}
	})
}

// Each way in which a workspace's last connection goes.
func TestTheSeatsGoWithTheLastConnection(t *testing.T) {
	const id = "a"
	for name, end := range map[string]func(*Supervisor, *Lease){
		"evict": func(s *Supervisor, l *Lease) {
			l.Release(core.Clean)
			_, _ = s.Evict(context.Background(), 0, id)
		},
		"pause": func(s *Supervisor, l *Lease) {
			l.Release(core.Clean)
			_, _ = s.Pause(context.Background(), 0, id)
			_ = s.Resume(context.Background(), 0, id)
		},
		"pause and a lease": func(s *Supervisor, l *Lease) {
			time.AfterFunc(time.Minute, func() { l.Release(core.Clean) })
			_, _ = s.Pause(context.Background(), 0, id)
			_ = s.Resume(context.Background(), 0, id)
		},
		"another workspace": func(s *Supervisor, l *Lease) {
			l.Release(core.Clean)
			other, _ := s.Acquire(context.Background(), 0, "b", Wait{})
			other.Release(core.Lost)
		},
		"not clean": func(_ *Supervisor, l *Lease) { l.Release(core.Unclean) },
		"limits": func(s *Supervisor, l *Lease) {
			l.Release(core.Clean)
			_ = s.SetLimits(context.Background(), core.SetLimits{})
		},
		"limits, leased": func(s *Supervisor, l *Lease) {
			_ = s.SetLimits(context.Background(), core.SetLimits{})
			l.Release(core.Clean)
		},
		"idle time": func(_ *Supervisor, l *Lease) { l.Release(core.Clean); time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := model.Limits{
					Budget: 1, PerWorkspace: 1, MaxWaiters: 10, MaxWaitersPerWorkspace: 10, MaxDialing: 1,
					BackoffMin: time.Millisecond, BackoffMax: time.Millisecond, MaxIdleTime: time.Hour,
				}
				s := Start(Share{Limits: limits, Dialer: &briefDialer{}})
				l, err := s.Acquire(t.Context(), 0, id, Wait{})
				if err != nil {
					t.Fatal(err)
				}
				end(s, &l)
				time.Sleep(time.Second)
				synctest.Wait()
				if d := s.shares[0].directory; d.size != 0 || entries(d) != 0 || len(s.shares[0].leased) != 0 {
					t.Errorf("there are %d seats by the directory's own account, %d in truth, %d lent", d.size, entries(d), len(s.shares[0].leased))
				}
				if err := s.Drain(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// entries counts what is in the directory.
func entries(d *directory) (n int) {
	d.all(func(*seats) { n++ })
	return n
}
