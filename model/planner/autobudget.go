package planner

import (
	"fmt"
	"math"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

const (
	// memory is how long a need is remembered, and how long it must have been calm before
	// the budget is lowered: most that comes back comes back within that.
	memory = 10 * time.Minute
	// lowerEvery and lowerBy are how fast it is lowered then: a half in seven minutes, so that a
	// mistake is found while it is small.
	lowerEvery = 30 * time.Second
	lowerBy    = 0.05
	// goodEnough is how much less than the highest budget's the hit ratio may be. Budgets are
	// chosen by half of it, so that the estimate's noise does not move them.
	goodEnough = 0.01
	chosenBy   = goodEnough / 2
	// costlyFor is how long it must have been worse before the budget is raised for it.
	costlyFor = time.Minute
	// enoughSeen acquires give the difference between two hit ratios to about a
	// quarter of goodEnough.
	enoughSeen = 2000
	// holdFor is how long the budget is not raised after the server had no room: it asks again
	// that seldom.
	holdFor = 5 * time.Minute
	// adoptAfter is how long a budget may take to come into force. One that did not is
	// given up.
	adoptAfter = 10 * time.Second
	// longestPause between two Steps is no interruption. What was needed during a longer one
	// is not known.
	longestPause = 10 * time.Second
)

// Observation is what an AutoBudget goes by. Budgets in it are the workspaces' slots.
type Observation struct {
	// Budget is what is in force: the last limit that was set, whoever did it.
	Budget int
	// Counts are those of the workspaces.
	Counts model.Counts
	// WaitingForRoom is how many have waited since the last Step for a slot that was neither free
	// nor on its way, nor idle elsewhere. Where only whether is known it may be all waiters.
	WaitingForRoom int
	// Grantable is how many slots the server grants now; 0: unknown.
	Grantable int
	// Refusals is how often the server had no room (SQLSTATE 53300). It only grows.
	Refusals uint64
	// HitRatio is which part of the acquires would find a connection open with a budget, from
	// 0 to 1; it must not fall as the budget grows. It is made of Seen acquires; nil if there
	// are none.
	HitRatio func(budget int) float64
	Seen     int
}

// AutoBudget is the machine behind Config.AutoBudget. It chooses the smallest budget with
// which nobody waits for room and the hit ratio is within one point of the highest
// budget's: up at once, down slowly.
//
//	need   = peak of what was busy or waited for room in ten minutes, + headroom,
//	         and what the hit ratio takes
//	raised   to the need when somebody waits for room, or the hit ratio has been
//	         worse than that for a minute
//	lowered  by 5 % each 30 s down to the need, after ten calm minutes, once
//	         the budget exceeds it by another headroom
//
// Between the need and a headroom above it nothing changes, so that noise does not move it.
type AutoBudget struct {
	lowest, highest int
	// target is what the budget is on its way to. Invariant: after a Step it is within lowest
	// and highest.
	target int
	// agreed is when the target was last in force, or set.
	agreed time.Duration
	// last is when the last Step was; stepped: there was one.
	stepped bool
	last    time.Duration
	// needs are those of the last ten minutes.
	needs recentPeak
	// calmFrom is since when nothing has spoken against lowering the budget.
	calmFrom time.Duration
	// costly: since costlyFrom the hit ratio has been worse than goodEnough.
	costly     bool
	costlyFrom time.Duration
	// refusals are those that are known of. Until holdUntil the budget is not raised.
	refusals  uint64
	holdUntil time.Duration
	// lowering: it goes down to the need, with the next step at lowerFrom.
	lowering  bool
	lowerFrom time.Duration
}

// NewAutoBudget is one for a budget that is to lie between lowest and highest, which are more than 0.
func NewAutoBudget(lowest, highest, budget int) *AutoBudget {
	return &AutoBudget{lowest: lowest, highest: highest, target: budget}
}

// Step tells what was observed at now, about once a second. It returns the budget that is to be
// in force from now on; changed if that is another one than before, with a reason for people.
// Without a budget in force, as before a shared one is known, it decides nothing.
func (a *AutoBudget) Step(now time.Duration, o Observation) (budget int, reason string, changed bool) {
	if o.Budget <= 0 {
		return min(max(a.target, a.lowest), a.highest), "", false
	}
	a.follow(now, o)
	need := a.need(now, o)
	before := a.target
	a.target, reason = a.choose(now, o, need)
	if a.target == before {
		return before, "", false
	}
	a.agreed = now
	verb := "lowered"
	if a.target > before {
		verb = "raised"
	}
	return a.target, fmt.Sprintf("%s from %d to %d slots: %s", verb, before, a.target, reason), true
}

// follow brings up to date what is known besides the need. After a pause in the Steps, or if
// somebody else has set the budget, calm begins anew.
func (a *AutoBudget) follow(now time.Duration, o Observation) {
	if !a.stepped { // a group's budget may long have been moved by the others
		a.target, a.agreed, a.refusals = o.Budget, now, o.Refusals
	}
	if !a.stepped || now-a.last > longestPause || o.WaitingForRoom > 0 {
		a.calmFrom = now
	}
	a.stepped, a.last = true, now
	if o.Refusals > a.refusals {
		a.holdUntil = now + holdFor
	}
	a.refusals = o.Refusals
	if o.Budget == a.target {
		a.agreed = now
	} else if now-a.agreed >= adoptAfter {
		a.target, a.agreed, a.calmFrom = o.Budget, now, now
	}
	if !o.worse(a.target, a.highest) {
		a.costly = false
	} else if !a.costly {
		a.costly, a.costlyFrom = true, now
	}
}

// need is the largest of the last ten minutes. Busy slots that others wait for are needed
// twice at most: most of them wait for a lease of milliseconds.
func (a *AutoBudget) need(now time.Duration, o Observation) int {
	demand := o.Counts.Busy() + min(max(0, o.WaitingForRoom), max(1, o.Counts.Open()))
	a.needs.add(now, max(demand+headroom(demand), o.goodFrom(a.lowest, a.highest)))
	return a.needs.highest(now)
}

// headroom is how many slots more than those needed so far are kept: by the square-root rule of
// staffing (Halfin and Whitt: Heavy-Traffic Limits for Queues with Many Exponential Servers, 1981), as
// what is busy of a constant load spreads with its square root. Half as much
// again and the peak that it is added to make a second such peak rare.
func headroom(n int) int { return max(2, int(math.Ceil(1.5*math.Sqrt(float64(n))))) }

// choose is the budget from now on, and why.
func (a *AutoBudget) choose(now time.Duration, o Observation, need int) (budget int, reason string) {
	most := a.highest
	if o.Grantable > 0 {
		most = min(most, max(a.lowest, o.Grantable))
	}
	within := min(max(need, a.lowest), most)
	mayRaise := within > a.target && now >= a.holdUntil
	switch {
	case a.target > most && most < a.highest:
		a.holdUntil = now + holdFor
		return most, fmt.Sprintf("the server grants %d", o.Grantable)
	case a.target < a.lowest || a.target > most:
		return min(max(a.target, a.lowest), most), "DB_AUTO_BUDGET has these bounds"
	case mayRaise && o.WaitingForRoom == 1:
		return within, "a request waited for room"
	case mayRaise && o.WaitingForRoom > 1:
		return within, fmt.Sprintf("%d requests waited for room", o.WaitingForRoom)
	case mayRaise && a.costly && now-a.costlyFrom >= costlyFor:
		return within, fmt.Sprintf("%s of requests find their connection open, and with %d %s would",
			percent(o.HitRatio(a.target)), within, percent(o.HitRatio(within)))
	}
	if lower := max(within, a.lower(now, need)); lower < a.target {
		return lower, o.whyEnough(within)
	}
	return a.target, ""
}

// lower is the budget one step further down, if it is time for one.
func (a *AutoBudget) lower(now time.Duration, need int) int {
	calm := now-a.calmFrom >= memory
	a.lowering = calm && a.target > max(need, a.lowest) && (a.lowering || a.target-need >= headroom(need))
	if !a.lowering || now < a.lowerFrom {
		return a.target
	}
	a.lowerFrom = now + lowerEvery
	return a.target - max(1, int(lowerBy*float64(a.target)))
}

// known: there is a hit ratio to go by.
func (o Observation) known() bool { return o.HitRatio != nil && o.Seen >= enoughSeen }

// worse: the hit ratio of the budget is not good enough.
func (o Observation) worse(budget, highest int) bool {
	return o.known() && o.HitRatio(budget) < o.HitRatio(highest)-goodEnough
}

// goodFrom is the smallest budget whose hit ratio is good, with something to spare; 0 if any will
// do, as when there is so little traffic that it does not matter.
func (o Observation) goodFrom(lowest, highest int) int {
	if !o.known() {
		return 0
	}
	good := o.HitRatio(highest) - chosenBy
	if o.HitRatio(lowest) >= good {
		return 0
	}
	for lowest+1 < highest { // the highest is good, the lowest is not
		if middle := (lowest + highest) / 2; o.HitRatio(middle) >= good {
			highest = middle
		} else {
			lowest = middle
		}
	}
	return highest
}

func (o Observation) whyEnough(need int) string {
	if !o.known() {
		return fmt.Sprintf("the last ten minutes needed %d", need)
	}
	return fmt.Sprintf("%s of requests find their connection open with %d", percent(o.HitRatio(need)), need)
}

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }

// recentPeak is the largest number of the last ten minutes, by minutes.
type recentPeak [memory/time.Minute + 1]struct {
	minute int64
	peak   int
}

func (r *recentPeak) add(now time.Duration, n int) {
	minute := int64(now / time.Minute)
	m := &r[minute%int64(len(r))]
	if m.minute != minute {
		m.minute, m.peak = minute, 0
	}
	m.peak = max(m.peak, n)
}

func (r *recentPeak) highest(now time.Duration) int {
	highest := 0
	for _, m := range r {
		if int64(now/time.Minute)-m.minute < int64(len(r)) {
			highest = max(highest, m.peak)
		}
	}
	return highest
}
