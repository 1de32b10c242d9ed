package planner

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// About is what a Plan is to know besides the traffic.
type About struct {
	// SystemShare and DefaultShare are Capacity's.
	SystemShare  int
	DefaultShare bool
	// Grantable is how many slots the server could grant the workspaces; 0: not known.
	Grantable int
	// AcquireTimeout is how long an acquire waits at most. 0: for no lease to end.
	AcquireTimeout time.Duration
	// Now is what time it is.
	Now time.Time
}

// Plan works out a Capacity, bit by bit. It is not safe for concurrent use.
type Plan struct {
	traffic  *traffic
	about    About
	measured model.Estimate
	curve    []model.CurvePoint
	// scenarios are what is tried: first what is, then the other order of eviction, then other
	// budgets and caps. estimates are the results so far, in the same order.
	scenarios []scenario
	estimates []model.Estimate
	running   *replay
	// largest is the largest budget of these. All are tried with the sample that it needs, so
	// that chance is the same for all.
	largest int
	// done: there is nothing more to try.
	done bool
	// refined is how often there was a finer one, or mostFiner once there are none.
	refined int
	// enough has for a cap the least budget so far at which nothing was for want of slots: a
	// larger one changes nothing.
	enough map[int]model.Estimate
}

// scenario is what limits are tried.
type scenario struct {
	budget, perWorkspace int
	eviction             model.Eviction
}

const (
	// mostBudgets is how many budgets are tried at each cap, besides the present one.
	mostBudgets = 8
	// mostFiner is how many more are tried to find the least that is enough.
	mostFiner = 4
	// largestBudget and largestCap are those of Config.Validate.
	largestBudget = model.MostConnections
	largestCap    = model.MostConnectionsPerDB
	// eventsPerStep take about a millisecond.
	eventsPerStep = 1000
)

// NewPlan is one about the traffic of w, which it takes over: nothing may be added to w any
// more. Of c it keeps a copy.
func NewPlan(w *Window, c *Curve, about About) *Plan {
	p := &Plan{traffic: newTraffic(w), about: about, measured: w.Measured(), enough: map[int]model.Estimate{}}
	if c.Acquires() >= fewestAcquires {
		p.curve = c.Points()
	}
	present := scenario{max(1, w.effective), max(1, w.limits.PerWorkspace), cmp.Or(w.limits.Eviction, model.LRU)}
	other := present
	other.eviction = model.LRU2
	if present.eviction == model.LRU2 {
		other.eviction = model.LRU
	}
	p.scenarios = append(p.scenarios, present, other)
	caps := slices.Compact([]int{present.perWorkspace, max(present.perWorkspace, min(2*present.perWorkspace, largestCap))})
	budgets := p.budgets(present.budget)
	p.largest = budgets[len(budgets)-1]
	for _, perWorkspace := range caps {
		for _, budget := range budgets {
			if s := (scenario{budget, perWorkspace, present.eviction}); s != present {
				p.scenarios = append(p.scenarios, s)
			}
		}
	}
	return p
}

// budgets are those to try, ascending: the present one, what the server could grant, the
// knees of the curve, and some around the present one. None is so large that a smaller sample
// of the traffic would be needed for its sake.
func (p *Plan) budgets(present int) []int {
	tried, most := []int{present}, min(max(3*present, mostSlots), largestBudget)
	try := func(budget int) {
		near := func(other int) bool { return max(budget-other, other-budget) <= budget/25 }
		if budget > 0 && budget <= most && len(tried) <= mostBudgets && !slices.ContainsFunc(tried, near) {
			tried = append(tried, budget)
		}
	}
	if p.about.Grantable > present {
		try(p.about.Grantable)
	}
	for _, points := range [...]float64{0.005, 0.02, 0.05} {
		if budget := kneeOf(p.curve, points); budget > 0 {
			try(budget)
		}
	}
	for _, percent := range [...]int{150, 75, 125, 200, 50, 88, 112, 300, 35} {
		try(present * percent / 100)
	}
	slices.Sort(tried)
	return tried
}

// kneeOf is the least budget whose hit ratio is so near to the best; 0 if there is none.
func kneeOf(curve []model.CurvePoint, within float64) int {
	if len(curve) == 0 {
		return 0
	}
	best := curve[len(curve)-1].HitRatio
	for _, point := range curve {
		if point.HitRatio >= best-within {
			return point.Budget
		}
	}
	return 0
}

// SeenEnough tells whether there is enough traffic to recommend anything.
func (p *Plan) SeenEnough() bool {
	c := p.estimated()
	return !tooLittle(&c)
}

// Step works on it for about a millisecond, and tells whether it is done.
func (p *Plan) Step() (done bool) {
	if len(p.estimates) == len(p.scenarios) {
		finer, ok := p.finer()
		if !ok {
			p.done = true
			return true
		}
		p.scenarios = append(p.scenarios, finer)
	}
	s := p.scenarios[len(p.estimates)]
	if p.running == nil {
		if enough, ok := p.enough[s.perWorkspace]; ok && s.budget >= enough.Budget && s.eviction == enough.Eviction {
			enough.Budget = s.budget
			p.estimates = append(p.estimates, enough)
			return false
		}
		p.running = p.replay(s)
	}
	if p.running.step(eventsPerStep) {
		e := p.running.estimate()
		if !p.running.full && s.eviction == p.scenarios[0].eviction {
			p.enough[s.perWorkspace] = e
		}
		p.estimates = append(p.estimates, e)
		p.running = nil
	}
	return false
}

// finer is a budget to try between the one that would be recommended and the next smaller one
// of those that were tried.
func (p *Plan) finer() (scenario, bool) {
	if p.refined == mostFiner {
		return scenario{}, false
	}
	c := p.estimated()
	tried := ofCap(c.Estimates, c.Present.PerWorkspace)
	i := slices.IndexFunc(tried, enoughFor(c.Present, tried))
	if i <= 0 || tried[i].Budget == c.Present.Budget || tried[i].Budget-tried[i-1].Budget <= max(1, tried[i].Budget/20) {
		p.refined = mostFiner
		return scenario{}, false
	}
	p.refined++
	return scenario{(tried[i-1].Budget + tried[i].Budget) / 2, c.Present.PerWorkspace, c.Present.Eviction}, true
}

func (p *Plan) replay(s scenario) *replay {
	oneIn := p.traffic.oneIn
	for max(s.budget, p.largest)/int(oneIn) > mostSlots {
		oneIn *= 2
	}
	return newReplay(p.traffic, oneIn, s, p.about.AcquireTimeout)
}

// WhatIf is the Estimate for other limits: a zero leaves the present one. It blocks for
// about a microsecond for each Acquire of the Window.
func (p *Plan) WhatIf(budget, perWorkspace int, eviction model.Eviction) model.Estimate {
	present := p.scenarios[0]
	r := p.replay(scenario{
		min(cmp.Or(max(0, budget), present.budget), largestBudget),
		min(cmp.Or(max(0, perWorkspace), present.perWorkspace), largestCap),
		cmp.Or(eviction, present.eviction),
	})
	for !r.step(eventsPerStep) {
	}
	return r.estimate()
}

// Capacity is the result once it is done. Before that it is what is known so far, and
// recommends nothing.
func (p *Plan) Capacity() model.Capacity {
	c := p.estimated()
	c.Recommendation = recommend(&c, p.about)
	if !p.done && !tooLittle(&c) {
		c.Recommendation = model.Recommendation{
			Verdict: model.TooLittleSeen, Budget: c.Present.Budget, PerWorkspace: c.Present.PerWorkspace,
			Text: "What other limits would do is being worked out. If the pool is busy, that takes minutes.",
		}
	}
	return c
}

// estimated is the result without a Recommendation.
func (p *Plan) estimated() model.Capacity {
	w, present := p.traffic, p.scenarios[0]
	c := model.Capacity{
		At: p.about.Now, Window: w.Span(), Acquires: w.Acquires(), SampledOneIn: w.OneIn(),
		SystemShare: p.about.SystemShare, DefaultShare: p.about.DefaultShare, Measured: p.measured, Curve: p.curve,
		Present: model.Estimate{Budget: present.budget, PerWorkspace: present.perWorkspace, Eviction: present.eviction},
	}
	for i, e := range p.estimates {
		if i == 0 {
			c.Present = e
		}
		if i == 1 {
			c.OtherEviction = e
		} else {
			c.Estimates = append(c.Estimates, e)
		}
	}
	sortEstimates(c.Estimates)
	return c
}

// sortEstimates puts them in the order of Capacity.Estimates.
func sortEstimates(estimates []model.Estimate) {
	slices.SortFunc(estimates, func(a, b model.Estimate) int {
		return cmp.Or(cmp.Compare(a.PerWorkspace, b.PerWorkspace), cmp.Compare(a.Budget, b.Budget))
	})
}
