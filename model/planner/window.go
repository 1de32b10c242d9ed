package planner

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

const (
	// windowSize is how many Acquires a Window holds: 1.9 MB. Two of them with all else that
	// the planner keeps have 8 MB.
	windowSize = 80_000
	// windowLength is how long a Window should be at least. A busier pool's is a sample, but
	// only of leastSlots or more of the budget: with fewer it depends on which of the hot
	// workspaces are in it by chance, and a short window of all tells more.
	windowLength = time.Minute
	leastSlots   = 512
	// windowMost is how long it is at most, but for an eighth.
	windowMost = 10 * time.Minute
)

// Window is the recorded traffic of the last ten minutes or less, bounded in memory: of a busy
// pool it holds that of a part of the workspaces. It is not safe for concurrent use.
type Window struct {
	// oneIn: it holds the workspaces that are In such a sample.
	oneIn uint32
	// begin and end are the time that it is about.
	begin, end time.Duration
	// acquires are those that have ended, by At. held are those that had not at the end, until
	// seal puts them among the others. Invariant: both together are at most windowSize.
	acquires, held []Acquire
	sealed         bool
	// seconds are what the Traffics in it count, and sum is their sum.
	seconds       []second
	sum           second
	dials, closes durations
	limits        model.Limits
	effective     int
	own           map[Hash]model.WorkspaceLimits
}

// second is what a Traffic counts.
type second struct {
	end         time.Duration
	all, dialed uint64
	short       time.Duration
}

// NewWindow returns an empty Window for a sample of one in so many workspaces, a power of
// two: 1 at first, and later the OneIn of the one before.
func NewWindow(oneIn int) *Window { return &Window{oneIn: uint32(max(1, oneIn))} }

// OneIn is how to sample the traffic that is recorded from now on.
func (w *Window) OneIn() int { return int(w.oneIn) }

// Span is how much time it is about.
func (w *Window) Span() time.Duration { return w.end - w.begin }

// Acquires is how many it holds, those that are kept as one counted each.
func (w *Window) Acquires() int {
	n := 0
	for _, of := range [...][]Acquire{w.acquires, w.held} {
		for i := range of {
			n += 1 + int(of[i].More)
		}
	}
	return n
}

// Clone returns a copy, for a Plan, while w goes on.
func (w *Window) Clone() *Window {
	c := *w
	c.acquires, c.held, c.seconds = slices.Clone(w.acquires), slices.Clone(w.held), slices.Clone(w.seconds)
	return &c
}

// Add adds what happened next. It sorts t.Ended and keeps t.Own, which is not to be changed
// any more, and nothing else of t. What is too old, or has no room any more, is
// forgotten. A Window that has become a Plan's takes nothing.
func (w *Window) Add(t Traffic) {
	if w.sealed {
		return
	}
	t.Ended = clipped(t.Ended, t.Now)
	slices.SortFunc(t.Ended, byArrival)
	w.limits, w.effective, w.own = t.Limits, cmp.Or(t.Effective, t.Limits.Budget), t.Own
	for w.oneIn < t.SampledOneIn {
		w.halve()
	}
	for w.room(t) < 0 && t.Now-w.begin < windowLength && w.effective/int(2*w.oneIn) >= leastSlots {
		w.halve()
	}
	w.slide(t)
	s := second{end: t.Now, all: t.Acquires, dialed: t.Dialed}
	if w.end == 0 {
		w.begin = beginOf(t)
	} else {
		s.short = t.ShortFor
	}
	w.end = max(w.end, t.Now)
	w.seconds = append(w.seconds, s)
	w.sum.add(s, 1)
	w.dials.add(t.Dials, perTraffic)
	w.closes.add(t.Closes, perTraffic)
	w.insert(t.Ended)
	w.held = w.held[:0]
	for _, a := range clipped(t.Held, t.Now) {
		if a.Workspace.In(w.oneIn) && len(w.acquires)+len(w.held) < windowSize {
			w.held = append(w.held, a)
		}
	}
}

// slide forgets what was before a later beginning, if it is time for one: an eighth of all at
// least, so that it costs little.
func (w *Window) slide(t Traffic) {
	begin := w.begin
	if t.Now-w.begin > windowMost+windowMost/8 {
		begin = t.Now - windowMost
	}
	if missing := -w.room(t); missing > 0 && len(w.acquires) > 0 {
		begin = max(begin, w.acquires[min(missing+windowSize/8, len(w.acquires)-1)].At)
	}
	if begin == w.begin {
		return
	}
	n := 0
	for ; n < len(w.seconds) && w.seconds[n].end <= begin; n++ {
		w.sum.add(w.seconds[n], -1)
	}
	w.seconds = slices.Delete(w.seconds, 0, n)
	w.acquires = slices.DeleteFunc(w.acquires, func(a Acquire) bool { return a.until() <= begin })
	w.begin = begin
}

// add adds another one's counts, or takes them away.
func (s *second) add(other second, sign int) {
	s.all += uint64(sign) * other.all
	s.dialed += uint64(sign) * other.dialed
	s.short += time.Duration(sign) * other.short
}

// beginOf is when the first of a Window's Traffics begins: with the first end of a lease,
// since the Traffic before had what ended earlier.
func beginOf(t Traffic) time.Duration {
	begin := t.Now
	for i := range t.Ended {
		begin = min(begin, t.Ended[i].until())
	}
	return begin
}

// clipped are those told at now. Of a lease that was held for longer than Micros can say the
// end is kept, and not the beginning: until then it takes a slot. The caller's are not changed, as
// a Curve knows them by their beginnings.
func clipped(told []Acquire, now time.Duration) []Acquire {
	long := func(a Acquire) bool { return a.Held == math.MaxUint32 }
	if !slices.ContainsFunc(told, long) {
		return told
	}
	told = slices.Clone(told)
	for i := range told {
		if a := &told[i]; long(*a) {
			a.At = max(a.At, now-a.Waited.Duration()-a.Held.Duration())
		}
	}
	return told
}

// until is when it ended.
func (a *Acquire) until() time.Duration { return a.At + a.Waited.Duration() + a.Held.Duration() }

func byArrival(a, b Acquire) int {
	if a.At != b.At {
		return cmp.Compare(a.At, b.At)
	}
	return cmp.Compare(a.Workspace, b.Workspace)
}

// room is how much room there will be with t in it.
func (w *Window) room(t Traffic) int {
	return windowSize - len(w.acquires) - w.countIn(t.Ended) - w.countIn(t.Held)
}

func (w *Window) countIn(acquires []Acquire) int {
	n := 0
	for i := range acquires {
		if acquires[i].Workspace.In(w.oneIn) {
			n++
		}
	}
	return n
}

// halve drops the workspaces that are not in a sample of half the size.
func (w *Window) halve() {
	w.oneIn *= 2
	outside := func(a Acquire) bool { return !a.Workspace.In(w.oneIn) }
	w.acquires = slices.DeleteFunc(w.acquires, outside)
	w.held = slices.DeleteFunc(w.held, outside)
}

// insert merges a sorted batch into acquires, as much of it as there is room for. Most of it
// goes to the end.
func (w *Window) insert(batch []Acquire) {
	n := min(w.countIn(batch), windowSize-len(w.acquires))
	for excess := w.countIn(batch) - n; excess > 0; batch = batch[:len(batch)-1] {
		if batch[len(batch)-1].Workspace.In(w.oneIn) {
			excess--
		}
	}
	old := len(w.acquires)
	if need := old + n; need > cap(w.acquires) { // append would leave a quarter unused
		grown := make([]Acquire, old, min(windowSize, max(1024, need, 2*cap(w.acquires))))
		copy(grown, w.acquires)
		w.acquires = grown
	}
	w.acquires = w.acquires[:old+n]
	for i, j, to := old-1, len(batch)-1, old+n-1; j >= 0; {
		switch {
		case !batch[j].Workspace.In(w.oneIn):
			j--
		case i >= 0 && byArrival(w.acquires[i], batch[j]) > 0:
			w.acquires[to] = w.acquires[i]
			i--
			to--
		default:
			w.acquires[to] = batch[j]
			j--
			to--
		}
	}
}

// seal puts what is held among the acquires: it has become traffic to be played.
func (w *Window) seal() {
	if !w.sealed {
		w.sealed = true
		slices.SortFunc(w.held, byArrival)
		w.insert(w.held)
		w.held = nil
	}
}

// counted is from when on the traffic counts: the first quarter of it only fills the pool. Once
// as many connections have been used as there are slots, nothing depends on the beginning.
func (w *Window) counted() time.Duration { return w.begin + w.Span()/4 }

// Measured is what became of the acquires but for the first quarter, as an Estimate is about them.
// Its DialsPerSecond and ShortOfRoom are of the whole time. It takes time linear in the
// Window's size.
func (w *Window) Measured() model.Estimate {
	counted := w.counted()
	var t tally
	for _, of := range [...][]Acquire{w.acquires, w.held} {
		for i := range of {
			if a := &of[i]; a.At >= counted {
				t.count(a, a.Outcome, a.Waited.Duration())
			}
		}
	}
	e := t.estimate(w.missing(w.oneIn))
	e.Budget, e.PerWorkspace, e.Eviction = w.effective, w.limits.PerWorkspace, cmp.Or(w.limits.Eviction, model.LRU)
	if span := w.Span(); span > 0 {
		e.DialsPerSecond = float64(w.sum.dialed) / span.Seconds()
		e.ShortOfRoom = float64(w.sum.short) / float64(span)
	}
	return e
}

// missing is by which factor a sample has fewer acquires than its share of all, or more:
// mostly because of a few hot workspaces that are in it by chance, or are not. 1 if that is
// not known.
func (w *Window) missing(oneIn uint32) float64 {
	sampled := 0
	for _, of := range [...][]Acquire{w.acquires, w.held} {
		for i := range of {
			if of[i].Workspace.In(oneIn) {
				sampled += 1 + int(of[i].More)
			}
		}
	}
	if oneIn == 1 || w.sum.all == 0 || sampled == 0 {
		return 1
	}
	return float64(w.sum.all) / float64(oneIn) / float64(sampled)
}

// durations are some of the last that were measured, over two minutes and more: how long a dial
// takes depends on what else the server does.
type durations struct {
	last [2048]Micros
	n    int
}

// perTraffic is how many of a Traffic's are kept.
const perTraffic = 16

// add keeps so many of them at most, evenly spaced.
func (d *durations) add(more []Micros, most int) {
	n := min(len(more), most)
	for i := range n {
		d.last[d.n%len(d.last)] = more[i*len(more)/n]
		d.n++
	}
}

// all are those that there are.
func (d *durations) all() []Micros { return d.last[:min(d.n, len(d.last))] }

// of is the one that belongs to a number, always the same: otherwise if there is none.
func (d *durations) of(number uint64, otherwise time.Duration) time.Duration {
	if d.n == 0 {
		return otherwise
	}
	number *= 0x9e3779b97f4a7c15 // Fibonacci hashing
	return max(time.Microsecond, d.last[(number>>32)%uint64(min(d.n, len(d.last)))].Duration())
}
