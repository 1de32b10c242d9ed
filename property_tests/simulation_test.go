package property_tests

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// simulation runs the core in virtual time against a server that takes time to
// dial and to close, that has so many backends and no more, and that can be down.
// Everything random comes from one seed.
type simulation struct {
	t      *testing.T
	core   *core.State
	rng    *rand.Rand
	now    time.Duration
	events eventQueue
	order  int
	steps  int
	// checkEvery is after how many of them the core is checked.
	checkEvery int
	wake       int // which WakeAt is the current one
	lease      core.LeaseID
	calls      map[core.LeaseID]call

	server server
	dial   latency
	close  latency
	// fails decides about a dial that the server has room for; nil is success.
	fails func(model.WorkspaceID) *core.DialFailed

	report report
}

// server is the truth about backends.
type server struct {
	slots    int // for us and the others together
	others   int
	backends map[core.ConnID]int // ours, with the life of the server they belong to
	down     bool
	life     int
	refusals int
	most     int // of our backends at once
}

type call struct {
	workspace model.WorkspaceID
	arrived   time.Duration
	granted   func(core.Grant)
	rejected  func(error)
}

// report is what came out.
type report struct {
	waits   map[model.WorkspaceID][]time.Duration
	rejects int
}

type latency struct{ least, most time.Duration }

func (l latency) draw(rng *rand.Rand) time.Duration {
	return l.least + time.Duration(rng.Int64N(int64(l.most-l.least)+1))
}

func newSimulation(t *testing.T, seed uint64, limits model.Limits) *simulation {
	t.Helper()
	t.Logf("seed %d, %s", seed, describeLimits(limits))
	return &simulation{
		t: t, core: core.NewState(limits), rng: rand.New(rand.NewPCG(seed, 0)),
		calls:  map[core.LeaseID]call{},
		server: server{slots: limits.Budget, backends: map[core.ConnID]int{}},
		dial:   latency{ms(3), ms(9)},
		close:  latency{ms(1), ms(3)},
		report: report{waits: map[model.WorkspaceID][]time.Duration{}},

		checkEvery: 64,
	}
}

type event struct {
	at    time.Duration
	order int // ties are broken by the order of planning
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q eventQueue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q *eventQueue) Push(x any) { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// after plans something.
func (s *simulation) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.events, event{s.now + d, s.order, do})
}

// run lets time pass.
func (s *simulation) run(until time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= until {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
	s.now = until
}

// send carries out what the core decides.
func (s *simulation) send(m core.Message) {
	s.steps++
	if s.steps > 5_000_000 {
		s.t.Fatalf("at %v: it goes on and on", s.now)
	}
	effects := step(s.core, s.now, m)
	if s.steps%s.checkEvery == 0 {
		if err := s.core.Check(); err != nil {
			s.t.Fatalf("at %v after %s: %v", s.now, core.DescribeMessage(m), err)
		}
	}
	for _, e := range effects {
		switch e := e.(type) {
		case core.Grant:
			c := s.answered(e.Lease)
			s.report.waits[c.workspace] = append(s.report.waits[c.workspace], s.now-c.arrived)
			c.granted(e)
		case core.Reject:
			c := s.answered(e.Lease)
			s.report.rejects++
			if c.rejected != nil {
				c.rejected(e.Err)
			}
		case core.Dial:
			s.startDial(e)
		case core.Close:
			s.after(s.close.draw(s.rng), func() {
				delete(s.server.backends, e.Conn)
				s.send(core.Closed{Conn: e.Conn})
			})
		case core.WakeAt:
			s.wake++
			if wake := s.wake; e.At < core.Never {
				s.after(e.At-s.now, func() {
					if wake == s.wake {
						s.send(core.Tick{})
					}
				})
			}
		}
	}
}

func (s *simulation) answered(lease core.LeaseID) call {
	c, ok := s.calls[lease]
	if !ok {
		s.t.Fatalf("at %v lease %d was answered twice or never asked for", s.now, lease)
	}
	delete(s.calls, lease)
	return c
}

// startDial takes the backend at once, as a server does that forks before it
// looks at the login.
func (s *simulation) startDial(e core.Dial) {
	failed := &core.DialFailed{Err: errDial}
	switch {
	case s.server.down:
		failed.Kind = model.ServerDown
	case len(s.server.backends)+s.server.others >= s.server.slots:
		failed.Kind = model.ServerFull
		s.server.refusals++
	case s.fails != nil:
		failed = s.fails(e.Workspace)
	default:
		failed = nil
	}
	if failed == nil || failed.SlotHeld {
		s.server.backends[e.Conn] = s.server.life
		s.server.most = max(s.server.most, len(s.server.backends))
	}
	s.after(s.dial.draw(s.rng), func() {
		if failed == nil {
			s.send(core.DialSucceeded{Conn: e.Conn})
			return
		}
		failed.Conn = e.Conn
		s.send(*failed)
	})
}

// alive tells whether the backend is of the server's present life.
func (s *simulation) alive(conn core.ConnID) bool {
	life, ok := s.server.backends[conn]
	return ok && life == s.server.life
}

// acquire asks, with a deadline if it is positive.
func (s *simulation) acquire(id model.WorkspaceID, deadline time.Duration, granted func(core.Grant), rejected func(error)) {
	s.ask(core.Acquire{Workspace: id}, deadline, granted, rejected)
}

func (s *simulation) ask(m core.Acquire, deadline time.Duration, granted func(core.Grant), rejected func(error)) {
	s.lease++
	lease := s.lease
	s.calls[lease] = call{m.Workspace, s.now, granted, rejected}
	if deadline > 0 {
		s.after(deadline, func() { s.send(core.Cancel{Lease: lease}) })
	}
	m.Lease = lease
	s.send(m)
}

// worker is a handler that works again and again until the end.
type worker struct {
	pick     func() model.WorkspaceID
	hold     latency
	think    latency
	deadline time.Duration
	until    time.Duration
	batch    bool
}

func (s *simulation) work(w worker) {
	again := func() { s.after(w.think.draw(s.rng), func() { s.work(w) }) }
	if s.now >= w.until {
		return
	}
	s.ask(core.Acquire{Workspace: w.pick(), Batch: w.batch}, w.deadline, func(g core.Grant) {
		hold := w.hold.draw(s.rng)
		if !s.alive(g.Conn) {
			hold = ms(1) // the first query fails
		}
		s.after(hold, func() {
			health := core.Clean
			if !s.alive(g.Conn) {
				health = core.Lost
			}
			s.send(core.Release{Lease: g.Lease, Conn: g.Conn, Health: health})
			again()
		})
	}, func(error) { again() })
}

func tenant(i int) model.WorkspaceID { return model.WorkspaceID(fmt.Sprintf("tenant-%03d", i)) }

func (s *simulation) uniform(workspaces int) func() model.WorkspaceID {
	return func() model.WorkspaceID { return tenant(s.rng.IntN(workspaces)) }
}

func (s *simulation) zipf(workspaces int) func() model.WorkspaceID {
	z := rand.NewZipf(s.rng, 1.1, 1, uint64(workspaces-1))
	return func() model.WorkspaceID { return tenant(int(z.Uint64())) }
}

func only(id model.WorkspaceID) func() model.WorkspaceID {
	return func() model.WorkspaceID { return id }
}

// all lists the waits of all workspaces that want does not leave out, sorted.
func (r report) all(want func(model.WorkspaceID) bool) []time.Duration {
	var all []time.Duration
	for id, waits := range r.waits {
		if want == nil || want(id) {
			all = append(all, waits...)
		}
	}
	slices.Sort(all)
	return all
}

// quantile of sorted waits.
func quantile(waits []time.Duration, q float64) time.Duration {
	if len(waits) == 0 {
		return 0
	}
	return waits[min(len(waits)-1, int(q*float64(len(waits))))]
}

func (s *simulation) log() {
	stats := s.core.Stats(s.now)
	all := s.report.all(nil)
	s.t.Logf("%v: %d grants (%d hits, %d hand-offs, %d fresh), %d dials, %d failed, %d rejects; waits p50 %v p99 %v max %v",
		s.now, stats.Counters.Grants(), stats.Counters.Hits, stats.Counters.HandOffs, stats.Counters.FreshGrants,
		stats.Counters.Dials, stats.Counters.DialFailures, s.report.rejects,
		quantile(all, 0.5), quantile(all, 0.99), quantile(all, 1))
}
