// Package bench runs one workload against several ways to reach many databases,
// and compares what came of it.
//
// A [Workload] says which workspaces are asked for (workload.go). A strategy opens a
// pool to them (strategy.go, peer.go) and has a turn: workers send requests, the same
// ones whatever the strategy, and the server counts the connections (turn.go). In each
// round every strategy has one turn with each workload, and the rounds' order differs
// (bench.go). From the turn's trace of acquires and releases follow the hit ratios of
// an exact LRU and of Belady's optimum (trace.go, optimum.go). What the rounds came to
// is a [Report] for each workload, with a verdict on the project's targets (report.go,
// verdict.go), as text and as a chart.
//
// The other strategies are to do their best: what they cannot help is counted,
// and what is a matter of setting them up is set up in their favour. Each says
// how. docs/benchmarks.md describes the protocol.
package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

// Options are what a run is to compare, and how.
type Options struct {
	Workloads  []Workload
	Strategies []string // of Strategies
	// Workspaces is how many there are in the workloads that do not fit.
	Workspaces int
	// Budget is tenantpool's DB_MAX_CONNECTIONS, the system database's share
	// included; the throwaway server grants exactly that. Cap is how many of them
	// one workspace may have.
	Budget, Cap int
	// Workers is how many requests are under way at once. Each worker pauses for
	// Think between two requests.
	Workers int
	Think   time.Duration
	Query   string
	// For is how long a turn of a strategy is measured, after a warm-up.
	For    time.Duration
	Rounds int
	Seed   uint64
	// DSN is the server; empty: a throwaway one.
	DSN string
}

// Default is a run of all workloads with all strategies.
func Default() Options {
	return Options{
		Workloads:  Workloads(),
		Strategies: Strategies(),
		Workspaces: 200,
		Budget:     100,
		Cap:        3,
		Workers:    64,
		Query:      "select 1",
		For:        5 * time.Second,
		Rounds:     3,
		Seed:       1,
	}
}

// warmUp is how long a turn lasts before it is measured: every strategy begins
// without a connection, and opening the first ones is not what is compared.
func (o Options) warmUp() time.Duration { return o.For / 3 }

// workspaceBudget is what the workspaces of tenantpool and of its peers share.
func (o Options) workspaceBudget() int {
	return model.Config{MaxConnections: o.Budget}.WorkspaceBudget()
}

// contest is what the turns have in common.
type contest struct {
	Options
	*stage.Stage
	log *slog.Logger
	con *stage.Console
	// measuring: new connections are not asked where they lead.
	measuring atomic.Bool
}

// Run compares the strategies. It blocks until all turns were taken or ctx is
// done, and leaves nothing behind.
func Run(ctx context.Context, o Options, con *stage.Console) (_ *Result, err error) {
	databases := 0
	for _, w := range o.Workloads {
		databases = max(databases, w.workspaces(o))
	}
	r, err := newContest(ctx, o, databases, con)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close(con)) }()
	result := newResult(o)
	for _, w := range o.Workloads {
		m, err := r.measure(ctx, w)
		if err != nil {
			return nil, err
		}
		result.Workloads = append(result.Workloads, m.report(o, w))
	}
	return result, nil
}

func newContest(ctx context.Context, o Options, databases int, con *stage.Console) (*contest, error) {
	s, err := stage.Set(ctx, stage.Options{Workspaces: databases, Budget: o.Budget, Cap: o.Cap, Workers: o.Workers, DSN: o.DSN}, con)
	if err != nil {
		return nil, err
	}
	s.Config.AcquireTimeout = requestTimeout // as long as the other strategies wait
	return &contest{Options: o, Stage: s, log: con.Logger(), con: con}, nil
}

// measurement is what all turns with one workload came to.
type measurement struct {
	strategies []string
	turns      map[string][]*turn // by strategy: one of each round
	skipped    map[string]string  // why a strategy had no turn
	dials      []float64          // the dial capacity in each round
}

// measure lets the strategies take turns, in another order each round, so that
// none is always the one after the same other one.
func (r *contest) measure(ctx context.Context, w Workload) (*measurement, error) {
	m := &measurement{turns: map[string][]*turn{}, skipped: map[string]string{}}
	var all []strategy
	for _, how := range strategies() {
		if slices.Contains(r.Strategies, how.name) {
			all = append(all, how)
			m.strategies = append(m.strategies, how.name)
		}
	}
	for round := range r.Rounds {
		tell := func(what string) {
			r.con.Show(fmt.Sprintf("%s, round %d of %d: %s ...", w.Name, round+1, r.Rounds, what))
		}
		tell("measuring how fast connections open")
		dials, err := r.dialCapacity(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("measure how fast connections open: %w", err)
		}
		m.dials = append(m.dials, dials)
		for i := range all {
			how := all[(i+round)%len(all)]
			if m.skipped[how.name] != "" {
				continue
			}
			tell(how.name)
			t, err := r.takeTurn(ctx, w, how, round)
			switch {
			case ctx.Err() != nil: // what failed then does not matter
				return nil, context.Cause(ctx)
			case errors.Is(err, errNoTurn):
				m.skipped[how.name] = strings.TrimPrefix(err.Error(), errNoTurn.Error()+": ")
				continue
			case err != nil:
				return nil, fmt.Errorf("%s, %s: %w", w.Name, how.name, err)
			}
			m.turns[how.name] = append(m.turns[how.name], t)
			r.con.Show("")
			r.con.Printf("%s, round %d: %-10s %8s requests/s, p99 %s ms, %s failed",
				w.Name, round+1, how.name, count(t.RequestsPerSecond), stage.Milliseconds(t.P99Ms), stage.Grouped(t.Total()))
		}
	}
	return m, nil
}

// verify asks a new connection where it leads, before anything is measured. Later
// it would favor PgBouncer, whose connections to the server cannot be told from
// each other.
func (r *contest) verify(ctx context.Context, conn *pgx.Conn, workspace int) error {
	if r.measuring.Load() {
		return nil
	}
	var database string
	err := conn.QueryRow(ctx, "SELECT current_database()", pgx.QueryExecModeSimpleProtocol).Scan(&database)
	if err != nil {
		return err
	}
	if database != r.Databases[workspace] {
		return fmt.Errorf("%w: %q instead of %q", stage.ErrWrongWorkspace, database, r.Databases[workspace])
	}
	return nil
}
