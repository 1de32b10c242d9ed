package planner

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// live is a pool that really runs, but in virtual time: the core with a server that takes
// time. It records its traffic as the supervisor does. What a replay predicts from that is
// compared with what another live pool does with the same requests.
type live struct {
	t       testing.TB
	state   *core.State
	rng     *rand.Rand
	timeout time.Duration
	// instant: dials and closes take no time.
	instant bool
	now     time.Duration
	events  liveEvents
	order   int
	wake    int
	steps   int

	requests []request
	answers  []Acquire // by request; Held is 0 while it has not ended
	holding  map[int]bool
	// isShort: somebody waits for room, since shortFrom. shortFor is how long that was since a
	// quarter of the time.
	isShort   bool
	shortFrom time.Duration
	shortFor  time.Duration

	// merges: it keeps the hits of a connection between two Traffics as one, as the supervisor
	// does for want of room; merged is which one.
	merges  bool
	merged  map[core.ConnID]int
	oneIn   uint32
	traffic Traffic
	told    []Traffic
}

type request struct {
	at        time.Duration
	workspace model.WorkspaceID
	held      time.Duration
}

type liveEvent struct {
	at    time.Duration
	order int
	do    func()
}

type liveEvents []liveEvent

func (q liveEvents) Len() int      { return len(q) }
func (q liveEvents) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q liveEvents) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q *liveEvents) Push(x any) { *q = append(*q, x.(liveEvent)) }
func (q *liveEvents) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func testLimits(budget, perWorkspace int) model.Limits {
	limits := model.DefaultConfig().WorkspaceLimits()
	limits.Budget, limits.PerWorkspace = budget, perWorkspace
	return limits
}

// runLive serves the requests, which are in order, and tells its traffic every quarter of a
// second.
func runLive(t testing.TB, limits model.Limits, requests []request, until time.Duration) *live {
	l := newLive(t, limits, requests)
	l.run(limits, until)
	return l
}

func newLive(t testing.TB, limits model.Limits, requests []request) *live {
	return &live{
		t: t, state: core.NewState(limits), rng: rand.New(rand.NewPCG(7, uint64(limits.Budget))),
		timeout: 5 * time.Second, requests: requests, answers: make([]Acquire, len(requests)),
		holding: map[int]bool{}, merged: map[core.ConnID]int{}, oneIn: 1,
	}
}

func (l *live) run(limits model.Limits, until time.Duration) {
	for i, r := range l.requests {
		l.at(r.at, func() {
			l.traffic.Acquires++
			l.answers[i] = Acquire{At: r.at, Workspace: HashOf(r.workspace)}
			l.send(core.Acquire{Lease: core.LeaseID(i + 1), Workspace: r.workspace})
			l.at(r.at+l.timeout, func() { l.send(core.Cancel{Lease: core.LeaseID(i + 1)}) })
		})
	}
	const every = 250 * time.Millisecond
	for at := every; at <= until; at += every {
		l.at(at, func() { l.tell(limits) })
	}
	for len(l.events) > 0 && l.events[0].at <= until {
		e := heap.Pop(&l.events).(liveEvent)
		if l.isShort {
			l.shortFor += max(0, e.at-max(l.now, until/4))
		}
		l.now = e.at
		e.do()
	}
}

func (l *live) at(at time.Duration, do func()) {
	l.order++
	heap.Push(&l.events, liveEvent{at, l.order, do})
}

func (l *live) after(least, most time.Duration, do func()) time.Duration {
	d := least + time.Duration(l.rng.Int64N(int64(most-least)+1))
	if l.instant {
		d = 0
	}
	l.at(l.now+d, do)
	return d
}

func (l *live) send(m core.Message) {
	l.effects(m)
	if l.state.Reclaimable() {
		l.effects(core.Reclaim{})
	}
	if l.isShort {
		l.traffic.ShortFor += l.now - l.shortFrom
	}
	l.isShort, l.shortFrom = l.state.Short(), l.now
	if l.steps++; l.steps%4096 == 0 {
		if err := l.state.Check(); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *live) effects(m core.Message) {
	for _, e := range l.state.Step(l.now, m) {
		switch e := e.(type) {
		case core.Grant:
			l.granted(e)
		case core.Reject:
			a := &l.answers[e.Lease-1]
			a.Outcome, a.Waited = Refused, MicrosOf(l.now-a.At)
			l.record(*a)
		case core.Dial:
			l.traffic.Dialed++
			var took time.Duration
			took = l.after(3*time.Millisecond, 9*time.Millisecond, func() {
				l.traffic.Dials = append(l.traffic.Dials, MicrosOf(took))
				l.send(core.DialSucceeded{Conn: e.Conn})
			})
		case core.Close:
			var took time.Duration
			took = l.after(time.Millisecond, 3*time.Millisecond, func() {
				l.traffic.Closes = append(l.traffic.Closes, MicrosOf(took))
				l.send(core.Closed{Conn: e.Conn})
			})
		case core.WakeAt:
			l.wake++
			if wake := l.wake; e.At < core.Never {
				l.at(e.At, func() {
					if wake == l.wake {
						l.send(core.Tick{})
					}
				})
			}
		}
	}
}

func (l *live) granted(e core.Grant) {
	i := int(e.Lease - 1)
	a := &l.answers[i]
	a.Waited = MicrosOf(e.Waited)
	if e.Waited > 0 {
		a.Outcome = Granted
	}
	l.holding[i] = true
	granted := l.now
	l.at(l.now+l.requests[i].held, func() {
		delete(l.holding, i)
		a.Held = MicrosOf(l.now - granted)
		if at, ok := l.merged[e.Conn]; ok && l.merges && a.Outcome == Hit {
			l.traffic.Ended[at].Held += a.Held
			l.traffic.Ended[at].More++
		} else {
			if a.Outcome == Hit {
				l.merged[e.Conn] = len(l.traffic.Ended)
			}
			l.record(*a)
		}
		l.send(core.Release{Lease: e.Lease, Conn: e.Conn})
	})
}

func (l *live) record(a Acquire) {
	if a.Workspace.In(l.oneIn) {
		l.traffic.Ended = append(l.traffic.Ended, a)
	}
}

func (l *live) tell(limits model.Limits) {
	t := l.traffic
	l.traffic = Traffic{}
	l.merged = map[core.ConnID]int{}
	t.Now, t.SampledOneIn, t.Limits, t.Effective = l.now, l.oneIn, limits, limits.Budget
	for i := range l.holding {
		a := l.answers[i]
		a.Held = MicrosOf(l.now - a.At - a.Waited.Duration())
		if a.Workspace.In(l.oneIn) {
			t.Held = append(t.Held, a)
		}
	}
	slices.SortFunc(t.Held, byArrival)
	l.told = append(l.told, t)
}

// truth is what became of the requests that arrived after the first quarter.
func (l *live) truth(until time.Duration) model.Estimate {
	var waits []Micros
	hits, refused, n, dials := 0, 0, 0, 0
	for _, a := range l.answers {
		if a.At < until/4 || a.At >= until {
			continue
		}
		n++
		switch a.Outcome {
		case Hit:
			hits++
			waits = append(waits, 0)
		case Granted:
			waits = append(waits, a.Waited)
		default:
			refused++
		}
	}
	for _, t := range l.told {
		if t.Now > until/4 {
			dials += int(t.Dialed)
		}
	}
	slices.Sort(waits)
	return model.Estimate{
		HitRatio: float64(hits) / float64(n), Refused: float64(refused) / float64(n),
		WaitP50:        waits[len(waits)/2].Duration(),
		WaitP99:        waits[int(0.99*float64(len(waits)))].Duration(),
		DialsPerSecond: float64(dials) / (until * 3 / 4).Seconds(),
		ShortOfRoom:    float64(l.shortFor) / float64(until*3/4),
	}
}

// sessionRequests are sessions of 20 requests to one workspace.
func sessionRequests(seed uint64, workspaces int, perSecond float64, held, until time.Duration) []request {
	rng := rand.New(rand.NewPCG(seed, 2))
	var requests []request
	for _, session := range zipfRequests(seed, 0.8, workspaces, perSecond/20, held, until) {
		for range 20 {
			session.held = time.Duration(rng.ExpFloat64()*float64(held)).Truncate(time.Microsecond) + time.Microsecond
			requests = append(requests, session)
			session.at += session.held + time.Duration(rng.ExpFloat64()*float64(20*time.Millisecond)).Truncate(time.Microsecond)
		}
	}
	slices.SortFunc(requests, func(a, b request) int { return cmp.Compare(a.at, b.at) })
	return requests
}

// noisyRequests have every fourth from one workspace.
func noisyRequests(seed uint64, workspaces int, perSecond float64, held, until time.Duration) []request {
	requests := zipfRequests(seed, 0.8, workspaces, perSecond, held, until)
	for i := range requests {
		if i%4 == 0 {
			requests[i].workspace = "noisy"
		}
	}
	return requests
}

// shiftingRequests have another hot set every five seconds.
func shiftingRequests(seed uint64, workspaces int, perSecond float64, held, until time.Duration) []request {
	requests := zipfRequests(seed, 1.2, workspaces, perSecond, held, until)
	for i := range requests {
		r := &requests[i]
		r.workspace = model.WorkspaceID(fmt.Sprintf("%s-%d", r.workspace[len("tenant-"):], r.at/(5*time.Second)))
	}
	return requests
}

// zipfRequests arrive as a Poisson process, so many a second, each held for an exponential
// time.
func zipfRequests(seed uint64, skew float64, workspaces int, perSecond float64, held, until time.Duration) []request {
	rng := rand.New(rand.NewPCG(seed, 1))
	weights := make([]float64, workspaces)
	sum := 0.0
	for i := range weights {
		sum += math.Pow(float64(i+1), -skew)
		weights[i] = sum
	}
	var requests []request
	for at := time.Duration(0); ; {
		at += time.Duration(rng.ExpFloat64() / perSecond * float64(time.Second))
		if at >= until {
			return requests
		}
		i, _ := slices.BinarySearch(weights, rng.Float64()*sum)
		requests = append(requests, request{
			at.Truncate(time.Microsecond), model.WorkspaceID(fmt.Sprintf("tenant-%04d", i)),
			time.Duration(rng.ExpFloat64()*float64(held)).Truncate(time.Microsecond) + time.Microsecond,
		})
	}
}

func windowOf(told []Traffic, oneIn int) *Window {
	w := NewWindow(oneIn)
	for _, t := range told {
		w.Add(t)
	}
	return w
}

func (p *Plan) finish(t *testing.T) model.Capacity {
	for steps := 0; !p.Step(); steps++ {
		if steps > 1_000_000 {
			t.Fatal("it goes on and on")
		}
		if p.running != nil && steps%16 == 0 {
			if err := p.running.state.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p.Capacity()
}
