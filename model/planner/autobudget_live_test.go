package planner

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// mixed are the requests of both, in order, the second ones from a time on.
func mixed(calm, more []request, from time.Duration) (requests []request) {
	for _, r := range calm {
		for len(more) > 0 && more[0].at+from < r.at {
			more[0].at += from
			requests, more = append(requests, more[0]), more[1:]
		}
		requests = append(requests, r)
	}
	return requests
}

// runBudget runs a live pool in a closed loop with what decides each second on its budget.
func runBudget(t *testing.T, requests []request, budget, perWorkspace int, end time.Duration, decide func(time.Duration, Observation) int) (*live, *Curve) {
	limits := testLimits(budget, perWorkspace)
	l, curve := newLive(t, limits, requests), NewCurve()
	for at := time.Second; at < end; at += time.Second {
		l.at(at, func() {
			short := l.state.Short()
			for _, told := range l.told {
				curve.Add(told)
				short = short || told.ShortFor > 0
			}
			l.told = nil
			stats := l.state.Stats(at)
			o := Observation{Budget: budget, Counts: stats.Counts, HitRatio: curve.HitRatio, Seen: curve.Acquires(), Refusals: stats.Counters.ServerRefusals}
			if short {
				o.WaitingForRoom = max(1, stats.Waiting)
			}
			if next := decide(at, o); next != budget {
				budget = next
				l.send(core.SetLimits{Budget: budget, PerWorkspace: perWorkspace})
			}
		})
	}
	l.run(limits, end)
	return l, curve
}

// The machine, the curve and the decision core: 60 workspaces, whose load triples and falls
// back. It is the hit ratio that keeps the budget, and not what is busy.
func TestABudgetFollowsTheHitRatioOfALivePool(t *testing.T) {
	const (
		lowest, highest = 20, 250
		triples, falls  = 40 * time.Minute, 50 * time.Minute
		end             = 110 * time.Minute
	)
	requests := mixed(zipfRequests(1, 1.1, 60, 15, 300*time.Millisecond, end),
		zipfRequests(2, 1.1, 60, 30, 300*time.Millisecond, falls-triples), triples)
	auto, c := NewAutoBudget(lowest, highest, lowest), track{budget: lowest}
	var settled, tripled int
	var reasons []string
	_, curve := runBudget(t, requests, lowest, 3, end, func(at time.Duration, o Observation) int {
		budget, reason, changed := auto.Step(at, o)
		if changed {
			reasons = append(reasons, reason)
		}
		c.to(at, budget)
		switch at {
		case triples - time.Second:
			settled = budget
		case falls:
			tripled = budget
		}
		return budget
	})
	if lost := curve.HitRatio(highest) - curve.HitRatio(c.budget); lost > goodEnough {
		t.Errorf("with %d it is %.2f points worse than with %d", c.budget, 100*lost, highest)
	}
	if lost := curve.HitRatio(highest) - curve.HitRatio(c.budget*8/10); lost < chosenBy {
		t.Errorf("with a fifth less than %d it is only %.2f points worse than with %d", c.budget, 100*lost, highest)
	}
	if tripled <= settled || c.budget >= tripled {
		t.Errorf("it was %d, %d with three times the load, and %d after that", settled, tripled, c.budget)
	}
	if c.turns > 2 || c.changed > end-20*time.Minute {
		t.Errorf("%d turns, the last change at %v: %q", c.turns, c.changed, reasons)
	}
}
