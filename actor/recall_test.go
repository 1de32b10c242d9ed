package actor

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// What many callers do at the same moment, one after the other.

// quickDialer notes for whom it dialed and what was closed.
type quickDialer struct {
	mu            sync.Mutex
	dials, closed []model.WorkspaceID
}

type quickConn struct {
	dialer *quickDialer
	id     model.WorkspaceID
}

func (d *quickDialer) Dial(_ context.Context, id model.WorkspaceID) (Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials = append(d.dials, id)
	return quickConn{d, id}, nil
}

func (c quickConn) Close(model.CloseReason) {
	c.dialer.mu.Lock()
	defer c.dialer.mu.Unlock()
	c.dialer.closed = append(c.dialer.closed, c.id)
}

func recalling(t *testing.T, budget int, f func(s *Supervisor, d *quickDialer, acquire func(model.WorkspaceID) *Lease)) {
	synctest.Test(t, func(t *testing.T) {
		d := &quickDialer{}
		s := Start(Share{Dialer: d, Limits: model.Limits{
			Budget: budget, PerWorkspace: 2, MaxWaiters: 10, MaxWaitersPerWorkspace: 10, MaxDialing: 5, CloseGrace: time.Hour,
		}})
		var leases []*Lease
		f(s, d, func(id model.WorkspaceID) *Lease {
			l, err := s.Acquire(context.Background(), 0, id, Wait{AtMost: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			leases = append(leases, &l)
			return &l
		})
		for _, l := range leases {
			l.Release(core.Clean)
		}
		if err := s.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// The holder left it when the acquire was on its way.
func TestAnAcquireFindsWhatWasLeftWhenItWasOnItsWay(t *testing.T) {
	recalling(t, 2, func(s *Supervisor, d *quickDialer, acquire func(model.WorkspaceID) *Lease) {
		acquire("a").Release(core.Clean)
		c := s.takeCall()
		c.share, c.message = s.shares[0], core.Acquire{Lease: core.LeaseID(s.lastLease.Add(1)), Workspace: "a", Caller: c}
		s.send(c)
		r := <-c.reply
		st, err := s.Stats(context.Background())
		if err != nil || r.err != nil {
			t.Fatal(err, r.err)
		}
		r.lease.Release(core.Clean)
		if n := st.Shares[0].Counters; len(d.dials) != 1 || n.Hits != 1 || n.HandOffs != 0 {
			t.Errorf("%d dials, %+v", len(d.dials), n)
		}
	})
}

// The supervisor reads the clock once for all that has arrived.
func TestThoseThatComeHomeTogetherKeepTheirOrder(t *testing.T) {
	recalling(t, 2, func(s *Supervisor, d *quickDialer, acquire func(model.WorkspaceID) *Lease) {
		a, b := acquire("a"), acquire("b")
		s.send(do(func() { time.Sleep(time.Second) })) // holds the supervisor up
		synctest.Wait()
		time.Sleep(time.Millisecond)
		b.Release(core.Clean)
		time.Sleep(time.Millisecond)
		a.Release(core.Clean)
		acquire("c")
		if len(d.closed) != 1 || d.closed[0] != "b" {
			t.Errorf("%q gave way", d.closed)
		}
	})
}

// Somebody took it, and then saw that the supervisor must be told.
func TestWhoMayNotTakeASeatGivesItToTheSupervisor(t *testing.T) {
	recalling(t, 1, func(s *Supervisor, d *quickDialer, acquire func(model.WorkspaceID) *Lease) {
		acquire("a").Release(core.Clean)
		c := s.shares[0].directory.find("a").take() // as in lend
		waiter := make(chan *Lease)
		go func() { waiter <- acquire("b") }()
		synctest.Wait() // all are in use, it seems
		s.sendHome(c, core.Clean)
		<-waiter
		if len(d.closed) != 1 || d.closed[0] != "a" {
			t.Errorf("%q gave way", d.closed)
		}
	})
}

// Somebody who saw short down put it into a seat when short was up, and has not looked
// at the flag again yet.
func TestWhatWasPutIntoASeatLateIsStillTheLeastRecentlyUsed(t *testing.T) {
	recalling(t, 2, func(s *Supervisor, d *quickDialer, acquire func(model.WorkspaceID) *Lease) {
		a, b := acquire("a"), acquire("b")
		waiter := make(chan *Lease)
		go func() { waiter <- acquire("c") }()
		synctest.Wait() // short is up
		c := a.slot
		c.turn.Add(1)
		c.freed = s.now()
		c.seats.put(c) // as in leave
		time.Sleep(time.Millisecond)
		b.Release(core.Clean)
		<-waiter
		if len(d.closed) != 1 || d.closed[0] != "a" {
			t.Errorf("%q gave way", d.closed)
		}
	})
}
