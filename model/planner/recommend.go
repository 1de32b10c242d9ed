package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

const (
	// fewestAcquires and shortestWindow are how much traffic it takes to say anything. A pool so
	// busy that a Window has not room for so long a time has enough in a shorter one.
	fewestAcquires = 1000
	shortestWindow = 10 * time.Second
	plenty         = windowSize / 2

	// aPoint of the hit ratio is worth more budget; halfAPoint is not worth keeping it.
	aPoint, halfAPoint = 0.01, 0.005
	// nothing is less than what is worth to be mentioned, of the hit ratio and of other parts.
	nothing = 0.002
	// unreliable is how far the estimate for the present limits may be from what was measured.
	unreliable = 0.03
)

// recommend says what follows from the estimates.
func recommend(c *model.Capacity, about About) model.Recommendation {
	r := model.Recommendation{
		Verdict: model.TooLittleSeen, Budget: c.Present.Budget, PerWorkspace: c.Present.PerWorkspace,
	}
	switch now, was := c.Present.HitRatio, c.Measured.HitRatio; {
	case tooLittle(c):
		r.Text = fmt.Sprintf("Too little seen: %d requests in %s. It takes at least %d, and %s.",
			c.Acquires, inWords(c.Window), fewestAcquires, inWords(shortestWindow))
		return r
	case max(now-was, was-now) > unreliable:
		r.Text = fmt.Sprintf("Do not rely on these estimates: by them %s of requests find their connection open now, and %s was measured.",
			inPercent(now), inPercent(was))
		return r
	}
	decide(&r, c, about.Grantable)
	switch other := c.OtherEviction; {
	case other.DialsPerSecond < 0.9*c.Present.DialsPerSecond-1:
		r.Text += fmt.Sprintf(" DB_EVICTION=%s would need %.0f dials a second instead of %.0f.",
			other.Eviction, other.DialsPerSecond, c.Present.DialsPerSecond)
	case other.HitRatio > c.Present.HitRatio+2*aPoint: // where the server can dial no more than it does
		r.Text += fmt.Sprintf(" With DB_EVICTION=%s %s of requests would find their connection open instead of %s.",
			other.Eviction, inPercent(other.HitRatio), inPercent(c.Present.HitRatio))
	}
	return r
}

func tooLittle(c *model.Capacity) bool {
	return c.Acquires < fewestAcquires || c.Window < shortestWindow && c.Acquires < plenty
}

// decide fills r in.
func decide(r *model.Recommendation, c *model.Capacity, grantable int) {
	present := c.Present
	atCap := ofCap(c.Estimates, present.PerWorkspace)
	if len(atCap) == 0 {
		atCap = []model.Estimate{present}
	}
	best := atCap[len(atCap)-1]
	if wider, ok := withMoreCap(c); ok && helps(present, wider) && helps(best, wider) {
		r.Verdict, r.PerWorkspace = model.RaiseCap, wider.PerWorkspace
		r.Text = fmt.Sprintf("What hurts is the cap of %d connections for each workspace, and not the budget: with DB_MAX_CONNECTIONS_PER_DB=%d, %s.",
			present.PerWorkspace, wider.PerWorkspace, would(present, wider))
		return
	}
	enough := present
	if i := slices.IndexFunc(atCap, enoughFor(present, atCap)); i >= 0 {
		enough = atCap[i]
	}
	switch {
	case enough.Budget > present.Budget:
		raise(r, c, atCap, enough, grantable)
		return
	case 10*enough.Budget <= 9*present.Budget:
		r.Verdict, r.Budget = model.LowerBudget, enough.Budget
		r.Text = fmt.Sprintf("%s would do as well: %s of requests would find their connection open (%s now), and nobody would wait for room.",
			settingOf(c, enough), inPercent(enough.HitRatio), inPercent(present.HitRatio))
		return
	}
	r.Verdict = model.Enough
	r.Text = fmt.Sprintf("%s is about right: %s of requests find their connection open", settingOf(c, present), inPercent(present.HitRatio))
	if best.Budget > present.Budget {
		r.Text += fmt.Sprintf(", and with %d it would be %s", c.MaxConnections(best.Budget), inPercent(best.HitRatio))
	}
	r.Text += "."
}

// raise recommends a larger budget, as far as the server grants it.
func raise(r *model.Recommendation, c *model.Capacity, atCap []model.Estimate, enough model.Estimate, grantable int) {
	present, best := c.Present, atCap[len(atCap)-1]
	r.Verdict, r.Budget = model.RaiseBudget, enough.Budget
	r.Text = fmt.Sprintf("With %s, %s", settingOf(c, enough), would(present, enough))
	if last := firstAsGood(atCap, best, nothing); last.Budget < best.Budget {
		r.Text += fmt.Sprintf("; more than %d gives nothing", c.MaxConnections(last.Budget))
	}
	r.Text += "."
	if grantable > 0 && enough.Budget > grantable {
		r.Verdict, r.Budget = model.ServerIsFull, max(present.Budget, grantable)
		r.Text += fmt.Sprintf(" But the server grants no more than %d: raise its max_connections, or the role's connection limit.",
			c.MaxConnections(grantable))
	}
}

// enoughFor tells which of the budgets tried, that ascend, are enough: if the present one is
// not, those that are almost as good as the largest, and else those as good as the present one
// with which nobody waits for room.
func enoughFor(present model.Estimate, tried []model.Estimate) func(model.Estimate) bool {
	best := tried[len(tried)-1]
	if raised := firstAsGood(tried, best, aPoint); raised.Budget > present.Budget && helps(present, raised) {
		return func(e model.Estimate) bool { return asGood(e, best, aPoint) }
	}
	return func(e model.Estimate) bool {
		return e.Budget == present.Budget || asGood(e, present, halfAPoint) && e.ShortOfRoom < nothing/2
	}
}

// ofCap are the estimates for one cap, by budget.
func ofCap(estimates []model.Estimate, perWorkspace int) []model.Estimate {
	var of []model.Estimate
	for _, e := range estimates {
		if e.PerWorkspace == perWorkspace {
			of = append(of, e)
		}
	}
	return of
}

// withMoreCap is the present budget with a larger cap, if that was tried.
func withMoreCap(c *model.Capacity) (model.Estimate, bool) {
	for _, e := range c.Estimates {
		if e.Budget == c.Present.Budget && e.PerWorkspace > c.Present.PerWorkspace {
			return e, true
		}
	}
	return model.Estimate{}, false
}

// firstAsGood is the least budget that is as good as another one but for part of the hits.
func firstAsGood(ascending []model.Estimate, as model.Estimate, but float64) model.Estimate {
	for _, e := range ascending {
		if asGood(e, as, but) {
			return e
		}
	}
	return as
}

// asGood tells whether e is as good as another one: no more than so many fewer hits, and no
// more refusals and long waits.
func asGood(e, as model.Estimate, but float64) bool {
	return e.HitRatio >= as.HitRatio-but && e.Refused < as.Refused+nothing/2 && !longer(e.WaitP99, as.WaitP99)
}

// helps tells whether a change from one to the other is worth it.
func helps(from, to model.Estimate) bool {
	return to.HitRatio > from.HitRatio+aPoint || to.Refused < from.Refused-nothing/2 || longer(from.WaitP99, to.WaitP99)
}

// longer tells whether a is longer than b, by more than anybody's luck.
func longer(a, b time.Duration) bool { return a > b+b/4+2*time.Millisecond }

// would says what another one would change.
func would(present, e model.Estimate) string {
	text := fmt.Sprintf("%s of requests would find their connection open (%s now)", inPercent(e.HitRatio), inPercent(present.HitRatio))
	if longer(present.WaitP99, e.WaitP99) || longer(e.WaitP99, present.WaitP99) {
		text += fmt.Sprintf(", and the p99 wait would be %s instead of %s", inWords(e.WaitP99), inWords(present.WaitP99))
	}
	if e.Refused < present.Refused-nothing/2 {
		text += fmt.Sprintf("; %s would be refused instead of %s", inPercent(e.Refused), inPercent(present.Refused))
	}
	return text
}

// settingOf is what makes the budget of an Estimate.
func settingOf(c *model.Capacity, e model.Estimate) string {
	return fmt.Sprintf("DB_MAX_CONNECTIONS=%d (%d for the workspaces)", c.MaxConnections(e.Budget), e.Budget)
}

func inPercent(part float64) string {
	if part > 0 && part < 0.02 || part > 0.98 && part < 1 {
		return fmt.Sprintf("%.1f %%", 100*part)
	}
	return fmt.Sprintf("%.0f %%", 100*part)
}

// inWords is a duration as people write it.
func inWords(d time.Duration) string {
	switch {
	case d == 0:
		return "0 s"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f minutes", d.Minutes())
}
