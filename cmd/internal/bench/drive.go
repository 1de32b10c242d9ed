package bench

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// crowd are the workers of a workload: those that are measured, and the noisy
// neighbours, if it has any.
type crowd struct{ quiet, noisy int }

func (c crowd) size() int { return c.quiet + c.noisy }

// crowds: a workload with a noisy neighbour runs twice, the first time without
// it.
func (w workload) crowds(workers int) []crowd {
	if w.noisy {
		quiet := max(1, workers/2)
		return []crowd{{quiet: quiet}, {quiet, max(1, workers-quiet)}}
	}
	return []crowd{{quiet: workers}}
}

// driven is what a crowd came to.
type driven struct {
	quiet, noisy []*worker
	// warm is how many of the trace's events came before the measured part.
	warm  int
	ended time.Time // of the measured part
}

// drive sends requests for a warm-up and the measured part, or until ctx is done.
func drive(ctx context.Context, s *setting, w workload, p pool, c crowd, round int, recorder *Recorder) driven {
	runtime.GC() // what the turn before left is not this one's to clean up
	began := time.Now()
	measured := began.Add(s.options.warmUp())
	d := driven{ended: measured.Add(s.options.For)}
	for i := range c.size() {
		quiet := i < c.quiet
		one := &worker{
			pool:     p,
			pick:     w.picker(w.workspaces(s), quiet, s.options.Seed, round, i),
			trace:    recorder.Worker(i),
			query:    s.options.Query,
			think:    s.options.Think,
			bursts:   w.bursts,
			began:    began,
			measured: measured,
			errors:   map[string]uint64{},
			examples: map[string]string{},
		}
		if quiet {
			d.quiet = append(d.quiet, one)
		} else {
			d.noisy = append(d.noisy, one)
		}
	}
	ctx, stop := context.WithDeadline(ctx, d.ended)
	defer stop()
	var all sync.WaitGroup
	for _, one := range d.workers() {
		all.Go(func() { one.run(ctx) })
	}
	all.Go(func() {
		pause(ctx, time.Until(measured))
		s.measuring.Store(true)
		d.warm = recorder.Len()
	})
	all.Wait()
	s.measuring.Store(false)
	return d
}

func (d driven) workers() []*worker { return append(d.quiet[:len(d.quiet):len(d.quiet)], d.noisy...) }
