package property_tests

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// One caller, who does one thing after the other, must not be able to tell the
// supervisor with its seats from one that is told of every release at once. So
// here a list of connections, each with the times at which it was given back, says
// which of them is lent, which gives way, and when it must be dialed.

// seatOrder is one thing to do.
type seatOrder struct {
	kind      seatOrderKind
	workspace model.WorkspaceID
	pick      int
	pass      time.Duration
	// settle lets the supervisor do all it has to before the next order.
	settle bool
}

type seatOrderKind int

const (
	seatPass seatOrderKind = iota
	seatAcquire
	seatAcquireSeated
	seatUse
	seatRelease
	seatReleaseUnclean
	seatSetLimits
	seatStats
	seatEvict
	seatRenew
	seatRenewAll
)

func seatOrders() *rapid.Generator[[]seatOrder] {
	kinds := []seatOrderKind{
		seatAcquire, seatRelease, seatAcquire, seatRelease, seatAcquireSeated, seatPass, seatAcquire, seatRelease,
		seatAcquire, seatRelease, seatAcquireSeated, seatReleaseUnclean, seatSetLimits, seatStats, seatEvict,
		seatRenew, seatRenewAll, seatUse, seatUse, seatUse, seatUse, seatUse, seatUse,
	}
	passes := []time.Duration{0, 1, time.Microsecond, ms(1), ms(300), time.Second, ms(1700), 3 * time.Second}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) seatOrder {
		return seatOrder{
			kind:      rapid.SampledFrom(kinds).Draw(t, "kind"),
			workspace: rapid.SampledFrom(workspaceNames).Draw(t, "workspace"),
			pick:      rapid.IntRange(0, 63).Draw(t, "pick"),
			pass:      rapid.SampledFrom(passes).Draw(t, "pass"),
			settle:    rapid.Bool().Draw(t, "settle"),
		}
	}), 20, 150)
}

// seatServer dials and closes in no time.
type seatServer struct {
	closed chan *seatConn
	dials  int
}

// seatConn is a connection, and what the one caller knows of it.
type seatConn struct {
	server    *seatServer
	number    int
	workspace model.WorkspaceID
	reason    model.CloseReason
	lease     *actor.Lease // nil: idle
	stale     bool         // there was a Renew since
	freed     time.Duration
	before    time.Duration // when the use before that one ended, or 0
	used      bool          // somebody has given it back
}

func (c *seatConn) String() string {
	return fmt.Sprintf("%d of %s, given back at %v and %v", c.number, c.workspace, c.freed, c.before)
}

func (s *seatServer) Dial(_ context.Context, id model.WorkspaceID) (actor.Conn, error) {
	s.dials++ // one at a time
	return &seatConn{server: s, number: s.dials, workspace: id}, nil
}

func (c *seatConn) Close(reason model.CloseReason) {
	c.reason = reason
	c.server.closed <- c
}

// seatRun carries the orders out.
type seatRun struct {
	t           *rapid.T
	server      *seatServer
	supervisor  *actor.Supervisor
	begin       time.Time
	budget, cap int
	lru2        bool
	used        map[model.WorkspaceID]time.Duration // when it gave a connection back last
	open        []*seatConn
	gone        map[*seatConn]bool // that the list has seen go, and the server may not have
	dials       int
	acquires    uint64
	leases      []*actor.Lease // all of them, for the end
}

// now begins with 1: 0 is never.
func (r *seatRun) now() time.Duration { return time.Since(r.begin) + 1 }

func (r *seatRun) held(id model.WorkspaceID) (n int) {
	for _, c := range r.open {
		if id == anyWorkspace || c.workspace == id {
			n++
		}
	}
	return n
}

// idle lists the idle connections, those that give way first at the front.
func (r *seatRun) idle(id model.WorkspaceID) (idle []*seatConn) {
	for _, c := range r.open {
		if c.lease == nil && (id == anyWorkspace || c.workspace == id) {
			idle = append(idle, c)
		}
	}
	slices.SortStableFunc(idle, r.compare(id))
	return idle
}

// compare is the order in which they give way among those of all workspaces, or of one.
func (r *seatRun) compare(among model.WorkspaceID) func(a, b *seatConn) int {
	return func(a, b *seatConn) int {
		if r.lru2 && among == anyWorkspace && a.before != b.before {
			return cmp.Compare(a.before, b.before)
		}
		return cmp.Compare(a.freed, b.freed)
	}
}

func (r *seatRun) forget(c *seatConn) {
	r.open = slices.DeleteFunc(r.open, func(other *seatConn) bool { return other == c })
}

// sawClosed returns what the server has closed, for that reason, since it was asked
// last.
func (r *seatRun) sawClosed(what string, reason model.CloseReason) []*seatConn {
	r.t.Helper()
	synctest.Wait()
	var closed []*seatConn
	for {
		select {
		case c := <-r.server.closed:
			if r.gone[c] {
				delete(r.gone, c)
				continue
			}
			if c.reason != reason {
				r.t.Fatalf("%s: %v was closed: %v", what, c, c.reason)
			}
			closed = append(closed, c)
			continue
		default:
		}
		return closed
	}
}

// gaveWay expects n of the workspace's idle ones, or of all, to have been closed, in order.
func (r *seatRun) gaveWay(what string, n int, id model.WorkspaceID, closed []*seatConn) {
	r.t.Helper()
	among := r.idle(id)
	if len(closed) != n {
		r.t.Fatalf("%s closed %v; %d should go of %v", what, closed, n, among)
	}
	for _, c := range closed {
		if !slices.Contains(among, c) || r.compare(id)(c, among[n-1]) > 0 {
			r.t.Fatalf("%s closed %v; %d should go of %v", what, closed, n, among)
		}
		r.forget(c)
	}
}

func (r *seatRun) take(l actor.Lease, id model.WorkspaceID) *seatConn {
	r.t.Helper()
	r.leases = append(r.leases, &l)
	c := l.Conn().(*seatConn)
	if c.workspace != id || c.lease != nil || r.gone[c] {
		r.t.Fatalf("an acquire of %s got connection %v, lent %v, gone %v", id, c, c.lease != nil, r.gone[c])
	}
	c.lease = &l
	r.acquires++
	return c
}

// acquire never waits for anybody, but for what is closing.
func (r *seatRun) acquire(id model.WorkspaceID, noWait bool) {
	r.t.Helper()
	own, others := r.idle(id), r.idle(anyWorkspace)
	full := r.held(anyWorkspace) >= r.budget
	if len(own) == 0 && (r.held(id) >= r.cap || full && len(others) == 0 || r.held(anyWorkspace) > r.budget) {
		return // it would wait for ever
	}
	if noWait {
		synctest.Wait()
	}
	l, err := r.supervisor.Acquire(context.Background(), actorShare, id, actor.Wait{NoWait: noWait, AtMost: time.Minute})
	if err != nil {
		r.t.Fatalf("acquire %s: %v", id, err)
	}
	c := r.take(l, id)
	if len(own) > 0 {
		if !slices.Contains(own, c) {
			r.t.Fatalf("acquire %s got %v, and not one of %v", id, c, own)
		}
		return
	}
	r.dials++
	closed := r.sawClosed("acquire "+string(id), model.MakeRoom)
	if c.number != r.dials || r.server.dials != r.dials {
		r.t.Fatalf("acquire %s got %v after %d dials; %d were needed", id, c, r.server.dials, r.dials)
	}
	need := 0
	if full {
		need = 1
	}
	r.gaveWay("acquire "+string(id), need, anyWorkspace, closed)
	if r.held(id) == 0 {
		c.before = r.used[id]
	}
	r.open = append(r.open, c)
}

func (r *seatRun) release(pick int, health core.Health) {
	var lent []*seatConn
	for _, c := range r.open {
		if c.lease != nil {
			lent = append(lent, c)
		}
	}
	if len(lent) == 0 {
		return
	}
	r.giveBack(lent[pick%len(lent)], health)
}

func (r *seatRun) giveBack(c *seatConn, health core.Health) {
	l := c.lease
	if c.used {
		c.before = c.freed
	}
	c.lease, c.freed, c.used = nil, r.now(), true
	r.used[c.workspace] = c.freed
	if health != core.Clean || c.stale || r.held(anyWorkspace) > r.budget || r.held(c.workspace) > r.cap {
		r.forget(c)
		r.gone[c] = true
	}
	l.Release(health)
}

// acquireSeated is nil if there is nothing in a seat.
func (r *seatRun) acquireSeated(id model.WorkspaceID) *seatConn {
	r.t.Helper()
	l, ok := r.supervisor.AcquireSeated(actorShare, id)
	if !ok {
		return nil
	}
	c := r.take(l, id)
	if !slices.Contains(r.open, c) {
		r.t.Fatalf("%v was in a seat", c)
	}
	return c
}

func (r *seatRun) setLimits(budget, most int) {
	if err := r.supervisor.SetLimits(context.Background(), core.SetLimits{Budget: budget, PerWorkspace: most}); err != nil {
		r.t.Fatal(err)
	}
	r.budget, r.cap = budget, most
	what := fmt.Sprintf("limits %d and %d", budget, most)
	closed := r.sawClosed(what, model.Shrink)
	for _, id := range workspaceNames { // first those beyond their cap
		idle := r.idle(id)
		if beyond := min(len(idle), r.held(id)-most); beyond > 0 {
			var own []*seatConn
			for _, c := range idle {
				if slices.Contains(closed, c) && len(own) < beyond {
					own = append(own, c)
				}
			}
			r.gaveWay(what, beyond, id, own)
			closed = slices.DeleteFunc(closed, func(c *seatConn) bool { return slices.Contains(own, c) })
		}
	}
	idle := r.idle(anyWorkspace)
	r.gaveWay(what, max(0, min(len(idle), r.held(anyWorkspace)-budget)), anyWorkspace, closed)
}

// renewed closes what is idle, and makes stale what is lent.
func (r *seatRun) renewed(id model.WorkspaceID, n int, err error) {
	idle := r.idle(id)
	closed := r.sawClosed("renew "+string(id), model.Renewed)
	if err != nil || n != len(idle) {
		r.t.Fatalf("renew %q closed %d, error %v, of %v", id, n, err, idle)
	}
	r.gaveWay("renew "+string(id), n, id, closed)
	for _, c := range r.open {
		c.stale = c.stale || id == anyWorkspace || c.workspace == id
	}
}

func (r *seatRun) stats() {
	st, err := r.supervisor.Stats(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	idle := len(r.idle(anyWorkspace))
	share := st.Shares[actorShare]
	if share.Idle != idle || share.InUse != len(r.open)-idle || share.Counters.Acquires != r.acquires ||
		share.Counters.Grants() != r.acquires || share.Counters.Dials != uint64(r.dials) || share.Counters.HandOffs != 0 {
		r.t.Fatalf("%d acquires and %d dials have left %v; stats are %+v", r.acquires, r.dials, r.open, share)
	}
}

func (r *seatRun) do(o seatOrder) {
	switch o.kind {
	case seatPass:
		time.Sleep(o.pass)
	case seatAcquire:
		r.acquire(o.workspace, o.pick%3 == 0)
	case seatAcquireSeated:
		r.acquireSeated(o.workspace)
	case seatUse:
		if c := r.acquireSeated(o.workspace); c != nil {
			time.Sleep(time.Duration(o.pick))
			r.giveBack(c, core.Clean)
		}
	case seatRelease:
		r.release(o.pick, core.Clean)
	case seatReleaseUnclean:
		r.release(o.pick, core.Unclean)
	case seatSetLimits:
		r.setLimits(1+o.pick%8, 1+o.pick/8%6)
	case seatStats:
		r.stats()
	case seatEvict:
		n, err := r.supervisor.Evict(context.Background(), actorShare, o.workspace)
		idle := r.idle(o.workspace)
		closed := r.sawClosed("evict", model.EvictAsked)
		if err != nil || n != len(idle) {
			r.t.Fatalf("evict %s closed %d, error %v, of %v", o.workspace, n, err, idle)
		}
		r.gaveWay("evict", n, o.workspace, closed)
	case seatRenew:
		n, err := r.supervisor.Renew(context.Background(), actorShare, o.workspace)
		r.renewed(o.workspace, n, err)
	case seatRenewAll:
		n, err := r.supervisor.RenewAll(context.Background())
		r.renewed(anyWorkspace, n, err)
	}
	if o.settle {
		synctest.Wait()
	}
}

func TestOneCallerCannotTellSeatsFromMessages(t *testing.T) {
	generator := seatOrders()
	often(t, func(t *rapid.T) {
		orders := generator.Draw(t, "orders")
		limits := model.Limits{
			Budget: rapid.SampledFrom([]int{3, 2, 5, 8}).Draw(t, "budget"), PerWorkspace: rapid.IntRange(1, 6).Draw(t, "cap"),
			MaxWaiters: 1, MaxWaitersPerWorkspace: 1, MaxDialing: 1,
			BackoffMin: time.Second, BackoffMax: time.Second, CloseGrace: time.Hour, ProbeAfter: time.Hour,
			Eviction: rapid.SampledFrom([]model.Eviction{model.LRU, model.LRU2}).Draw(t, "eviction"),
		}
		rapid.SyncTest(t, func(t *rapid.T) {
			server := &seatServer{closed: make(chan *seatConn, 1000)}
			r := &seatRun{
				t: t, server: server, begin: time.Now(), budget: limits.Budget, cap: limits.PerWorkspace,
				supervisor: actor.Start(actor.Share{Limits: limits, Dialer: server}), gone: map[*seatConn]bool{},
				lru2: limits.Eviction == model.LRU2, used: map[model.WorkspaceID]time.Duration{},
			}
			defer func() { // also after a failure, or the bubble would never end
				for _, l := range r.leases {
					l.Release(core.Clean)
				}
				_ = r.supervisor.Drain(context.Background())
			}()
			for _, o := range orders {
				r.do(o)
			}
			r.stats()
		})
	})
}
