package planner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// From a run at one budget comes what the same requests find at others: within a point,
// and the long waits within a factor of 1.5.
func TestAReplayPredictsWhatOtherBudgetsDo(t *testing.T) {
	const until, held = 16 * time.Second, 8 * time.Millisecond
	for _, trace := range []struct {
		what     string
		requests []request
	}{
		{"zipf 1.2", zipfRequests(1, 1.2, 300, 1000, held, until)},
		{"zipf 1.0", zipfRequests(1, 1.0, 300, 1000, held, until)},
		{"uniform", zipfRequests(1, 0, 300, 700, held, until)},
		{"sessions", sessionRequests(1, 300, 1000, held, until)},
		{"shifting", shiftingRequests(1, 300, 700, held, until)},
		{"noisy", noisyRequests(1, 300, 700, held, until)},
	} {
		recorded := runLive(t, testLimits(60, 3), trace.requests, until)
		p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout})
		for _, budget := range []int{40, 60, 90, 150} {
			t.Run(fmt.Sprintf("%s, budget %d", trace.what, budget), func(t *testing.T) {
				real := runLive(t, testLimits(budget, 3), trace.requests, until)
				checkNear(t, p.WhatIf(budget, 0, ""), real.truth(until))
			})
		}
		t.Run(trace.what+", LRU-2", func(t *testing.T) {
			limits := testLimits(60, 3)
			limits.Eviction = model.LRU2
			checkNear(t, p.WhatIf(60, 0, model.LRU2), runLive(t, limits, trace.requests, until).truth(until))
		})
	}
}

// Those that were refused hold what they get elsewhere as long as others do; those that are
// refused elsewhere hold nothing. A larger cap is tried as a larger budget is.
func TestAReplayPredictsRefusals(t *testing.T) {
	const until, timeout = 10 * time.Second, 60 * time.Millisecond
	requests := noisyRequests(5, 200, 800, 20*time.Millisecond, until)
	run := func(budget, perWorkspace int) *live {
		l := newLive(t, testLimits(budget, perWorkspace), requests)
		l.timeout = timeout
		l.run(testLimits(budget, perWorkspace), until)
		return l
	}
	recorded := run(30, 3)
	p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: timeout})
	for _, s := range []scenario{{20, 3, ""}, {30, 3, ""}, {60, 3, ""}, {60, 8, ""}} {
		t.Run(fmt.Sprintf("budget %d, cap %d", s.budget, s.perWorkspace), func(t *testing.T) {
			checkNear(t, p.WhatIf(s.budget, s.perWorkspace, ""), run(s.budget, s.perWorkspace).truth(until))
		})
	}
}

// Hits of one connection that are kept as one make it less exact: between them the connection
// seems to be in use, and does not give way. At a larger budget that does no harm; at a
// smaller one it finds too many hits.
func TestAReplayPredictsWithHitsThatAreKeptAsOne(t *testing.T) {
	const until, held = 10 * time.Second, 4 * time.Millisecond
	for what, requests := range map[string][]request{
		"zipf 1.0": zipfRequests(1, 1.0, 300, 1000, held, until),
		"sessions": sessionRequests(1, 300, 1000, held, until),
	} {
		recorded := newLive(t, testLimits(60, 3), requests)
		recorded.merges = true
		recorded.run(testLimits(60, 3), until)
		p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout})
		if n := len(p.traffic.acquires); n > len(requests)*3/4 {
			t.Errorf("%d of %d", n, len(requests))
		}
		for _, budget := range []int{60, 90} {
			predicted, is := p.WhatIf(budget, 0, ""), runLive(t, testLimits(budget, 3), requests, until).truth(until)
			if d := predicted.HitRatio - is.HitRatio; d < -0.01 || d > 0.01 {
				t.Errorf("%s, budget %d: hit ratio %.4f, and it is %.4f", what, budget, predicted.HitRatio, is.HitRatio)
			}
		}
	}
}

// A sample of the workspaces errs by the hot ones that are in it by chance: a point or two
// where it has as many slots as a Window asks for.
func TestASampleOfTheWorkspacesPredictsWhatAllDo(t *testing.T) {
	const until = 16 * time.Second
	requests := zipfRequests(2, 0.9, 3000, 1500, 4*time.Millisecond, until)
	recorded := runLive(t, testLimits(1000, 3), requests, until)
	p := NewPlan(windowOf(recorded.told, 2), NewCurve(), About{AcquireTimeout: recorded.timeout})
	p.largest = 1200
	for _, budget := range []int{800, 1000, 1200} {
		t.Run(fmt.Sprintf("budget %d", budget), func(t *testing.T) {
			predicted, is := p.WhatIf(budget, 0, ""), runLive(t, testLimits(budget, 3), requests, until).truth(until)
			t.Logf("\n%+v\n%+v", predicted, is)
			if d := predicted.HitRatio - is.HitRatio; d < -0.02 || d > 0.02 {
				t.Errorf("hit ratio %.4f, and it is %.4f", predicted.HitRatio, is.HitRatio)
			}
		})
	}
}

func checkNear(t *testing.T, predicted, is model.Estimate) {
	t.Helper()
	t.Logf("\n%+v\n%+v", predicted, is)
	if d := predicted.HitRatio - is.HitRatio; d < -0.01 || d > 0.01 {
		t.Errorf("hit ratio %.4f, and it is %.4f", predicted.HitRatio, is.HitRatio)
	}
	if d := predicted.Refused - is.Refused; d < -0.01 || d > 0.01 {
		t.Errorf("%.4f refused, and it is %.4f", predicted.Refused, is.Refused)
	}
	if d := predicted.ShortOfRoom - is.ShortOfRoom; d < -0.05 || d > 0.05 {
		t.Errorf("short of room %.4f of the time, and it is %.4f", predicted.ShortOfRoom, is.ShortOfRoom)
	}
	if d := predicted.DialsPerSecond / is.DialsPerSecond; d < 0.95 || d > 1.05 {
		t.Errorf("%.1f dials a second, and it is %.1f", predicted.DialsPerSecond, is.DialsPerSecond)
	}
	const noise = time.Millisecond
	if predicted.WaitP99 > is.WaitP99*3/2+noise || is.WaitP99 > predicted.WaitP99*3/2+noise {
		t.Errorf("p99 wait %v, and it is %v", predicted.WaitP99, is.WaitP99)
	}
}

// The Capacity of a finished Plan has the present limits and others, in order, and what it
// says of the present ones is what was measured.
func TestAPlanTriesOtherBudgetsAndCaps(t *testing.T) {
	const until = 8 * time.Second
	requests := zipfRequests(1, 1.0, 300, 1000, 8*time.Millisecond, until)
	recorded := runLive(t, testLimits(60, 3), requests, until)
	p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout, SystemShare: 10, Grantable: 82})
	c := p.finish(t)
	if n := len(c.Estimates); n < 2*(mostBudgets+1) || n > 2*(mostBudgets+1)+mostFiner {
		t.Errorf("%d estimates", n)
	}
	present := 0
	for i, e := range c.Estimates {
		if e == c.Present {
			present++
		}
		if i > 0 {
			if last := c.Estimates[i-1]; e.PerWorkspace == last.PerWorkspace && e.Budget <= last.Budget || e.PerWorkspace < last.PerWorkspace {
				t.Errorf("%+v after %+v", e, last)
			}
		}
	}
	if present != 1 || c.Present.Budget != 60 || c.Present.PerWorkspace != 3 || c.Present.Eviction != model.LRU {
		t.Errorf("%d times present, %+v", present, c.Present)
	}
	if c.OtherEviction.Eviction != model.LRU2 || c.OtherEviction.Budget != 60 {
		t.Errorf("with the other eviction %+v", c.OtherEviction)
	}
	if d := c.Present.HitRatio - c.Measured.HitRatio; d < -0.01 || d > 0.01 {
		t.Errorf("the estimate is %+v, and it was %+v", c.Present, c.Measured)
	}
	if e := p.WhatIf(0, 0, ""); e != c.Present {
		t.Errorf("what if nothing changes: %+v, at present %+v", e, c.Present)
	}
}

// A budget at which nothing is for want of slots stands for all larger ones, exactly.
func TestAPlanPlaysNoBudgetForNothing(t *testing.T) {
	const until = 8 * time.Second
	requests := sessionRequests(3, 30, 500, 8*time.Millisecond, until)
	p := NewPlan(windowOf(runLive(t, testLimits(70, 3), requests, until).told, 1), NewCurve(), About{AcquireTimeout: time.Second, Grantable: 9000})
	if p.largest > mostSlots {
		t.Errorf("%d slots are tried, for which it takes a sample", p.largest)
	}
	played, running := 0, (*replay)(nil)
	for !p.Step() {
		if p.running != nil && p.running != running {
			played++
			running = p.running
		}
	}
	estimates := p.Capacity().Estimates
	if played >= len(estimates)-4 {
		t.Errorf("%d replays for %d estimates", played, len(estimates))
	}
	for _, e := range estimates {
		if is := p.WhatIf(e.Budget, e.PerWorkspace, e.Eviction); is != e {
			t.Errorf("%+v\nis really %+v", e, is)
		}
	}
}

// Between the budgets tried at first it finds the least that is enough, within a few percent.
func TestAPlanRecommendsTheLeastBudgetThatIsEnough(t *testing.T) {
	const until = 14 * time.Second
	requests := sessionRequests(3, 60, 1000, 8*time.Millisecond, until)
	recorded := runLive(t, testLimits(20, 3), requests, until)
	p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout, SystemShare: 10})
	if c := p.Capacity(); !strings.Contains(c.Recommendation.Text, "is being worked out") || c.Recommendation.Budget != 20 || c.Recommendation.PerWorkspace != 3 {
		t.Errorf("before it is worked out: %+v", c.Recommendation)
	}
	c := p.finish(t)
	if c.Recommendation.Verdict != model.RaiseBudget {
		t.Fatal(c.Recommendation)
	}
	tried := ofCap(c.Estimates, 3)
	best := tried[len(tried)-1]
	for i, e := range tried {
		if e.Budget != c.Recommendation.Budget {
			continue
		}
		if before := tried[i-1]; !asGood(e, best, aPoint) || asGood(before, best, aPoint) || e.Budget-before.Budget > max(2, e.Budget/10) {
			t.Errorf("%+v is recommended, and the next smaller one tried is %+v", e, before)
		}
		return
	}
	t.Error("it is not among those tried")
}

func BenchmarkReplay(b *testing.B) {
	const until, held = 20 * time.Second, 8 * time.Millisecond
	for _, trace := range []struct {
		what     string
		requests []request
	}{
		{"zipf", zipfRequests(1, 1.0, 300, 1000, held, until)},
		{"sessions", sessionRequests(1, 300, 1000, held, until)},
	} {
		recorded := runLive(b, testLimits(60, 3), trace.requests, until)
		p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout})
		for _, budget := range []int{30, 60, 120} {
			b.Run(fmt.Sprintf("%s/%d", trace.what, budget), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p.WhatIf(budget, 0, "")
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(p.traffic.acquires)), "ns/acquire")
			})
		}
	}
}
