package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
)

// Run compares the strategies. It blocks until all turns were taken or ctx is
// done, and leaves nothing behind.
func Run(ctx context.Context, o Options, log logrus.FieldLogger, term Terminal) (_ *Result, err error) {
	s, err := setUp(ctx, o, databasesFor(o), log, term)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.tearDown(term)) }()
	result := newResult(o, s)
	for _, w := range chosen(workloads(), o.Workloads) {
		m, err := measure(ctx, s, w, term)
		if err != nil {
			return nil, err
		}
		result.Workloads = append(result.Workloads, m.report(s, w))
	}
	return result, nil
}

// databasesFor is how many the chosen workloads need.
func databasesFor(o Options) (n int) {
	s := &setting{options: o}
	s.config.MaxConnections = o.Budget
	for _, w := range chosen(workloads(), o.Workloads) {
		n = max(n, w.workspaces(s))
	}
	return n
}

// measurement is what all turns with one workload came to.
type measurement struct {
	strategies []string
	turns      map[string][]*turnFigures // by strategy: one of each round
	skipped    map[string]string         // why a strategy had no turn
	dials      []float64                 // the dial capacity in each round
}

// measure lets the strategies take turns, in another order each round, so that
// none is always the one after the same other one.
func measure(ctx context.Context, s *setting, w workload, term Terminal) (*measurement, error) {
	all := chosen(strategies(), s.options.Strategies)
	m := &measurement{turns: map[string][]*turnFigures{}, skipped: map[string]string{}}
	for _, how := range all {
		m.strategies = append(m.strategies, how.label())
	}
	for round := range s.options.Rounds {
		tell(term, s, w, round, "measuring how fast connections open")
		dials, err := dialCapacity(ctx, s, w)
		if err != nil {
			return nil, fmt.Errorf("measure how fast connections open: %w", err)
		}
		m.dials = append(m.dials, dials)
		for i := range all {
			how := all[(i+round)%len(all)]
			if m.skipped[how.label()] != "" {
				continue
			}
			tell(term, s, w, round, how.label())
			f, err := takeTurn(ctx, s, w, how, round)
			switch {
			case ctx.Err() != nil: // what failed then does not matter
				return nil, context.Cause(ctx)
			case errors.Is(err, errNoTurn):
				m.skipped[how.label()] = strings.TrimPrefix(err.Error(), errNoTurn.Error()+": ")
				continue
			case err != nil:
				return nil, fmt.Errorf("%s, %s: %w", w.name, how.label(), err)
			}
			m.turns[how.label()] = append(m.turns[how.label()], f)
			term.Show("")
			term.Println(fmt.Sprintf("%s, round %d: %s", w.name, round+1, line(how.label(), f)))
		}
	}
	return m, nil
}

func tell(term Terminal, s *setting, w workload, round int, what string) {
	term.Show(fmt.Sprintf("%s, round %d of %d: %s ...", w.name, round+1, s.options.Rounds, what))
}
