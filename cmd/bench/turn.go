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
func takeTurn(ctx context.Context, s *stage, w workload, how strategy, round int) (_ turnFigures, err error) {
	watch, err := serverview.Start(ctx, s.watcher, s.login.User, lookEvery)
	if err != nil {
		return turnFigures{}, err
	}
	defer watch.Stop()
	before, err := watch.Count(ctx) // on a user's server others may have some
	if err != nil {
		return turnFigures{}, err
	}
	p, err := how.open(ctx, s)
	if err != nil {
		return turnFigures{}, err
	}
	f := turnFigures{}
	made := p.made()
	for _, c := range w.crowds(s.options.Workers) {
		d := drive(ctx, s, w, p, c, round)
		now := p.made()
		f.add(s, w, d, now-made)
		made = now
	}
	ending, stop := context.WithTimeout(context.Background(), endsWithin)
	defer stop()
	if err := p.close(ending); err != nil {
		return turnFigures{}, fmt.Errorf("%s: close: %w", how.label(), err)
	}
	f.peak = watch.Peak() - before
	if ctx.Err() != nil {
		return turnFigures{}, context.Cause(ctx)
	}
	return f, untilGone(ending, watch, before)
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
