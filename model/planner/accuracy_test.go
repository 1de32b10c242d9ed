package planner

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// From a run at one budget comes what the same requests find at others: within a point,
// and the long waits within a factor of 1.5.
func TestAReplayPredictsWhatOtherBudgetsDo(t *testing.T) {
	const until = 16 * time.Second
	for _, skew := range []float64{1.2, 1.0, 0} {
		requests := zipfRequests(1, skew, 300, 1000, 8*time.Millisecond, until)
		recorded := runLive(t, testLimits(60, 3), requests, until)
		p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout})
		for _, budget := range []int{40, 60, 90, 150} {
			t.Run(fmt.Sprintf("zipf %v, budget %d", skew, budget), func(t *testing.T) {
				real := runLive(t, testLimits(budget, 3), requests, until)
				checkNear(t, p.WhatIf(budget, 0, ""), real, p.traffic.counted(), until)
			})
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
	for _, budget := range []int{800, 1000, 1200} {
		t.Run(fmt.Sprintf("budget %d", budget), func(t *testing.T) {
			real := runLive(t, testLimits(budget, 3), requests, until)
			checkNear(t, p.WhatIf(budget, 0, ""), real, p.traffic.counted(), until)
		})
	}
}

func checkNear(t *testing.T, predicted model.Estimate, real *live, from, to time.Duration) {
	t.Helper()
	hits, p99 := real.truth(from, to)
	t.Logf("hits %.4f and %.4f, p99 %v and %v, %.0f dials/s", predicted.HitRatio, hits, predicted.WaitP99, p99, predicted.DialsPerSecond)
	if d := predicted.HitRatio - hits; d < -0.01 || d > 0.01 {
		t.Errorf("hit ratio %.4f, and it is %.4f", predicted.HitRatio, hits)
	}
	const noise = time.Millisecond
	if predicted.WaitP99 > p99*3/2+noise || p99 > predicted.WaitP99*3/2+noise {
		t.Errorf("p99 wait %v, and it is %v", predicted.WaitP99, p99)
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
	if n := len(c.Estimates); n != 2*(mostBudgets+1) {
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

func BenchmarkReplay(b *testing.B) {
	const until = 20 * time.Second
	requests := zipfRequests(1, 1.0, 300, 1000, 8*time.Millisecond, until)
	recorded := runLive(b, testLimits(60, 3), requests, until)
	p := NewPlan(windowOf(recorded.told, 1), NewCurve(), About{AcquireTimeout: recorded.timeout})
	for _, budget := range []int{30, 60, 120, 240} {
		b.Run(fmt.Sprint(budget), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.WhatIf(budget, 0, "")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(requests)), "ns/acquire")
		})
	}
}
