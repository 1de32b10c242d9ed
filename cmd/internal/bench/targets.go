package bench

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
func (m *measurement) targets(w workload) []Target {
	found := []Target{}
	own := m.turns[ours{}.label()]
	if len(own) == 0 {
		return found
	}
	perSecond := func(f *turnFigures) float64 { return f.perSecond }
	p99 := func(f *turnFigures) float64 { return f.p99 }
	than := func(other strategy, least float64) {
		if rounds := m.turns[other.label()]; len(rounds) > 0 {
			found = append(found, atLeast("requests/s, tenantpool / "+other.label(), least, ratios(own, rounds, perSecond)))
		}
	}
	switch w.name {
	case "all-fit":
		than(poolPerWorkspace{}, 0.97)
		than(pgBouncer{}, 1.8)
	case "zipf":
		than(pgBouncer{}, 4)
		if rounds := m.turns[pgBouncer{}.label()]; len(rounds) > 0 {
			found = append(found, atMost("p99, tenantpool / pgbouncer", 1, ratios(own, rounds, p99)))
		}
	case "uniform":
		than(pgBouncer{}, 3)
	case "noisy":
		found = append(found, atMost("p99 of the quiet workspaces, with the noise / without", 2, over(own, noise)))
	}
	if w.limited {
		found = append(found, atLeast("share of the limit reached by tenantpool", 0.9, m.limitShare(ours{}.label())))
	}
	return append(found,
		atLeast("hit ratio of tenantpool - an exact LRU's", -0.01, over(own, func(f *turnFigures) float64 { return f.hits - f.lru })),
		atMost("errors of tenantpool in a round", 0, over(own, func(f *turnFigures) float64 { return float64(f.failed()) })),
	)
}
