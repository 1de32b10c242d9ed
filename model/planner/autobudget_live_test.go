package planner

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
)

// The machine, the curve and the decision core in a closed loop: 60 workspaces, whose load
// triples and falls back. It is the hit ratio that keeps the budget, and not what is busy.
func TestABudgetFollowsTheHitRatioOfALivePool(t *testing.T) {
	const (
		lowest, highest = 20, 250
		triples, falls  = 40 * time.Minute, 50 * time.Minute
		end             = 110 * time.Minute
	)
	calm := zipfRequests(1, 1.1, 60, 15, 300*time.Millisecond, end)
	var requests []request
	more := zipfRequests(2, 1.1, 60, 30, 300*time.Millisecond, falls-triples)
	for _, r := range calm {
		for len(more) > 0 && more[0].at+triples < r.at {
			more[0].at += triples
			requests, more = append(requests, more[0]), more[1:]
		}
		requests = append(requests, r)
	}

	limits := testLimits(lowest, 3)
	l := newLive(t, limits, requests)
	curve, auto, c := NewCurve(), NewAutoBudget(lowest, highest, lowest), track{budget: lowest}
	var settled, tripled int
	var reasons []string
	for at := time.Second; at < end; at += time.Second {
		l.at(at, func() {
			for _, told := range l.told {
				curve.Add(told)
			}
			l.told = nil
			stats := l.state.Stats(at)
			o := Observation{Budget: c.budget, Counts: stats.Counts, HitRatio: curve.HitRatio, Seen: curve.Acquires(), Refusals: stats.Counters.ServerRefusals}
			if l.state.Short() {
				o.WaitingForRoom = stats.Waiting
			}
			budget, reason, changed := auto.Step(at, o)
			if changed {
				l.send(core.SetLimits{Budget: budget, PerWorkspace: 3})
				reasons = append(reasons, reason)
			}
			c.to(at, budget)
			switch at {
			case triples - time.Second:
				settled = budget
			case falls:
				tripled = budget
			}
		})
	}
	l.run(limits, end)
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
