package planner

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
)

// bounded is the naive reference: a pool with a budget, in lists. A lease may begin although
// all of the budget is in use; then there are more connections until one comes back.
type bounded struct {
	budget, perWorkspace int
	maxIdle              time.Duration
	conns                []boundedConn
	hits                 int
}

type boundedConn struct {
	workspace Hash
	lease     int // -1: idle
	used      time.Duration
}

func (b *bounded) begin(now time.Duration, lease int, h Hash) {
	b.expire(now)
	best, all := -1, 0
	for i, c := range b.conns {
		if c.workspace != h {
			continue
		}
		all++
		if c.lease < 0 && (best < 0 || c.used > b.conns[best].used) {
			best = i
		}
	}
	switch {
	case best >= 0:
		b.hits++
		b.conns[best].lease = lease
	case all < b.perWorkspace:
		b.conns = append(b.conns, boundedConn{h, lease, now})
		b.shrink()
	}
}

func (b *bounded) end(now time.Duration, lease, more int) {
	b.expire(now)
	inUse := 0
	for _, c := range b.conns {
		if c.lease >= 0 {
			inUse++
		}
	}
	if inUse <= b.budget {
		b.hits += more
	}
	for i := range b.conns {
		if c := &b.conns[i]; c.lease == lease {
			c.lease, c.used = -1, now
			b.shrink()
			return
		}
	}
}

func (b *bounded) expire(now time.Duration) {
	b.conns = slices.DeleteFunc(b.conns, func(c boundedConn) bool {
		return c.lease < 0 && b.maxIdle > 0 && c.used+b.maxIdle <= now
	})
}

func (b *bounded) shrink() {
	for len(b.conns) > b.budget {
		oldest := -1
		for i, c := range b.conns {
			if c.lease < 0 && (oldest < 0 || c.used < b.conns[oldest].used) {
				oldest = i
			}
		}
		if oldest < 0 {
			return
		}
		b.conns = slices.Delete(b.conns, oldest, oldest+1)
	}
}

type testLease struct {
	Acquire
	end time.Duration
}

// drawLeases draws leases of which no two begin or end at the same time.
func drawLeases(t *rapid.T) []testLease {
	n := rapid.IntRange(1, 80).Draw(t, "leases")
	leases := make([]testLease, n)
	for i := range leases {
		l := &leases[i]
		l.Workspace = Hash(rapid.IntRange(1, 9).Draw(t, "workspace"))
		l.At = time.Duration(rapid.IntRange(0, 200).Draw(t, "at"))*time.Millisecond + time.Duration(i+1)*time.Microsecond
		l.Held = MicrosOf(time.Duration(rapid.IntRange(0, 60).Draw(t, "held"))*time.Millisecond + 500*time.Microsecond)
		l.More = uint16(max(0, rapid.IntRange(-3, 3).Draw(t, "more")))
		l.end = l.At + l.Held.Duration()
	}
	return leases
}

// tellLeases makes Traffics of them.
func tellLeases(t *rapid.T, leases []testLease, limits model.Limits) []Traffic {
	var told []Traffic
	for from := time.Duration(-1); from < 300*time.Millisecond; {
		now := max(0, from) + time.Duration(rapid.IntRange(1, 120).Draw(t, "batch"))*time.Millisecond + 999*time.Microsecond
		traffic := Traffic{Now: now, SampledOneIn: 1, Limits: limits}
		for _, l := range leases {
			switch {
			case l.end > from && l.end <= now:
				traffic.Ended = append(traffic.Ended, l.Acquire)
			case l.At <= now && l.end > now:
				held := l.Acquire
				held.Held, held.More = MicrosOf(now-l.At), 0
				traffic.Held = append(traffic.Held, held)
			}
		}
		told = append(told, traffic)
		from = now
	}
	return told
}

// The curve says of each budget what a pool with that budget finds.
func TestTheCurveIsWhatABoundedPoolFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := testLimits(10, rapid.IntRange(1, 3).Draw(t, "cap"))
		limits.MaxIdleTime = time.Duration(rapid.IntRange(0, 100).Draw(t, "max idle")) * time.Millisecond
		leases := drawLeases(t)
		c := NewCurve()
		for _, traffic := range tellLeases(t, leases, limits) {
			c.Add(traffic)
			checkCurve(t, c)
		}
		type point struct {
			at    time.Duration
			lease int
			end   bool
		}
		var points []point
		acquires := 0
		for i, l := range leases {
			points = append(points, point{l.At, i, false}, point{l.end, i, true})
			acquires += 1 + int(l.More)
		}
		slices.SortFunc(points, func(a, b point) int { return int(a.at - b.at) })
		for budget := 1; budget <= 30; budget++ {
			b := bounded{budget: budget, perWorkspace: limits.PerWorkspace, maxIdle: limits.MaxIdleTime}
			for _, p := range points {
				if l := leases[p.lease]; p.end {
					b.end(p.at, p.lease, int(l.More))
				} else {
					b.begin(p.at, p.lease, l.Workspace)
				}
			}
			if want, got := float64(b.hits)/float64(acquires), c.HitRatio(budget); math.Abs(want-got) > 1e-9 {
				t.Fatalf("budget %d: %d hits of %d, and the curve says %.2f", budget, b.hits, acquires, got*float64(acquires))
			}
		}
	})
}

// checkCurve verifies the invariant of keys.
func checkCurve(t *rapid.T, c *Curve) {
	idle, all := 0, 0
	for h, s := range c.spaces {
		all += int(s.keys)
		for k := s.top; k != none; k = c.keys[k].below {
			idle++
			if c.keys[k].workspace != h || c.idle.at[c.keys[k].place] != k {
				t.Fatalf("key %d of workspace %d is not where it should be", k, h)
			}
		}
	}
	if idle != int(c.idle.n) || all != idle+c.inUse {
		t.Fatalf("%d keys, %d of them idle in stacks and %d in the order, %d in use", all, idle, c.idle.n, c.inUse)
	}
}

// It is what the decision core finds too, where dials and closes take no time and nobody
// waits for room.
func TestTheCurveIsWhatTheCoreFindsWithInstantDials(t *testing.T) {
	const until = 10 * time.Second
	requests := zipfRequests(3, 1.0, 300, 500, 4*time.Millisecond, until)
	for _, budget := range []int{30, 60, 120, 240} {
		l := newLive(t, testLimits(budget, 3), requests)
		l.instant = true
		l.run(testLimits(budget, 3), until)
		c := NewCurve()
		for _, traffic := range l.told {
			c.Add(traffic)
		}
		want := float64(l.state.Stats(l.now).Counters.Hits) / float64(len(l.answers))
		if got := c.HitRatio(budget); math.Abs(want-got) > 0.001 {
			t.Errorf("budget %d: the core's hit ratio is %.4f, the curve's %.4f", budget, want, got)
		}
	}
}

// A curve of a sample is near the one of all, and its points ascend.
func TestACurveOfASampleIsNearTheCurveOfAll(t *testing.T) {
	const until = 20 * time.Second
	requests := zipfRequests(4, 0.8, 4000, 2000, time.Millisecond, until)
	curves := map[uint32]*Curve{1: NewCurve(), 2: NewCurve(), 4: NewCurve()}
	for oneIn, c := range curves {
		for now := 250 * time.Millisecond; now <= until; now += 250 * time.Millisecond {
			traffic := Traffic{Now: now, SampledOneIn: oneIn, Limits: testLimits(60, 3)}
			for _, r := range requests {
				if r.at > now-250*time.Millisecond && r.at <= now {
					traffic.Acquires++
					traffic.Ended = append(traffic.Ended, Acquire{At: r.at, Workspace: HashOf(r.workspace), Held: MicrosOf(r.held)})
				}
			}
			c.Add(traffic)
		}
	}
	points := curves[1].Points()
	if len(points) > mostPoints || !slices.IsSortedFunc(points, func(a, b model.CurvePoint) int {
		if a.Budget < b.Budget && a.HitRatio <= b.HitRatio {
			return -1
		}
		return 1
	}) {
		t.Errorf("%d points: %v", len(points), points)
	}
	for _, budget := range []int{200, 500, 1000, 2000} {
		all, half, quarter := curves[1].HitRatio(budget), curves[2].HitRatio(budget), curves[4].HitRatio(budget)
		t.Logf("budget %d: %.4f of all, %.4f of a half, %.4f of a quarter", budget, all, half, quarter)
		if math.Abs(all-half) > 0.02 || math.Abs(all-quarter) > 0.03 {
			t.Errorf("budget %d: %.4f of all, %.4f of a half, %.4f of a quarter", budget, all, half, quarter)
		}
	}
}

// A lease that a Traffic does not tell of has ended in the next at the latest. Until then it may
// still be told of.
func TestACurveGetsBackTheConnectionOfALeaseThatWasMissed(t *testing.T) {
	ms := time.Millisecond
	a := Acquire{At: ms, Workspace: 1}
	next := func(c *Curve, now time.Duration, held, ended []Acquire) {
		c.Add(Traffic{Now: now, SampledOneIn: 1, Limits: testLimits(60, 3), Held: held, Ended: ended})
	}
	late, missed := NewCurve(), NewCurve()
	for _, c := range []*Curve{late, missed} {
		next(c, 2*ms, []Acquire{a}, nil)
		next(c, 3*ms, nil, nil)
		if c.inUse != 1 {
			t.Fatalf("%d in use", c.inUse)
		}
	}
	ended := a
	ended.Held = 1500
	next(late, 4*ms, nil, []Acquire{ended})
	next(missed, 4*ms, nil, nil)
	for _, c := range []*Curve{late, missed} {
		if c.inUse != 0 || c.idle.n != 1 || c.Acquires() != 1 {
			t.Errorf("%d in use, %d idle, %d acquires", c.inUse, c.idle.n, c.Acquires())
		}
	}
}

// However many workspaces there are, it remembers so many connections, and what was long ago
// counts less.
func TestACurveIsBoundedAndForgets(t *testing.T) {
	c := NewCurve()
	at := time.Duration(0)
	for h := range Hash(3 * mostKeys) {
		at += time.Millisecond
		c.Add(Traffic{Now: at, SampledOneIn: 1, Limits: testLimits(60, 3), Ended: []Acquire{{At: at, Workspace: h}}})
	}
	if n := len(c.keys); n > mostKeys+1 {
		t.Errorf("%d keys", n)
	}
	before := c.Acquires()
	c.Add(Traffic{Now: at + 2*remembered, SampledOneIn: 1, Limits: testLimits(60, 3)})
	if after := c.Acquires(); float64(after) > 0.15*float64(before) {
		t.Errorf("%d acquires, and %d later", before, after)
	}
}

func BenchmarkCurve(b *testing.B) {
	for _, workspaces := range []int{300, 10_000} {
		b.Run(fmt.Sprint(workspaces), func(b *testing.B) {
			requests := zipfRequests(1, 1.0, workspaces, 1000, 8*time.Millisecond, 100*time.Second)
			traffic := Traffic{SampledOneIn: 1, Limits: testLimits(60, 3)}
			var batches []Traffic
			for _, r := range requests {
				traffic.Ended = append(traffic.Ended, Acquire{At: r.at, Workspace: HashOf(r.workspace), Held: MicrosOf(r.held)})
				if len(traffic.Ended) == 1000 {
					traffic.Now = r.at
					batches = append(batches, traffic)
					traffic.Ended = nil
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				c := NewCurve()
				for _, t := range batches {
					c.Add(t)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(requests)), "ns/acquire")
		})
	}
}
