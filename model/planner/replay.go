package planner

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// replay runs the decision core on a Window in virtual time.
//
// Each recorded Acquire arrives when it did, and holds what it gets as long as it did,
// whatever it waits here. One that was refused holds what it gets as long as those of its
// workspace do. Its More are not played one by one, but as one lease: between them the
// connection cannot give way, which flatters a budget much smaller than the one recorded at.
// Each dial and each close takes as long as one that was measured, and none fails.
//
// Of a sample of one in n workspaces the core has an n-th of the budget.
type replay struct {
	traffic *traffic
	// oneIn: of the traffic only the workspaces In such a sample are played.
	oneIn   uint32
	limits  model.Limits
	timeout time.Duration

	state *core.State
	now   time.Duration
	// arrived and cancelled are the first Acquires that have not arrived, and of which it is not
	// known that they wait no more. waiting has a bit for each: it waits.
	arrived, cancelled int
	waiting            []uint64
	// pending is what becomes of the connections: each has one event at most.
	pending events
	order   uint32
	wakeAt  time.Duration

	// short: somebody waits for room; shortFor is for how long of the time that counts.
	short    bool
	shortFor time.Duration
	// full: for want of slots somebody waited or was refused, or a connection gave way.
	full  bool
	dials int
	tally tally
}

const (
	// mostSlots bounds the memory of a replay: a larger budget is played with a sample. A
	// slot costs up to 800 bytes, if each workspace has one.
	mostSlots = 1024

	// usualDial and usualClose are how long these take as long as none was measured.
	usualDial  = 5 * time.Millisecond
	usualClose = time.Millisecond
)

// newReplay is one of a scenario, with a sample of the traffic.
func newReplay(of *traffic, oneIn uint32, s scenario, timeout time.Duration) *replay {
	r := &replay{traffic: of, oneIn: oneIn, limits: of.limits, timeout: min(timeout, longestTime), wakeAt: core.Never}
	budget, perWorkspace := s.budget, s.perWorkspace
	r.limits.Budget, r.limits.PerWorkspace, r.limits.Eviction = budget, perWorkspace, s.eviction
	n := int(oneIn)
	sampled := r.limits
	sampled.Budget = max(1, (budget+n/2)/n)
	sampled.PerWorkspace = min(perWorkspace, sampled.Budget)
	sampled.MaxDialing = max(1, (sampled.MaxDialing+n/2)/n)
	sampled.MaxWaiters = max(1, sampled.MaxWaiters/n)
	r.state = core.NewState(sampled)
	r.now = of.begin
	r.waiting = make([]uint64, len(of.acquires)/64+1)
	return r
}

// step plays some events and tells whether all are played. An event takes about a
// microsecond.
func (r *replay) step(events int) (done bool) {
	for ; events > 0; events-- {
		if !r.advance() {
			return true
		}
	}
	return false
}

// advance plays what is next. At the same time what gives goes before what takes.
func (r *replay) advance() bool {
	arrival, cancel, event := r.nextArrival(), r.nextCancel(), core.Never
	if len(r.pending) > 0 {
		event = r.pending[0].at
	}
	if arrival == core.Never && cancel == core.Never {
		return false // all are answered
	}
	at := min(arrival, cancel, event, r.wakeAt)
	r.pass(at)
	switch at {
	case event:
		r.happen(r.pending.pop())
	case cancel:
		r.cancelled++
		r.send(core.Cancel{Lease: core.LeaseID(r.cancelled)})
	case r.wakeAt:
		r.wakeAt = core.Never
		r.send(core.Tick{})
	default:
		r.arrive()
	}
	return true
}

// pass lets time pass.
func (r *replay) pass(to time.Duration) {
	if r.short {
		r.shortFor += max(0, min(to, r.traffic.end)-max(r.now, r.traffic.counted()))
	}
	r.now = max(r.now, to)
}

// nextArrival is when the next Acquire arrives, or Never.
func (r *replay) nextArrival() time.Duration {
	acquires := r.traffic.acquires
	for r.arrived < len(acquires) && !acquires[r.arrived].Workspace.In(r.oneIn) {
		r.arrived++
	}
	if r.arrived == len(acquires) {
		return core.Never
	}
	return max(acquires[r.arrived].At, r.traffic.begin)
}

// nextCancel is when the next waiter gives up, or Never.
func (r *replay) nextCancel() time.Duration {
	for r.cancelled < r.arrived && !r.waits(r.cancelled) {
		r.cancelled++
	}
	if r.cancelled == r.arrived {
		return core.Never
	}
	if r.timeout <= 0 { // it waits for a dial, which will not fail
		return core.Never - 1
	}
	return max(r.traffic.acquires[r.cancelled].At, r.traffic.begin) + r.timeout
}

func (r *replay) waits(i int) bool { return r.waiting[i/64]&(1<<(i%64)) != 0 }

// arrive has the next Acquire arrive. Its Lease is its index plus one.
func (r *replay) arrive() {
	a := &r.traffic.acquires[r.arrived]
	r.waiting[r.arrived/64] |= 1 << (r.arrived % 64)
	r.arrived++
	h := a.Workspace
	r.send(core.Acquire{
		Lease:     core.LeaseID(r.arrived),
		Workspace: model.WorkspaceID([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}),
		NoWait:    r.timeout <= 0,
		Limits:    r.traffic.own[h],
	})
}

// happen is an event of a connection.
func (r *replay) happen(e event) {
	conn := core.ConnID(e.conn)
	switch e.what {
	case released:
		release := core.Release{Lease: core.LeaseID(e.lease), Conn: conn}
		if more := r.traffic.acquires[e.lease-1].More; more > 0 { // the use before the last one
			release.Before = r.now - r.traffic.holds(int(e.lease-1))/time.Duration(more+1)
		}
		r.send(release)
	case dialed:
		r.send(core.DialSucceeded{Conn: conn})
	case closed:
		r.send(core.Closed{Conn: conn})
	}
}

// send tells the core a message, and asks it to close what is idle as soon as somebody needs
// the room: here it knows of every connection that came free.
func (r *replay) send(m core.Message) {
	r.carryOut(r.state.Step(r.now, m))
	if r.short = r.state.Short(); r.short && r.state.Reclaimable() {
		r.carryOut(r.state.Step(r.now, core.Reclaim{}))
		r.short = r.state.Short()
	}
	r.full = r.full || r.short
}

func (r *replay) carryOut(effects []core.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case core.Grant:
			i := r.answer(e.Lease)
			outcome := Granted
			if e.Waited == 0 {
				outcome = Hit // even a dial takes time
			}
			r.count(i, outcome, e.Waited)
			r.plan(event{conn: uint32(e.Conn), lease: uint32(e.Lease), what: released}, r.traffic.holds(i))
		case core.Reject:
			r.full = true
			r.count(r.answer(e.Lease), Refused, 0)
		case core.Dial:
			if r.now >= r.traffic.counted() && r.now <= r.traffic.end {
				r.dials++
			}
			r.plan(event{conn: uint32(e.Conn), what: dialed}, r.traffic.dials.of(uint64(e.Conn), usualDial))
		case core.Close:
			r.full = r.full || e.Reason == model.MakeRoom || e.Reason == model.Yield
			r.plan(event{conn: uint32(e.Conn), what: closed}, r.traffic.closes.of(uint64(e.Conn), usualClose))
		case core.WakeAt:
			r.wakeAt = e.At
		}
	}
}

// answer is the index of an Acquire that waits no more.
func (r *replay) answer(lease core.LeaseID) int {
	i := int(lease) - 1
	r.waiting[i/64] &^= 1 << (i % 64)
	return i
}

func (r *replay) count(i int, outcome Outcome, waited time.Duration) {
	if a := &r.traffic.acquires[i]; a.At >= r.traffic.counted() {
		r.tally.count(a, outcome, waited)
	}
}

func (r *replay) plan(e event, after time.Duration) {
	r.order++
	e.at, e.order = r.now+after, r.order
	r.pending.push(e)
}

// estimate is the result, once all is played.
func (r *replay) estimate() model.Estimate {
	e := r.tally.estimate(r.traffic.missing(r.oneIn))
	e.Budget, e.PerWorkspace, e.Eviction = r.limits.Budget, r.limits.PerWorkspace, r.limits.Eviction
	if span := r.traffic.end - r.traffic.counted(); span > 0 {
		e.DialsPerSecond = float64(r.dials) * float64(r.oneIn) / span.Seconds()
		e.ShortOfRoom = float64(r.shortFor) / float64(span)
	}
	return e
}

// traffic is a Window to be played, and what is found out once for all replays of it.
type traffic struct {
	*Window
	// usual is how long a lease of each workspace is that has a refused Acquire, and of
	// all.
	usual    map[Hash]mean
	usualAll mean
}

type mean struct{ sum, n uint64 }

func (m mean) add(held Micros) mean { return mean{m.sum + uint64(held), m.n + 1} }

func (m mean) duration() time.Duration {
	return time.Duration(m.sum/max(1, m.n)) * time.Microsecond
}

// mostUsual bounds traffic.usual.
const mostUsual = 1024

// newTraffic takes the Window over.
func newTraffic(w *Window) *traffic {
	w.seal()
	t := &traffic{Window: w, usual: map[Hash]mean{}}
	for i := range w.acquires {
		if a := &w.acquires[i]; a.Outcome == Refused && len(t.usual) < mostUsual {
			t.usual[a.Workspace] = mean{}
		}
	}
	for i := range w.acquires {
		a := &w.acquires[i]
		if a.Outcome == Refused {
			continue
		}
		t.usualAll = t.usualAll.add(a.Held)
		if m, ok := t.usual[a.Workspace]; ok {
			t.usual[a.Workspace] = m.add(a.Held)
		}
	}
	return t
}

// holds is how long the i-th Acquire holds its connection, from the begin on.
func (t *traffic) holds(i int) time.Duration {
	a := &t.acquires[i]
	switch {
	case a.Outcome != Refused:
		return max(0, a.Held.Duration()-max(0, t.begin-a.At-a.Waited.Duration()))
	case t.usual[a.Workspace].n > 0:
		return t.usual[a.Workspace].duration()
	}
	return t.usualAll.duration()
}

// event is what becomes of a connection: it is released, dialed, or closed.
type event struct {
	at          time.Duration
	order       uint32
	conn, lease uint32
	what        uint8
}

const (
	released uint8 = iota
	dialed
	closed
)

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.order < other.order
}

// events is a binary heap: container/heap takes an interface for each.
type events []event

func (h *events) push(e event) {
	*h = append(*h, e)
	s := *h
	i := len(s) - 1
	for ; i > 0 && e.before(&s[(i-1)/2]); i = (i - 1) / 2 {
		s[i] = s[(i-1)/2]
	}
	s[i] = e
}

func (h *events) pop() event {
	s := *h
	first, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	for i := 0; len(s) > 0; {
		child := 2*i + 1
		if child+1 < len(s) && s[child+1].before(&s[child]) {
			child++
		}
		if child >= len(s) || !s[child].before(&last) {
			s[i] = last
			break
		}
		s[i] = s[child]
		i = child
	}
	return first
}
