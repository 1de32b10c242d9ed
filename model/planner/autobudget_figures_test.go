package planner

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"
)

// The table of docs/operations.md: a load that triples and falls back, with the lower bound,
// with the upper one, and between them. The pool is the decision core in virtual time, whose
// dials take 3 to 9 ms. With -v it prints the table.
func TestAnAutoBudgetBetweenItsBoundsIsNearlyAsGoodAsTheUpperOne(t *testing.T) {
	if os.Getenv("TENANTPOOL_TEST_LONG") != "1" {
		t.Skip("it takes a minute: only with TENANTPOOL_TEST_LONG=1")
	}
	const (
		lowest, highest = 30, 150
		triples, falls  = 40 * time.Minute, 60 * time.Minute
		end             = 160 * time.Minute
	)
	requests := func() []request {
		return mixed(zipfRequests(1, 0.6, 8, 50, 400*time.Millisecond, end),
			zipfRequests(2, 0.6, 8, 100, 400*time.Millisecond, falls-triples), triples)
	}
	auto, last, turns, up := NewAutoBudget(lowest, highest, lowest), lowest, 0, true
	var short [3]int
	var means [3]float64
	for i, way := range []struct {
		name   string
		budget int
		decide func(time.Duration, Observation) int
	}{
		{fmt.Sprintf("always %d", lowest), lowest, func(time.Duration, Observation) int { return lowest }},
		{fmt.Sprintf("%d..%d", lowest, highest), lowest, func(at time.Duration, o Observation) int {
			budget, _, _ := auto.Step(at, o)
			if budget != last && (budget > last) != up {
				turns, up = turns+1, !up
			}
			last = budget
			return budget
		}},
		{fmt.Sprintf("always %d", highest), highest, func(time.Duration, Observation) int { return highest }},
	} {
		sum := 0
		l, _ := runBudget(t, requests(), way.budget, 50, end, func(at time.Duration, o Observation) int {
			if o.WaitingForRoom > 0 {
				short[i]++
			}
			sum += o.Budget
			return way.decide(at, o)
		})
		means[i] = float64(sum) / (end.Seconds() - 1)
		calm, calmWait := between(l.answers, 10*time.Minute, triples)
		peak, peakWait := between(l.answers, triples, falls)
		t.Logf("| %s | %d | %d s | %.1f %%, %v | %.1f %%, %v |", way.name, int(math.Round(means[i])), short[i],
			100*calm, calmWait.Round(100*time.Microsecond), 100*peak, peakWait.Round(100*time.Microsecond))
	}
	if short[1] > 15 || short[0] < 1000 || short[2] > 0 {
		t.Errorf("somebody waits for room for %v s", short)
	}
	// Up, down after the load has fallen back, and not up again.
	if turns > 3 || means[1] > 0.7*highest || last > highest/2 {
		t.Errorf("%d turns, %.0f slots on average, %d at last", turns, means[1], last)
	}
}

// between is the hit ratio and the 99th percentile of the waits of what arrived between the two.
func between(answers []Acquire, from, to time.Duration) (hitRatio float64, p99 time.Duration) {
	var waits []Micros
	hits := 0
	for _, a := range answers {
		if a.At >= from && a.At < to {
			waits = append(waits, a.Waited)
			if a.Outcome == Hit {
				hits++
			}
		}
	}
	slices.Sort(waits)
	return float64(hits) / float64(len(waits)), waits[len(waits)*99/100].Duration()
}
