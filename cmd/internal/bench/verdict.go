package bench

import (
	"fmt"
	"strings"
)

// Target is a ratio that the project sets itself.
type Target struct {
	What  string `json:"what"`
	Value Spread `json:"value"`
	// Met: the median is at least, or at most, what it should be.
	AtLeast *float64 `json:"atLeast,omitempty"`
	AtMost  *float64 `json:"atMost,omitempty"`
	Met     bool     `json:"met"`
}

func atLeast(what string, least float64, value Spread) Target {
	return Target{What: what, Value: value, AtLeast: &least, Met: value.Median >= least}
}

func atMost(what string, most float64, value Spread) Target {
	return Target{What: what, Value: value, AtMost: &most, Met: value.Median <= most}
}

// targets are those of the workload that can be told from the strategies that had
// turns.
func (m *measurement) targets(w Workload) []Target {
	found := []Target{}
	own := m.turns[ours]
	if len(own) == 0 {
		return found
	}
	than := func(other string, least float64) {
		if rounds := m.turns[other]; len(rounds) > 0 {
			found = append(found, atLeast("requests/s, tenantpool / "+other, least,
				ratios(own, rounds, func(t *turn) float64 { return t.RequestsPerSecond })))
		}
	}
	switch w.Name {
	case "all-fit":
		than(pgxpools, 0.97)
		than(pgBouncer, 1.8)
	case "zipf":
		than(pgBouncer, 4)
		if rounds := m.turns[pgBouncer]; len(rounds) > 0 {
			found = append(found, atMost("p99, tenantpool / pgbouncer", 1, ratios(own, rounds, func(t *turn) float64 { return t.P99Ms })))
		}
	case "uniform":
		than(pgBouncer, 3)
	case "noisy":
		found = append(found, atMost("p99 of the quiet workspaces, with the noise / without", 2,
			over(own, func(t *turn) float64 { return t.noise.P99Ratio })))
	}
	if w.limited() {
		found = append(found, atLeast("share of the limit reached by tenantpool", 0.9, m.limitShare(ours)))
	}
	return append(found,
		atLeast("hit ratio of tenantpool - an exact LRU's", -0.01, over(own, func(t *turn) float64 { return t.HitRatio - t.LRUHitRatio })),
		atMost("errors of tenantpool in a round", 0, over(own, func(t *turn) float64 { return float64(t.Total()) })),
	)
}

// ratios is the spread of a ratio of two strategies' figures, of the same round
// each: what slows the machine down for a while slows down both.
func ratios(above, below []*turn, figure func(*turn) float64) Spread {
	var values []float64
	for i := range min(len(above), len(below)) {
		if d := figure(below[i]); d > 0 {
			values = append(values, figure(above[i])/d)
		}
	}
	return spreadOf(values)
}

// Verdict is an error when a strategy reached a wrong database: then its figures
// mean nothing.
func (r *Result) Verdict() error {
	var found []string
	for _, w := range r.Workloads {
		for _, s := range w.Strategies {
			if s.WrongAnswers > 0 {
				found = append(found, fmt.Sprintf("%s, %s: %d", w.Workload, s.Name, s.WrongAnswers))
			}
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("bench: connections reached another workspace's database, please report it: %s", strings.Join(found, "; "))
	}
	return nil
}
