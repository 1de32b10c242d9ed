package planner

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// steady is a request of workspace 1 every 10 ms for two seconds, each held for a millisecond.
func steady() Traffic {
	t := Traffic{Now: 2 * time.Second, SampledOneIn: 1, Limits: testLimits(2, 2)}
	for at := time.Duration(0); at < t.Now; at += 10 * time.Millisecond {
		t.Ended = append(t.Ended, Acquire{At: at, Workspace: 1, Held: 1000})
	}
	return t
}

func planOf(t Traffic, timeout time.Duration) *Plan {
	w := NewWindow(1)
	w.Add(t)
	return NewPlan(w, NewCurve(), About{AcquireTimeout: timeout})
}

func TestLeasesThatAreStillHeldTakeTheirSlots(t *testing.T) {
	traffic := steady()
	for h := range Hash(2) {
		traffic.Held = append(traffic.Held, Acquire{At: time.Millisecond, Workspace: 8 + h, Held: MicrosOf(traffic.Now)})
	}
	p := planOf(traffic, 50*time.Millisecond)
	if e := p.WhatIf(2, 0, ""); e.Refused < 0.95 || e.HitRatio != 0 || e.ShortOfRoom < 0.99 {
		t.Errorf("two slots, and two leases have them: %+v", e)
	}
	if e := p.WhatIf(3, 0, ""); e.HitRatio != 1 || e.ShortOfRoom != 0 {
		t.Errorf("three slots: %+v", e)
	}
}

// A lease may be held for longer than Micros can say.
func TestLeasesOfHoursTakeTheirSlots(t *testing.T) {
	const hours = 3 * time.Hour
	traffic := steady()
	traffic.Now += hours
	for i := range traffic.Ended {
		traffic.Ended[i].At += hours
	}
	long := []Acquire{{At: 0, Workspace: 8, Held: MicrosOf(hours)}, {At: 1, Workspace: 9, Held: MicrosOf(hours)}}
	for _, test := range []struct {
		what string
		then Traffic
	}{
		{"held", Traffic{Now: traffic.Now + time.Millisecond, Held: long}},
		{"ended", Traffic{Now: traffic.Now + time.Millisecond, Ended: long}},
	} {
		w := NewWindow(1)
		first, then := traffic, test.then
		first.Ended, first.Held = slices.Clone(traffic.Ended), slices.Clone(long)
		then.SampledOneIn, then.Limits = 1, traffic.Limits
		w.Add(first)
		w.Add(then)
		if e := NewPlan(w, NewCurve(), About{AcquireTimeout: 50 * time.Millisecond}).WhatIf(2, 0, ""); e.Refused < 0.95 {
			t.Errorf("two slots, and two leases have them that are %s at last: %+v", test.what, e)
		}
		if long[0].At != 0 {
			t.Error("the caller's has been changed")
		}
	}
}

func TestAWorkspaceKeepsTheCapOfItsOwn(t *testing.T) {
	traffic := steady()
	for i := range traffic.Ended { // two or three of them at once
		traffic.Ended[i].Held = 25_000
	}
	p := planOf(traffic, time.Second)
	if e := p.WhatIf(5, 5, ""); e.HitRatio != 1 {
		t.Errorf("without one: %+v", e)
	}
	traffic.Own = map[Hash]model.WorkspaceLimits{1: {Cap: 1}}
	p = planOf(traffic, time.Second)
	if e := p.WhatIf(5, 5, ""); e.HitRatio != 0 || e.Refused == 0 {
		t.Errorf("with one: %+v", e)
	}
}

func TestAnAcquireMayWaitForEver(t *testing.T) {
	traffic := steady()
	for i := range traffic.Ended {
		traffic.Ended[i].Held = 15_000 // two of them at once
	}
	if e := planOf(traffic, math.MaxInt64).WhatIf(1, 1, ""); e.Refused != 0 {
		t.Errorf("%+v", e)
	}
}

// With an AcquireTimeout of 0 nobody waits for a lease to end, but for a dial.
func TestNobodyWaitsForALeaseWithoutATimeout(t *testing.T) {
	traffic := steady()
	for i := range traffic.Ended {
		traffic.Ended[i].Held = 15_000 // two of them at once
	}
	if e := planOf(traffic, 0).WhatIf(2, 0, ""); e.HitRatio != 1 {
		t.Errorf("two slots: %+v", e)
	}
	if e := planOf(traffic, 0).WhatIf(1, 0, ""); math.Abs(e.HitRatio-0.5) > 0.01 || math.Abs(e.Refused-0.5) > 0.01 || e.WaitP99 != 0 {
		t.Errorf("one slot: %+v", e)
	}
}

// The first quarter fills the pool and does not count.
func TestTheFirstDialIsNotCounted(t *testing.T) {
	if e := planOf(steady(), time.Second).WhatIf(2, 0, ""); e.HitRatio != 1 || e.DialsPerSecond != 0 {
		t.Errorf("%+v", e)
	}
}

// A Plan on a Window that is full, in steps: none takes long.
func BenchmarkPlan(b *testing.B) {
	const until = 40 * time.Second
	requests := zipfRequests(1, 1.0, 300, 2000, 4*time.Millisecond, until)
	w := windowOf(runLive(b, testLimits(60, 3), requests, until).told, 1)
	c := NewCurve()
	steps := 0
	for b.Loop() {
		p := NewPlan(w.Clone(), c, About{AcquireTimeout: 5 * time.Second})
		for !p.Step() {
			steps++
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/plan")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}

// Of hits that are kept as one, LRU-2 knows the use before the last one: a connection that was
// used again and again stays, and one that was used twice long ago goes.
func TestHitsThatAreKeptAsOneAreSeveralUses(t *testing.T) {
	ms := time.Millisecond
	traffic := Traffic{Now: 2 * time.Second, SampledOneIn: 1, Limits: testLimits(2, 1)}
	use := func(at time.Duration, h Hash, more uint16) {
		traffic.Ended = append(traffic.Ended, Acquire{At: at, Workspace: h, Held: MicrosOf(20 * ms), More: more})
	}
	use(0, 1, 0)         // used once early,
	use(300*ms, 1, 9)    // and often again
	use(100*ms, 2, 0)    // used twice, lately too
	use(400*ms, 2, 0)    //
	use(1100*ms, 3, 0)   // needs room
	use(1500*ms, 1, 0)   // finds its connection
	use(1990*ms, 1, 100) // so long is the window
	p := planOf(traffic, time.Second)
	lru2, lru := p.WhatIf(2, 1, model.LRU2), p.WhatIf(2, 1, model.LRU)
	if lru2.DialsPerSecond >= lru.DialsPerSecond || lru2.HitRatio <= lru.HitRatio {
		t.Errorf("LRU-2 %+v, LRU %+v", lru2, lru)
	}
}

func TestAPlanOfNothingRecommendsNothing(t *testing.T) {
	p := NewPlan(NewWindow(1), NewCurve(), About{})
	if c := p.finish(t); c.Recommendation.Verdict != model.TooLittleSeen || c.Recommendation.Text != "Too little seen: 0 requests in 0 s. It takes at least 1000, and 10 s." {
		t.Errorf("%+v", c.Recommendation)
	}
}
