package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/jackc/pgerrcode"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// Result is what a run came to. Its JSON is for programs to read: fields may be
// added, but keep their names and meaning.
type Result struct {
	Budget int `json:"budget"` // the system database's share included
	// WorkspaceBudget is what tenantpool's workspaces, the poolers and the LRU of
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

	Figures[Spread]

	// Sums of all rounds.
	Requests     uint64 `json:"requests"`
	Failed       uint64 `json:"failed"`
	Refused      uint64 `json:"refused"` // of them: by a full server, 53300
	WrongAnswers uint64 `json:"wrongAnswers"`
	stage.Failures

	// PeakBackends is the most connections that the server had at once.
	PeakBackends int `json:"peakBackends"`
	// LimitShare is RequestsPerSecond as a share of what the dial capacity allows
	// an exact LRU: dials per second / (1 - hit ratio in the measured part). It is
	// not known of a strategy that turned requests away: those would have been the
	// misses.
	LimitShare *Spread `json:"limitShare,omitempty"`
	// Quiet is about the requests of the quiet workspaces beside a noisy one.
	Quiet *Quiet[Spread] `json:"quiet,omitempty"`
}

// Figures are of one turn, or of all rounds.
type Figures[T any] struct {
	RequestsPerSecond T `json:"requestsPerSecond"`
	P50Ms             T `json:"p50Ms"`
	P99Ms             T `json:"p99Ms"`
	P999Ms            T `json:"p999Ms"`
	P99OverP50        T `json:"p99OverP50"`
	// QuietP99Ms is of the half of the workspaces that is asked for least, or of all
	// but the noisy one; 0 where all are equally popular.
	QuietP99Ms      T `json:"quietP99Ms"`
	AcquireP50Ms    T `json:"acquireP50Ms"`
	AcquireP99Ms    T `json:"acquireP99Ms"`
	ConnectionsMade T `json:"connectionsMade"`
	// The hit ratios, from 0 to 1: of the strategy, and what an exact LRU and
	// Belady's optimum would have had with the requests in the same order and
	// WorkspaceBudget connections.
	HitRatio       T `json:"hitRatio"`
	LRUHitRatio    T `json:"lruHitRatio"`
	BeladyHitRatio T `json:"beladyHitRatio"`
}

func (f *Figures[T]) all() []*T {
	return []*T{
		&f.RequestsPerSecond, &f.P50Ms, &f.P99Ms, &f.P999Ms, &f.P99OverP50, &f.QuietP99Ms,
		&f.AcquireP50Ms, &f.AcquireP99Ms, &f.ConnectionsMade, &f.HitRatio, &f.LRUHitRatio, &f.BeladyHitRatio,
	}
}

// Quiet compares the quiet workspaces' requests with and without the noise.
type Quiet[T any] struct {
	P99Ms             T `json:"p99Ms"`
	AcquireP50Ms      T `json:"acquireP50Ms"`
	AcquireP99Ms      T `json:"acquireP99Ms"`
	AloneP99Ms        T `json:"aloneP99Ms"`
	AloneAcquireP50Ms T `json:"aloneAcquireP50Ms"`
	AloneAcquireP99Ms T `json:"aloneAcquireP99Ms"`
	// P99Ratio is P99Ms / AloneP99Ms.
	P99Ratio T `json:"p99Ratio"`
}

func (q *Quiet[T]) all() []*T {
	return []*T{&q.P99Ms, &q.AcquireP50Ms, &q.AcquireP99Ms, &q.AloneP99Ms, &q.AloneAcquireP50Ms, &q.AloneAcquireP99Ms, &q.P99Ratio}
}

// Spread is a figure of several rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{median, sorted[0], sorted[len(sorted)-1]}
}

// over is the spread of a figure over the rounds.
func over(rounds []*turn, figure func(*turn) float64) Spread {
	var values []float64
	for _, t := range rounds {
		values = append(values, figure(t))
	}
	return spreadOf(values)
}

func newResult(o Options) *Result {
	return &Result{
		Budget:          o.Budget,
		WorkspaceBudget: o.workspaceBudget(),
		Cap:             o.Cap,
		Workers:         o.Workers,
		Query:           o.Query,
		ThinkMs:         float64(o.Think.Microseconds()) / 1000,
		Seconds:         o.For.Seconds(),
		Rounds:          o.Rounds,
		Seed:            o.Seed,
	}
}

func (m *measurement) report(o Options, w Workload) Report {
	r := Report{
		Workload:       w.Name,
		What:           w.What,
		Workspaces:     w.workspaces(o),
		DialsPerSecond: spreadOf(m.dials),
		Strategies:     []StrategyReport{},
		Targets:        m.targets(w),
	}
	for _, name := range m.strategies {
		one := StrategyReport{Name: name, Skipped: m.skipped[name]}
		if one.Skipped == "" {
			one.fill(m.turns[name])
			if w.limited() && one.Failed == 0 {
				share := m.limitShare(name)
				one.LimitShare = &share
			}
			if w.Noisy {
				one.Quiet = &Quiet[Spread]{}
				for i, spread := range one.Quiet.all() {
					*spread = over(m.turns[name], func(t *turn) float64 { return *t.noise.all()[i] })
				}
			}
		}
		r.Strategies = append(r.Strategies, one)
	}
	return r
}

func (one *StrategyReport) fill(rounds []*turn) {
	for i, spread := range one.all() {
		*spread = over(rounds, func(t *turn) float64 { return *t.all()[i] })
	}
	one.Failures = stage.NewFailures()
	for _, t := range rounds {
		one.Requests += t.requests
		one.PeakBackends = max(one.PeakBackends, t.peak)
		one.Add(t.Failures)
	}
	one.Failed = one.Total()
	one.Refused, one.WrongAnswers = one.Errors[pgerrcode.TooManyConnections], one.Errors[stage.WrongWorkspace]
}

// limitShare puts each round's figures beside that round's dial capacity.
func (m *measurement) limitShare(strategy string) Spread {
	var shares []float64
	for i, t := range m.turns[strategy] {
		if m.dials[i] > 0 {
			shares = append(shares, t.RequestsPerSecond*(1-t.measuredLRU)/m.dials[i])
		}
	}
	return spreadOf(shares)
}

// WriteJSON writes the result as one line.
func (r *Result) WriteJSON(out io.Writer) error { return json.NewEncoder(out).Encode(r) }

// WriteText writes the result for people.
func (r *Result) WriteText(out io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s workers, %q, %d x %g s for each strategy, seed %d: medians (min..max)\n",
		stage.Grouped(r.Workers), r.Query, r.Rounds, r.Seconds, r.Seed)
	fmt.Fprintf(&text, "%d connections for the workspaces of tenantpool, PgBouncer, pgpool-II and the LRU of pools, at most %d each;\nconnect and pgxpools may have all %d that the server grants\n",
		r.WorkspaceBudget, r.Cap, r.Budget)
	for _, w := range r.Workloads {
		w.write(&text)
	}
	_, err := out.Write(text.Bytes())
	return err
}

func (r Report) write(text *bytes.Buffer) {
	fmt.Fprintf(text, "\n%s\n\n", r.title())
	table(text, "strategy\trequests/s\t\tp50 ms\tp99 ms\t\tp99/p50\tp99.9 ms\tquiet p99\tfailed\trefused\tpeak\tmade\thits\tLRU\tBelady\tof limit", func(row func(...any)) {
		for _, s := range r.Strategies {
			if s.Skipped != "" {
				continue
			}
			limit, quiet := "-", "-"
			if s.LimitShare != nil {
				limit = fmt.Sprintf("%.2f", s.LimitShare.Median)
			}
			if s.QuietP99Ms.Median > 0 {
				quiet = stage.Milliseconds(s.QuietP99Ms.Median)
			}
			row(s.Name, count(s.RequestsPerSecond.Median), between(s.RequestsPerSecond, count),
				stage.Milliseconds(s.P50Ms.Median), stage.Milliseconds(s.P99Ms.Median), between(s.P99Ms, stage.Milliseconds),
				fmt.Sprintf("%.1f", s.P99OverP50.Median), stage.Milliseconds(s.P999Ms.Median), quiet,
				stage.Grouped(s.Failed), stage.Grouped(s.Refused), s.PeakBackends, count(s.ConnectionsMade.Median),
				percent(s.HitRatio.Median), percent(s.LRUHitRatio.Median), percent(s.BeladyHitRatio.Median), limit)
		}
	})
	r.writeQuiet(text)
	fmt.Fprintln(text)
	for _, s := range r.Strategies {
		if s.Skipped != "" {
			fmt.Fprintf(text, "  %s had no turn: %s\n", s.Name, s.Skipped)
		}
		for _, kind := range slices.Sorted(maps.Keys(s.Errors)) {
			fmt.Fprintf(text, "  %s: failed requests (%s): %s, such as: %s\n", s.Name, kind, stage.Grouped(s.Errors[kind]), s.ErrorExamples[kind])
		}
	}
	if r.DialsPerSecond.Median > 0 {
		fmt.Fprintf(text, "  dial capacity: %s connections/s %s\n", count(r.DialsPerSecond.Median), between(r.DialsPerSecond, count))
	}
	r.writeTargets(text)
}

func (r Report) title() string {
	return fmt.Sprintf("%s: %s workspaces, %s", r.Workload, stage.Grouped(r.Workspaces), r.What)
}

func (r Report) writeQuiet(text *bytes.Buffer) {
	if !slices.ContainsFunc(r.Strategies, func(s StrategyReport) bool { return s.Quiet != nil }) {
		return
	}
	fmt.Fprint(text, "\n  The quiet workspaces, with the noise and without it (a pooler's clients wait for it in the query, not in the acquire), ms:\n\n")
	table(text, "strategy\tp99\twithout\tratio\t\tacquire p50\twithout\tacquire p99\twithout", func(row func(...any)) {
		for _, s := range r.Strategies {
			if q := s.Quiet; q != nil {
				row(s.Name, stage.Milliseconds(q.P99Ms.Median), stage.Milliseconds(q.AloneP99Ms.Median), ratio(q.P99Ratio.Median), between(q.P99Ratio, ratio),
					stage.Milliseconds(q.AcquireP50Ms.Median), stage.Milliseconds(q.AloneAcquireP50Ms.Median), stage.Milliseconds(q.AcquireP99Ms.Median), stage.Milliseconds(q.AloneAcquireP99Ms.Median))
			}
		}
	})
}

func (r Report) writeTargets(text *bytes.Buffer) {
	if len(r.Targets) == 0 {
		return
	}
	fmt.Fprintln(text)
	table(text, "target\t\t\tis\t\t", func(row func(...any)) {
		for _, t := range r.Targets {
			want, verdict := "", "met"
			if t.AtLeast != nil {
				want = "at least " + ratio(*t.AtLeast)
			} else if t.AtMost != nil {
				want = "at most " + ratio(*t.AtMost)
			}
			if !t.Met {
				verdict = "NOT MET"
			}
			row(t.What, want, "", ratio(t.Value.Median), between(t.Value, ratio), verdict)
		}
	})
}

// table aligns rows of cells.
func table(text *bytes.Buffer, header string, rows func(row func(...any))) {
	var aligned bytes.Buffer
	w := tabwriter.NewWriter(&aligned, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "  "+header)
	rows(func(cells ...any) {
		fmt.Fprint(w, "  ")
		for _, cell := range cells {
			fmt.Fprint(w, cell, "\t")
		}
		fmt.Fprintln(w)
	})
	_ = w.Flush() // a buffer takes everything
	for l := range bytes.Lines(aligned.Bytes()) {
		text.Write(bytes.TrimRight(l, " \n"))
		text.WriteByte('\n')
	}
}

func count(v float64) string   { return stage.Grouped(uint64(v + 0.5)) }
func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
func ratio(v float64) string   { return fmt.Sprintf("%.4g", v) }

func between(s Spread, format func(float64) string) string {
	return "(" + format(s.Min) + ".." + format(s.Max) + ")"
}
