package bench

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
	"github.com/tenantpool/tenantpool/pools"
)

// PlannerOptions are what traffic the planner's predictions are tried on.
type PlannerOptions struct {
	Traces []Trace
	// Budgets are the workspaces' slots of the pools that serve it one after the other.
	Budgets    []int
	Workspaces int
	Cap        int
	// Rate is how many requests come in a second, and Held how long each holds its connection.
	Rate float64
	Held time.Duration
	// For is how long a pool is measured, after a warm-up of a third of it.
	For  time.Duration
	Seed uint64
	DSN  string
}

// DefaultPlanner keeps two processors about half busy.
func DefaultPlanner() PlannerOptions {
	return PlannerOptions{
		Traces: Traces(), Budgets: []int{30, 45, 60, 90}, Workspaces: 200, Cap: 20,
		Rate: 120, Held: 100 * time.Millisecond, For: 45 * time.Second, Seed: 1,
	}
}

// Prediction is what the planner says of a budget from what it has seen with another one,
// beside what was measured there. From is the one that it has seen.
type Prediction struct {
	Trace               string
	From, Budget        int
	Predicted, Measured model.Estimate
	// Curve is the hit ratio by the distances of reuse.
	Curve float64
}

// Predict has a pool with each budget serve each trace, and the planner predict from what it
// has seen in each what the others would do. It blocks until all have, or ctx is done.
func Predict(ctx context.Context, o PlannerOptions, con *stage.Console) (all []Prediction, err error) {
	most := slices.Max(o.Budgets)
	s, err := stage.Set(ctx, stage.Options{Workspaces: o.Workspaces, Budget: model.Config{}.MaxConnectionsFor(most), Cap: o.Cap, Workers: 10_000, DSN: o.DSN}, con)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close(con)) }()
	for _, trace := range o.Traces {
		warmUp := o.For / 3
		arrivals := trace.Arrivals(o.Seed, o.Workspaces, func(time.Duration) float64 { return o.Rate }, o.Held, warmUp+o.For)
		if len(arrivals) == 0 || arrivals[len(arrivals)-1].At <= warmUp {
			return nil, fmt.Errorf("%s: no request comes in %v: the rate is too low", trace.Name, o.For)
		}
		var seen []*served
		for _, budget := range o.Budgets {
			con.Show(fmt.Sprintf("%s with %d slots ...", trace.Name, budget))
			cfg := s.Config
			cfg.MaxConnections = model.Config{}.MaxConnectionsFor(budget)
			one, err := serve(ctx, s, cfg, con, arrivals, warmUp)
			if err != nil {
				return nil, fmt.Errorf("%s with %d slots: %w", trace.Name, budget, err)
			}
			seen = append(seen, one)
		}
		for _, from := range seen {
			for _, other := range seen {
				all = append(all, from.predict(trace.Name, other))
			}
		}
	}
	return all, nil
}

// served is what serving a trace with one budget came to.
type served struct {
	measured model.Estimate
	plan     *planner.Plan
	curve    *planner.Curve
}

func (s *served) predict(trace string, other *served) Prediction {
	budget := other.measured.Budget
	return Prediction{
		Trace: trace, From: s.measured.Budget, Budget: budget, Measured: other.measured,
		Predicted: s.plan.WhatIf(budget, 0, ""), Curve: s.curve.HitRatio(budget),
	}
}

// serve opens a pool, plays the arrivals and measures what comes of those after the warm-up.
func serve(ctx context.Context, s *stage.Stage, cfg model.Config, con *stage.Console, arrivals []Arrival, warmUp time.Duration) (one *served, err error) {
	m, err := pools.Open(ctx, cfg, pools.WithLogger(con.Logger()))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end(m)) }()
	var before model.Stats
	waits, failed := stage.NewHistogram(), 0
	err = play(ctx, s, m, arrivals, func(a Arrival, waited time.Duration, err error) {
		switch {
		case a.At < warmUp:
		case err != nil:
			failed++
		default:
			waits.Add(waited)
		}
	}, warmUp, func() { before, _ = m.Stats(ctx) })
	if err != nil {
		return nil, err
	}
	after, err := m.Stats(ctx)
	if err != nil {
		return nil, err
	}
	acquires := float64(after.Workspaces.Counters.Acquires - before.Workspaces.Counters.Acquires)
	one = &served{measured: model.Estimate{
		Budget: after.Workspaces.Budget, PerWorkspace: after.Workspaces.PerWorkspace,
		HitRatio: float64(after.Workspaces.Counters.Hits-before.Workspaces.Counters.Hits) / acquires, Refused: float64(failed) / acquires,
		WaitP50: milliseconds(waits.Milliseconds(50)), WaitP99: milliseconds(waits.Milliseconds(99)),
		DialsPerSecond: float64(after.Workspaces.Counters.Dials-before.Workspaces.Counters.Dials) / (arrivals[len(arrivals)-1].At - warmUp).Seconds(),
	}}
	one.plan, one.curve, err = whatItSaw(ctx, m)
	return one, err
}

// end closes a pool when the requests are over.
func end(m *pools.Manager) error {
	ctx, stop := context.WithTimeout(context.Background(), endsWithin)
	defer stop()
	return m.Close(ctx)
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// whatItSaw is the traffic that the manager has recorded, from a dump as users have it.
func whatItSaw(ctx context.Context, m *pools.Manager) (*planner.Plan, *planner.Curve, error) {
	var dump bytes.Buffer
	if err := m.Dump(ctx, &dump); err != nil {
		return nil, nil, err
	}
	archive, err := zip.NewReader(bytes.NewReader(dump.Bytes()), int64(dump.Len()))
	if err != nil {
		return nil, nil, err
	}
	file, err := archive.Open(pools.DumpTraffic)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	window, about, err := planner.Read(file)
	if err != nil {
		return nil, nil, err
	}
	curve := window.Curve()
	return planner.NewPlan(window, curve, about), curve, nil
}

// play sends the requests when they are due, each in a goroutine of its own, and tells what
// became of each: from one goroutine, in the order of their ends. At the time begins it calls
// begun.
func play(ctx context.Context, s *stage.Stage, m *pools.Manager, arrivals []Arrival, ended func(Arrival, time.Duration, error), begins time.Duration, begun func()) error {
	type outcome struct {
		Arrival
		waited time.Duration
		err    error
	}
	ends := make(chan outcome, len(arrivals))
	var all errgroup.Group
	start := time.Now()
	for _, a := range arrivals {
		if begun != nil && a.At >= begins {
			begun()
			begun = nil
		}
		stage.Pause(ctx, a.At-time.Since(start))
		if ctx.Err() != nil {
			break
		}
		all.Go(func() error {
			came := time.Now()
			conn, err := m.Acquire(ctx, s.Workspaces[a.Workspace])
			waited := time.Since(came)
			if err == nil {
				_, err = conn.Exec(ctx, "select pg_sleep($1)", a.Held.Seconds())
				conn.Release()
			}
			ends <- outcome{a, waited, err}
			return nil
		})
	}
	_ = all.Wait()
	close(ends)
	for e := range ends {
		ended(e.Arrival, e.waited, e.err)
	}
	return context.Cause(ctx)
}

// WritePredictions writes them as a table in Markdown: for each trace and budget what was
// measured, and the predictions from the run with the budget from.
func WritePredictions(out io.Writer, all []Prediction, from int) error {
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	_, _ = fmt.Fprintln(table, "| trace\t| slots\t| hits measured\t| predicted\t| by the curve\t| p99 wait measured\t| predicted\t|")
	_, _ = fmt.Fprintln(table, "|---\t|---:\t|---:\t|---:\t|---:\t|---:\t|---:\t|")
	for _, p := range all {
		if p.From != from {
			continue
		}
		_, _ = fmt.Fprintf(table, "| %s\t| %d\t| %.1f %%\t| %.1f %%\t| %.1f %%\t| %s\t| %s\t|\n", p.Trace, p.Budget,
			100*p.Measured.HitRatio, 100*p.Predicted.HitRatio, 100*p.Curve,
			stage.Milliseconds(inMilliseconds(p.Measured.WaitP99)), stage.Milliseconds(inMilliseconds(p.Predicted.WaitP99)))
	}
	return table.Flush()
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
