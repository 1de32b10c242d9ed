package planner

import (
	"math"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Curve estimates the hit ratio for every budget at once, from the distances of reuse
// (Mattson, Gecsei, Slutz, Traiger: Evaluation Techniques for Storage Hierarchies, 1970).
//
// It follows the connections that there would be without a budget and without waits: a
// workspace is lent the idle one that it used last, or opens another up to its cap, and what
// is idle for MaxIdleTime closes. With a budget of B, the pool has of these the ones in use
// and those of the idle ones used last, B together. So an acquire that finds a connection
// there finds it with every budget from its distance on: those in use, those idle and used
// since it was, and itself. The distances are counted, and what is counted fades.
//
// It is not safe for concurrent use.
type Curve struct {
	// now is how far it has come, told when the last Traffic was told, faded when the counts
	// faded last.
	now, told, faded time.Duration
	limits           model.Limits
	own              map[Hash]model.WorkspaceLimits
	oneIn            uint32

	// keys are the connections; keys[none] is not one. free is the first unused one, of those
	// linked by below. Invariant: a key is unused, on a lease, or in idle and in the stack of
	// its workspace.
	keys   []key
	free   int32
	idle   recency
	inUse  int
	spaces map[Hash]space
	// held are the leases that had not ended when it was told last, by arrival.
	held []lease
	// ends are those of the leases that it knows the end of, at which it has not come yet.
	ends  events
	order uint32

	// hits[d] is how many acquires had the distance d, of total. all is how many there were of
	// all workspaces: as many as total, or if it is scaled as many as the Traffic says.
	hits       []float64
	total, all float64
	scaled     bool
}

// key is a connection: the k-th of its workspace.
type key struct {
	workspace Hash
	// below is the next of its workspace's idle ones, used before it; place is its place in
	// the order of all. used is when it was used last.
	below, place int32
	used         time.Duration
}

// space is what a workspace has: how many keys, and the idle one that it used last.
type space struct{ keys, top int32 }

// lease is one that holds a key, or none if its workspace was at its cap.
type lease struct {
	at        time.Duration
	workspace Hash
	key       int32
	// untold: the last Traffic had it neither as held nor as ended.
	untold bool
}

const (
	// none is no key, taken the key of a lease that is another's now.
	none, taken = 0, -1
	// never is a distance beyond all budgets.
	never = largestBudget + 1
	// mostKeys bounds the memory, at less than a megabyte, and is no less than any budget.
	// Beyond it the key used longest ago is forgotten.
	mostKeys = 10_240
	// remembered is the time after which a count is worth 1/e.
	remembered, fadeEvery = 10 * time.Minute, 15 * time.Second
	// mostPoints is how many Points there are.
	mostPoints = 64
)

// NewCurve returns an empty Curve.
func NewCurve() *Curve {
	return &Curve{oneIn: 1, keys: make([]key, 1), spaces: map[Hash]space{}, hits: make([]float64, largestBudget+1)}
}

// Acquires is how many it is made of; what was long ago counts less.
func (c *Curve) Acquires() int { return int(c.total) }

// HitRatio is which part of the acquires finds a connection open with this budget, from 0 to
// 1. It takes time linear in the budget.
func (c *Curve) HitRatio(budget int) float64 {
	hits := 0.0
	for d := 1; d <= min(budget, largestBudget); d++ {
		hits += c.hits[d]
	}
	return c.ratio(hits)
}

// ratio of those that there should have been: see tally.estimate.
func (c *Curve) ratio(hits float64) float64 {
	if c.total == 0 {
		return 0
	}
	all := c.total
	if c.all > 0 {
		all = max(c.all, c.total-hits)
	}
	return (hits + all - c.total) / all
}

// Points are at most 64 of them, with ascending budgets, up to the one from which on there are
// no more hits.
func (c *Curve) Points() []model.CurvePoint {
	last := largestBudget
	for last > 0 && c.hits[last] == 0 {
		last--
	}
	var points []model.CurvePoint
	hits, next := 0.0, 1.0
	step := math.Pow(float64(last), 1/float64(mostPoints-2))
	for d := 1; d <= last; d++ {
		hits += c.hits[d]
		if d >= int(next) || d == last {
			points = append(points, model.CurvePoint{Budget: d, HitRatio: c.ratio(hits)})
			next = max(float64(d+1), next*step)
		}
	}
	return points
}

// Add adds what happened next. It sorts t.Ended and t.Held and keeps t.Own, and nothing else of
// t. It takes about half a microsecond for each of them.
func (c *Curve) Add(t Traffic) {
	c.limits, c.own = t.Limits, t.Own
	c.sample(max(1, t.SampledOneIn))
	c.fade(t.Now)
	if c.scaled = c.oneIn > 1 && t.Acquires > 0; c.scaled {
		c.all += float64(t.Acquires)
	}
	slices.SortFunc(t.Ended, byArrival)
	slices.SortFunc(t.Held, byArrival)
	held := make([]lease, 0, len(t.Held))
	for i, j := 0, 0; i < len(t.Ended) || j < len(t.Held); {
		if j == len(t.Held) || i < len(t.Ended) && byArrival(t.Ended[i], t.Held[j]) <= 0 {
			a := &t.Ended[i]
			i++
			if a.Workspace.In(c.oneIn) {
				c.endAt(a.At+a.Held.Duration(), c.keyOf(a), a.More)
			}
			continue
		}
		a := &t.Held[j]
		j++
		if a.Workspace.In(c.oneIn) {
			held = append(held, lease{at: a.At, workspace: a.Workspace, key: c.keyOf(a)})
		}
	}
	for _, l := range c.held {
		switch {
		case l.key == taken:
		case l.untold: // it was Missed
			c.endAt(t.Now, l.key, 0)
		default: // it has just ended, and will be told of
			l.untold = true
			held = append(held, l)
		}
	}
	slices.SortFunc(held, func(a, b lease) int { return byArrival(a.arrival(), b.arrival()) })
	c.held, c.told = held, t.Now
	c.pass(t.Now)
}

func (l lease) arrival() Acquire { return Acquire{At: l.at, Workspace: l.workspace} }

// keyOf is the key that an Acquire holds: since earlier, or from its arrival on.
func (c *Curve) keyOf(a *Acquire) int32 {
	if a.At <= c.told {
		i, _ := slices.BinarySearchFunc(c.held, a, func(l lease, a *Acquire) int {
			return byArrival(l.arrival(), *a)
		})
		for ; i < len(c.held) && c.held[i].at == a.At && c.held[i].workspace == a.Workspace; i++ {
			if k := c.held[i].key; k != taken {
				c.held[i].key = taken
				return k
			}
		}
	}
	c.pass(a.At)
	return c.acquire(a.Workspace)
}

// acquire counts one that arrives now, and returns the key that it gets: none if its workspace
// is at its cap. Really it waits; here it goes its way.
func (c *Curve) acquire(h Hash) int32 {
	s := c.spaces[h]
	k := s.top
	switch {
	case k != none:
		c.count(c.inUse+c.idle.since(c.keys[k].place), 1) // itself is the last of those
		c.idle.remove(c.keys[k].place)
		s.top = c.keys[k].below
	case int(s.keys) < c.capOf(h):
		c.count(never, 1)
		if k = c.newKey(h); k == none {
			return none
		}
		s.keys++
	default:
		c.count(never, 1)
		return none
	}
	c.inUse++
	c.spaces[h] = s
	return k
}

func (c *Curve) capOf(h Hash) int {
	if most := c.own[h].Cap; most > 0 {
		return int(most)
	}
	return c.limits.PerWorkspace
}

// endAt ends a lease, now or later. Its More found the connection with each budget that could
// hold those in use. Of the event conn is the key, and lease has the More.
func (c *Curve) endAt(at time.Duration, k int32, more uint16) {
	c.order++
	c.ends.push(event{at: max(at, c.now), order: c.order, conn: uint32(k), lease: uint32(more)})
}

// pass lets time pass.
func (c *Curve) pass(to time.Duration) {
	for len(c.ends) > 0 && c.ends[0].at <= to {
		e := c.ends.pop()
		c.expire(e.at)
		if e.lease > 0 {
			c.count(max(1, c.inUse), float64(e.lease))
		}
		if e.conn != none {
			c.release(int32(e.conn))
		}
	}
	c.expire(to)
}

func (c *Curve) release(key int32) {
	k := &c.keys[key]
	s := c.spaces[k.workspace]
	k.used, k.below, s.top = c.now, s.top, key
	c.spaces[k.workspace] = s
	c.inUse--
	if c.idle.full() {
		c.idle.renumber(func(key, place int32) { c.keys[key].place = place })
	}
	k.place = c.idle.add(key)
}

// expire closes what has been idle for too long.
func (c *Curve) expire(at time.Duration) {
	c.now = max(c.now, at)
	for c.limits.MaxIdleTime > 0 && c.idle.n > 0 {
		oldest := c.idle.oldest()
		if c.keys[oldest].used+c.limits.MaxIdleTime > c.now {
			return
		}
		c.forget(oldest)
	}
}

// newKey is an unused one; the one used longest ago if there are too many, and none if all
// are in use.
func (c *Curve) newKey(h Hash) int32 {
	if c.free == none && len(c.keys) <= mostKeys {
		c.keys = append(c.keys, key{workspace: h})
		return int32(len(c.keys) - 1)
	}
	if c.free == none {
		if c.idle.n == 0 {
			return none
		}
		c.forget(c.idle.oldest())
	}
	k := c.free
	c.free = c.keys[k].below
	c.keys[k] = key{workspace: h}
	return k
}

// forget closes the idle key that was used longest ago: the last of its workspace's stack.
func (c *Curve) forget(oldest int32) {
	h := c.keys[oldest].workspace
	s := c.spaces[h]
	at := &s.top
	for *at != oldest {
		at = &c.keys[*at].below
	}
	*at = none
	if s.keys--; s.keys == 0 {
		delete(c.spaces, h)
	} else {
		c.spaces[h] = s
	}
	c.idle.remove(c.keys[oldest].place)
	c.keys[oldest].below, c.free = c.free, oldest
}

// count counts n acquires with a distance, of as many times more in all workspaces.
func (c *Curve) count(distance int, n float64) {
	n *= float64(c.oneIn)
	c.total += n
	if !c.scaled {
		c.all += n
	}
	if distance = min(distance, never) * int(c.oneIn); distance <= largestBudget {
		c.hits[distance] += n
	}
}

// sample begins anew with the connections when the sample has changed, and not with the counts.
func (c *Curve) sample(oneIn uint32) {
	if c.oneIn != oneIn {
		c.oneIn = oneIn
		c.keys, c.free, c.inUse = c.keys[:1], none, 0
		c.idle, c.ends, c.held = recency{}, nil, nil
		clear(c.spaces)
	}
}

func (c *Curve) fade(now time.Duration) {
	if now-c.faded < fadeEvery {
		return
	}
	by := math.Exp(-float64(now-c.faded) / float64(remembered))
	c.faded = now
	for i := range c.hits {
		c.hits[i] *= by
	}
	c.total, c.all = c.total*by, c.all*by
}
