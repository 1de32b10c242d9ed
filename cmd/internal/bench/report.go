package bench

import (
	"maps"
)

// Result is what a run came to. Its JSON is for programs to read: fields may be
// added, but keep their names and meaning.
type Result struct {
	Budget int `json:"budget"` // the system database's share included
	// WorkspaceBudget is what tenantpool's workspaces, PgBouncer and the LRU of
	// pools share; the other strategies may have the whole budget.
	WorkspaceBudget int     `json:"workspaceBudget"`
	Cap             int     `json:"cap"`
	Workers         int     `json:"workers"`
	Query           string  `json:"query"`
	ThinkMs         float64 `json:"thinkMs"`
	Seconds         float64 `json:"seconds"` // of the measured part of a turn
	Rounds          int     `json:"rounds"`
	Seed            uint64  `json:"seed"`

	Workloads []Report `json:"workloads"`
}

// Report is what the strategies came to with one workload.
type Report struct {
	Workload   string `json:"workload"`
	What       string `json:"what"`
	Workspaces int    `json:"workspaces"`
	// DialsPerSecond is the dial capacity: how often a second connect, query and
	// close were possible.
	DialsPerSecond Spread           `json:"dialsPerSecond"`
	Strategies     []StrategyReport `json:"strategies"`
	Targets        []Target         `json:"targets"`
}

// StrategyReport is what one strategy came to. Requests, errors, connections and
// hit ratios are of the whole turns; the others leave out the warm-up.
type StrategyReport struct {
	Name string `json:"name"`
	// Skipped says why it had no turn; then there are no figures.
	Skipped string `json:"skipped,omitempty"`

	RequestsPerSecond Spread `json:"requestsPerSecond"`
	P50Ms             Spread `json:"p50Ms"`
	P99Ms             Spread `json:"p99Ms"`
	P999Ms            Spread `json:"p999Ms"`
	AcquireP50Ms      Spread `json:"acquireP50Ms"`
	AcquireP99Ms      Spread `json:"acquireP99Ms"`

	// Sums of all rounds. Errors are by SQLSTATE or by a name; ErrorExamples has
	// one of each kind.
	Requests      uint64            `json:"requests"`
	Failed        uint64            `json:"failed"`
	Refused       uint64            `json:"refused"` // of them: by a full server, 53300
	WrongAnswers  uint64            `json:"wrongAnswers"`
	Errors        map[string]uint64 `json:"errors"`
	ErrorExamples map[string]string `json:"errorExamples,omitempty"`

	// PeakBackends is the most connections that the server had at once.
	PeakBackends int `json:"peakBackends"`
	// ConnectionsMade is in one round.
	ConnectionsMade Spread `json:"connectionsMade"`
	// The hit ratios, from 0 to 1: of the strategy, and what an exact LRU and
	// Belady's optimum would have had with the requests in the same order and
	// WorkspaceBudget connections.
	HitRatio       Spread `json:"hitRatio"`
	LRUHitRatio    Spread `json:"lruHitRatio"`
	BeladyHitRatio Spread `json:"beladyHitRatio"`
	// LimitShare is RequestsPerSecond as a share of what the dial capacity allows
	// an exact LRU: dials per second / (1 - hit ratio in the measured part). It is
	// not known of a strategy that turned requests away: those would have been the
	// misses.
	LimitShare *Spread `json:"limitShare,omitempty"`
	// Quiet is about the requests of the quiet workspaces.
	Quiet *Quiet `json:"quiet,omitempty"`
}

// Quiet compares the quiet workspaces' requests with and without the noise.
type Quiet struct {
	P99Ms             Spread `json:"p99Ms"`
	AcquireP50Ms      Spread `json:"acquireP50Ms"`
	AcquireP99Ms      Spread `json:"acquireP99Ms"`
	AloneP99Ms        Spread `json:"aloneP99Ms"`
	AloneAcquireP50Ms Spread `json:"aloneAcquireP50Ms"`
	AloneAcquireP99Ms Spread `json:"aloneAcquireP99Ms"`
	// P99Ratio is P99Ms / AloneP99Ms.
	P99Ratio Spread `json:"p99Ratio"`
}

func newResult(o Options, s *setting) *Result {
	return &Result{
		Budget:          o.Budget,
		WorkspaceBudget: s.config.WorkspaceBudget(),
		Cap:             o.Cap,
		Workers:         o.Workers,
		Query:           o.Query,
		ThinkMs:         float64(o.Think.Microseconds()) / 1000,
		Seconds:         o.For.Seconds(),
		Rounds:          o.Rounds,
		Seed:            o.Seed,
	}
}

func (m *measurement) report(s *setting, w workload) Report {
	r := Report{
		Workload:       w.name,
		What:           w.what,
		Workspaces:     w.workspaces(s),
		DialsPerSecond: spreadOf(m.dials),
		Strategies:     []StrategyReport{},
		Targets:        m.targets(w),
	}
	for _, name := range m.strategies {
		one := StrategyReport{Name: name, Skipped: m.skipped[name]}
		if one.Skipped == "" {
			one.fill(m.turns[name])
			if w.limited && one.Failed == 0 {
				share := m.limitShare(name)
				one.LimitShare = &share
			}
			if w.noisy {
				one.Quiet = quietOf(m.turns[name])
			}
		}
		r.Strategies = append(r.Strategies, one)
	}
	return r
}

func (one *StrategyReport) fill(rounds []*turnFigures) {
	one.RequestsPerSecond = over(rounds, func(f *turnFigures) float64 { return f.perSecond })
	one.P50Ms = over(rounds, func(f *turnFigures) float64 { return f.p50 })
	one.P99Ms = over(rounds, func(f *turnFigures) float64 { return f.p99 })
	one.P999Ms = over(rounds, func(f *turnFigures) float64 { return f.p999 })
	one.AcquireP50Ms = over(rounds, func(f *turnFigures) float64 { return f.acquire50 })
	one.AcquireP99Ms = over(rounds, func(f *turnFigures) float64 { return f.acquire99 })
	one.ConnectionsMade = over(rounds, func(f *turnFigures) float64 { return float64(f.made) })
	one.HitRatio = over(rounds, func(f *turnFigures) float64 { return f.hits })
	one.LRUHitRatio = over(rounds, func(f *turnFigures) float64 { return f.lru })
	one.BeladyHitRatio = over(rounds, func(f *turnFigures) float64 { return f.belady })
	one.Errors, one.ErrorExamples = map[string]uint64{}, map[string]string{}
	for _, f := range rounds {
		one.Requests += f.requests
		one.PeakBackends = max(one.PeakBackends, f.peak)
		for kind, n := range f.errors {
			one.Errors[kind] += n
			one.Failed += n
		}
		maps.Copy(one.ErrorExamples, f.examples)
	}
	one.Refused, one.WrongAnswers = one.Errors[serverFull], one.Errors[wrongWorkspace]
}

func quietOf(rounds []*turnFigures) *Quiet {
	return &Quiet{
		P99Ms:             over(rounds, func(f *turnFigures) float64 { return f.quiet.p99 }),
		AcquireP50Ms:      over(rounds, func(f *turnFigures) float64 { return f.quiet.acquire50 }),
		AcquireP99Ms:      over(rounds, func(f *turnFigures) float64 { return f.quiet.acquire99 }),
		AloneP99Ms:        over(rounds, func(f *turnFigures) float64 { return f.alone.p99 }),
		AloneAcquireP50Ms: over(rounds, func(f *turnFigures) float64 { return f.alone.acquire50 }),
		AloneAcquireP99Ms: over(rounds, func(f *turnFigures) float64 { return f.alone.acquire99 }),
		P99Ratio:          over(rounds, noise),
	}
}

// noise is how many times longer the quiet workspaces' slowest requests take with
// the noise.
func noise(f *turnFigures) float64 {
	if f.alone.p99 == 0 {
		return 0
	}
	return f.quiet.p99 / f.alone.p99
}

// limitShare puts each round's figures beside that round's dial capacity.
func (m *measurement) limitShare(strategy string) Spread {
	var shares []float64
	for i, f := range m.turns[strategy] {
		if m.dials[i] > 0 {
			shares = append(shares, f.perSecond*(1-f.measuredLRU)/m.dials[i])
		}
	}
	return spreadOf(shares)
}
