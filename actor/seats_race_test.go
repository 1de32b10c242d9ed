package actor_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// These tests run the seats with real goroutines, in real time. The supervisor
// looks into the seats only when it must: a lost wake-up is one for ever.

// keenServer dials at once, or as hasty does, and keeps the history of each of its
// connections.
type keenServer struct {
	t      *testing.T
	budget int64
	slow   bool
	begin  time.Time
	open   atomic.Int64
	dials  atomic.Int64
	conns  chan *keenConn
}

type keenConn struct {
	server    *keenServer
	workspace model.WorkspaceID
	dialed    time.Duration // when its dial began
	held      atomic.Bool
	leases    []*span // its holder's
	closeAt   time.Duration
	reason    model.CloseReason
}

// span is a lease: when its acquire began, and when its release began and ended.
type span struct{ asked, releasing, released time.Duration }

func (s *keenServer) now() time.Duration { return time.Since(s.begin) }

func (s *keenServer) Dial(ctx context.Context, id model.WorkspaceID) (actor.Conn, error) {
	dialed := s.now()
	s.dials.Add(1)
	if n := s.open.Add(1); n > s.budget {
		s.t.Errorf("%d connections are open, the budget is %d", n, s.budget)
	}
	if s.slow {
		dawdle(ctx)
	}
	c := &keenConn{server: s, workspace: id, dialed: dialed}
	select {
	case s.conns <- c:
	default:
		s.t.Error("more connections than this test keeps an account of")
	}
	return c, nil
}

func (c *keenConn) Close(reason model.CloseReason) {
	c.closeAt, c.reason = c.server.now(), reason
	if c.held.Load() {
		c.server.t.Error("a connection was closed under its lease")
	}
	if c.server.slow {
		dawdle(background)
	}
	c.server.open.Add(-1)
}

// use proves that the lease is good, holds it for a moment and gives it back.
func (s *keenServer) use(l *actor.Lease, id model.WorkspaceID, asked time.Duration, hold func(), h core.Health) {
	c := l.Conn().(*keenConn)
	if c.workspace != id {
		s.t.Errorf("a lease of %s is on a connection of %s", id, c.workspace)
	}
	if !c.held.CompareAndSwap(false, true) {
		s.t.Error("a connection has two holders")
	}
	lease := &span{asked: asked}
	c.leases = append(c.leases, lease)
	hold()
	lease.releasing = s.now()
	c.held.Store(false)
	l.Release(h)
	lease.released = s.now()
	if !l.Ended() {
		s.t.Error("a lease that was released has not ended")
	}
}

func startKeen(t *testing.T, limits model.Limits, slow bool) (*keenServer, *actor.Supervisor) {
	server := &keenServer{t: t, budget: int64(limits.Budget), slow: slow, begin: time.Now(), conns: make(chan *keenConn, 1_000_000)}
	s := actor.Start(actor.Share{Limits: limits, Dialer: server})
	s.RecallSeldom()
	return server, s
}

// finish waits for done; if that takes too long, it says where everybody is.
func finish(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		panic(what + " for ever") // the rest could not end either
	}
}

func finished(group *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	return done
}

// A connection is given back in the very moment in which somebody begins to wait
// for it, or for its slot, and then nothing more happens that could wake him up.
func TestNobodyWaitsWhenAllCallersHaveComeToRest(t *testing.T) {
	for _, test := range []struct{ budget, perWorkspace, workspaces, callers int }{
		{1, 1, 1, 2}, {1, 1, 2, 2}, {1, 1, 2, 3}, {2, 1, 3, 4}, {2, 2, 2, 4}, {3, 3, 2, 5}, {4, 4, 2, 8},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			server, s := startKeen(t, few(test.budget, test.perWorkspace), false)
			begin, acquires := time.Now(), uint64(0)
			for round := 0; round < 20_000 && time.Since(begin) < 400*time.Millisecond; round++ {
				var all sync.WaitGroup
				for range test.callers {
					id := model.WorkspaceID(fmt.Sprintf("w%d", rand.IntN(test.workspaces)))
					spin := rand.IntN(300)
					acquires++
					all.Go(func() {
						asked := server.now()
						l, err := s.Acquire(background, first, id, actor.Wait{})
						if err != nil {
							t.Error(err)
							return
						}
						server.use(&l, id, asked, func() {
							for range spin {
								_ = server.open.Load()
							}
						}, core.Clean)
					})
				}
				finish(t, "somebody waits", finished(&all))
			}
			st, err := s.Stats(background)
			if err != nil {
				t.Fatal(err)
			}
			share := st.Shares[first]
			if c := share.Counters; share.Waiting+share.InUse != 0 || c.Acquires != acquires || c.Grants() != acquires {
				t.Errorf("after %d acquires: %+v, %+v", acquires, share.Counts, c)
			}
			if err := s.Drain(background); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t)
		})
	}
}

// Late callers try the seat all the time, while others wait.
func TestNobodyOvertakesThroughASeat(t *testing.T) {
	server, s := startKeen(t, few(1, 1), false)
	for range 20 {
		const waiters = 5
		var granted atomic.Int64
		held, err := s.Acquire(background, first, "a", actor.Wait{})
		if err != nil {
			t.Fatal(err)
		}
		var all, late sync.WaitGroup
		for i := range waiters {
			all.Go(func() {
				asked := server.now()
				l, err := s.Acquire(background, first, "a", actor.Wait{})
				if err != nil {
					t.Error(err)
					return
				}
				if n := granted.Add(1) - 1; n != int64(i) {
					t.Errorf("waiter %d was served when %d had been", i, n)
				}
				server.use(&l, "a", asked, func() {}, core.Clean)
			})
			for deadline := time.Now().Add(30 * time.Second); ; {
				st, err := s.Stats(background)
				if err != nil || time.Now().After(deadline) {
					t.Fatalf("waiter %d does not wait, error %v", i, err)
				}
				if st.Shares[first].Waiting == i+1 {
					break
				}
			}
		}
		for range 3 {
			late.Go(func() {
				for done := false; !done; {
					done = granted.Load() == waiters
					asked := server.now()
					if l, ok := s.AcquireSeated(first, "a"); ok {
						if n := granted.Load(); n != waiters {
							t.Errorf("a late caller came before all but %d of %d waiters", n, waiters)
						}
						server.use(&l, "a", asked, func() {}, core.Clean)
					}
				}
			})
		}
		held.Release(core.Clean)
		finish(t, "a waiter waits", finished(&all))
		finish(t, "a late caller tries", finished(&late))
	}
	if err := s.Drain(background); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t)
}

// What many callers can see of the order in which connections give way.
func TestManyCallersSeeTheLeastRecentlyUsedOneGiveWay(t *testing.T) {
	for _, test := range []struct {
		budget, perWorkspace, workspaces, callers int
		slow                                      bool
	}{
		{3, 1, 6, 2, false}, {3, 1, 5, 3, true}, {8, 1, 16, 4, false}, {8, 2, 12, 4, true}, {6, 3, 6, 6, false}, {8, 4, 4, 12, true},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			server, s := startKeen(t, few(test.budget, test.perWorkspace), test.slow)
			var asks, refusals, doubles, seated atomic.Uint64
			var all sync.WaitGroup
			stop := make(chan struct{})
			asked := make([][]request, test.callers)
			for i := range test.callers {
				all.Go(func() {
					for range 600 {
						n := min(rand.IntN(test.workspaces), rand.IntN(test.workspaces)) // some more often
						id := model.WorkspaceID(fmt.Sprintf("w%d", n))
						r := request{workspace: id, asked: server.now()}
						var l actor.Lease
						var err error
						if rand.IntN(8) == 0 {
							var ok bool
							if l, ok = s.AcquireSeated(first, id); !ok {
								continue
							}
							seated.Add(1)
						} else if l, err = s.Acquire(background, first, id, actor.Wait{NoWait: rand.IntN(10) == 0}); err != nil {
							refusals.Add(1)
						}
						r.answered = server.now()
						asks.Add(1)
						asked[i] = append(asked[i], r)
						if err != nil {
							continue
						}
						server.use(&l, id, r.asked, func() {
							if rand.IntN(4) == 0 {
								dawdle(background)
							}
						}, core.Health(max(0, rand.IntN(200)-198)))
						if rand.IntN(30) == 0 {
							l.Release(core.Lost)
							doubles.Add(1)
						}
						if rand.IntN(4) == 0 {
							dawdle(background)
						}
					}
				})
			}
			var trips []span // in which nobody else is involved
			tripped := make(chan struct{})
			go func() {
				defer close(tripped)
				for {
					select {
					case <-stop:
						return
					default:
					}
					trip := span{asked: server.now()}
					if _, err := s.Evict(background, first, "nobody"); err != nil {
						t.Error(err)
					}
					trip.released = server.now()
					trips = append(trips, trip)
					dawdle(background)
				}
			}()
			finish(t, "somebody waits", finished(&all))
			close(stop)
			<-tripped
			st, err := s.Stats(background)
			if err != nil {
				t.Fatal(err)
			}
			share := st.Shares[first]
			c := share.Counters
			if share.Waiting+share.InUse != 0 || c.Acquires != asks.Load() || c.Rejects != refusals.Load() ||
				c.Grants() != asks.Load()-refusals.Load() || c.StaleMessages != doubles.Load() || c.Dials != uint64(server.dials.Load()) {
				t.Errorf("%d asked, %d were refused, %d released twice: %+v, %+v", asks.Load(), refusals.Load(), doubles.Load(), share.Counts, c)
			}
			observed := uint64(0)
			for _, n := range share.Waits.Counts {
				observed += n
			}
			if observed != c.Grants() {
				t.Errorf("%d waits were observed, of %d grants", observed, c.Grants())
			}
			if err := s.Drain(background); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t)
			compared, found := server.leastRecentlyUsedGaveWay(trips, slices.Concat(asked...))
			t.Logf("%d acquires, %d hits, %d of them by luck; %d evictions, %d compared", c.Acquires, c.Hits, seated.Load(), c.Evictions(), compared)
			if found > 0 {
				t.Errorf("%d connections gave way, and others that were used longer ago did not", found)
			}
		})
	}
}

// request is an acquire, of whatever outcome.
type request struct {
	workspace       model.WorkspaceID
	asked, answered time.Duration
}

// leastRecentlyUsedGaveWay looks at each connection that made room for another, and
// at those that lay idle since before its last acquire was begun until after it was
// closed. There must be none. It allows for what was under way: a release was
// told before a round trip through the supervisor that was begun later; and who
// asked for a workspace meanwhile may have had its connection in his hands, and
// got another one.
func (s *keenServer) leastRecentlyUsedGaveWay(trips []span, asked []request) (compared, found int) {
	close(s.conns)
	var all []*keenConn
	for c := range s.conns {
		all = append(all, c)
	}
	for _, x := range all {
		if x.reason != model.MakeRoom || len(x.leases) == 0 {
			continue
		}
		last := x.leases[len(x.leases)-1]
		told := time.Duration(-1) // what was given back before is known
		for _, trip := range trips {
			if trip.released < last.asked {
				told = trip.asked
			}
		}
		for _, y := range all {
			for i := 1; i < len(y.leases); i++ {
				back, next := y.leases[i-1].released, y.leases[i].asked
				if y == x || back >= x.closeAt || next <= x.closeAt || slices.ContainsFunc(asked, func(r request) bool {
					return r.workspace == y.workspace && r.answered > last.releasing && r.asked < x.closeAt
				}) {
					continue
				}
				compared++
				if back >= told {
					continue
				}
				found++
				if found < 5 {
					s.t.Errorf("a connection of %s made room at %v and was acquired at %v; one of %s lay idle from %v to %v",
						x.workspace, x.closeAt, last.asked, y.workspace, back, next)
				}
			}
		}
	}
	return compared, found
}
