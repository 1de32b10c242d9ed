package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/pools/serverview"
)

// lookEvery is how often the server's connections are counted.
const lookEvery = 20 * time.Millisecond

// takeTurn has one strategy serve the workload, and nobody else use the server.
func takeTurn(ctx context.Context, s *setting, w workload, how strategy, round int) (_ *turnFigures, err error) {
	watch, err := serverview.Start(ctx, s.watcher, s.login.User, lookEvery)
	if err != nil {
		return nil, err
	}
	defer watch.Stop()
	before, err := s.others(ctx, watch)
	if err != nil {
		return nil, err
	}
	p, err := how.open(ctx, s)
	if err != nil {
		return nil, err
	}
	made := p.made()
	crowds := w.crowds(s.options.Workers)
	recorder := NewRecorder(crowds[len(crowds)-1].size()) // the last one is the largest
	var all []driven
	for _, c := range crowds {
		all = append(all, drive(ctx, s, w, p, c, round, recorder))
	}
	made = p.made() - made
	ending, stop := context.WithTimeout(context.Background(), endsWithin)
	defer stop()
	if err := p.close(ending); err != nil {
		return nil, fmt.Errorf("%s: close: %w", how.label(), err)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f := newTurnFigures(s, all, recorder.Events(), made)
	f.peak = watch.Peak() - before
	return f, untilGone(ending, watch, before)
}

// others is how many connections are not the strategy's. On a server of our own
// there is none, once those of the turn before are gone; on a user's there is our
// own observer at least.
func (s *setting) others(ctx context.Context, watch *serverview.Watch) (int, error) {
	if s.local != nil {
		return 0, untilGone(ctx, watch, 0)
	}
	return watch.Count(ctx)
}

// untilGone waits until the server has no more connections than before, so that
// the next strategy finds it empty.
func untilGone(ctx context.Context, watch *serverview.Watch, before int) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		n, err := watch.Count(ctx)
		if err != nil {
			return err
		}
		if n <= before {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.New("connections are left on the server although the strategy has closed them: do others use it as the same role?")
		}
	}
}
