package planner

import (
	"runtime"
	"testing"
	"time"
)

// All that the planner keeps of the busiest of pools: the Window that is recorded and its
// copy that is planned with, a Curve with as many connections as it has at most, and a replay
// of the largest budget. With the supervisor's records, 1.5 MB, it is to be 8 MB.
func TestMemoryIsBoundedHoweverBusyThePoolIs(t *testing.T) {
	const most = 6_500_000
	limits := testLimits(largestBudget, 3)
	traffic := func(second int) Traffic {
		now := time.Duration(second) * time.Second
		tr := Traffic{Now: now + time.Second, SampledOneIn: 1, Limits: limits, Effective: limits.Budget, Acquires: 20_000}
		for i := range 20_000 {
			at := now + time.Duration(i)*50*time.Microsecond
			tr.Ended = append(tr.Ended, Acquire{At: at, Workspace: Hash(second*20_000+i) * 0x9e3779b1, Held: 5000, Outcome: Granted})
		}
		return tr
	}
	before := liveBytes()
	w, c := NewWindow(1), NewCurve()
	for second := range 70 {
		tr := traffic(second)
		w.Add(tr)
		c.Add(tr)
	}
	recorded := liveBytes()
	p := NewPlan(w.Clone(), c, About{AcquireTimeout: 5 * time.Second})
	peak := uint64(0)
	for steps := 0; len(p.estimates) < 2 && !p.Step(); steps++ {
		if steps%40 == 0 {
			peak = max(peak, liveBytes())
		}
	}
	t.Logf("%d bytes recorded (%d acquires, one in %d, %v), %d with a running plan", recorded-before, w.Acquires(), w.OneIn(), w.Span(), peak-before)
	if peak-before > most {
		t.Errorf("%d bytes, and it is to be %d at most", peak-before, most)
	}
	if w.OneIn() != 16 || w.countIn(w.acquires) != len(w.acquires) {
		t.Errorf("one in %d of the workspaces, and %d of %d acquires are of them", w.OneIn(), w.countIn(w.acquires), len(w.acquires))
	}
	runtime.KeepAlive(w)
	runtime.KeepAlive(c)
}

func liveBytes() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and sync.Pool kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
