package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// turn is what one turn of a strategy came to.
type turn struct {
	Figures[float64]
	noise Quiet[float64] // of a workload with a noisy neighbour

	requests uint64 // that went well
	stage.Failures
	peak int
	// measuredLRU is an exact LRU's hit ratio in the measured part: without the misses
	// of a pool that begins empty.
	measuredLRU float64
}

// endsWithin bounds what comes after the requests.
const endsWithin = time.Minute

// takeTurn has one strategy serve the workload, and nobody else use the server.
func (r *contest) takeTurn(ctx context.Context, w Workload, how strategy, round int) (t *turn, err error) {
	watch, others, err := r.Watch(ctx)
	if err != nil {
		return nil, err
	}
	defer watch.Stop()
	crowds := w.crowds(r.Workers)
	recorder := NewRecorder(crowds[len(crowds)-1].workers) // the last one is the largest
	var all []driven
	var made uint64
	var p pool
	pprof.Do(ctx, pprof.Labels("workload", w.Name, "strategy", how.name), func(ctx context.Context) {
		if p, err = how.open(ctx, r); err != nil {
			return
		}
		before := p.made()
		for _, c := range crowds {
			all = append(all, r.drive(ctx, w, p, c, round, recorder))
		}
		made = p.made() - before
	})
	if err != nil {
		return nil, err
	}
	ending, stop := context.WithTimeout(context.Background(), endsWithin)
	defer stop()
	if err := p.close(ending); err != nil {
		return nil, fmt.Errorf("%s: close: %w", how.name, err)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t = r.figures(all, recorder.Events(), made)
	t.peak = watch.Peak() - others
	return t, stage.UntilGone(ending, watch, others) // the next strategy finds it empty
}

// driven is what a crowd came to.
type driven struct {
	workers []*worker
	// warm is how many of the trace's events came before the measured part.
	warm  int
	ended time.Time // of the measured part
}

// drive sends requests for a warm-up and the measured part, or until ctx is done.
func (r *contest) drive(ctx context.Context, w Workload, p pool, c crowd, round int, recorder *Recorder) driven {
	runtime.GC() // what the turn before left is not this one's to clean up
	began := time.Now()
	measured := began.Add(r.warmUp())
	d := driven{ended: measured.Add(r.For)}
	n := w.workspaces(r.Options)
	for i := range c.workers {
		d.workers = append(d.workers, &worker{
			pool: p, workload: w, workspaces: n, query: r.Query, think: r.Think,
			pick:  w.picker(n, i >= c.workers-c.noisy, r.Seed, round, i),
			trace: recorder.Worker(i),
			began: began, measured: measured,
			Failures: stage.NewFailures(),
		})
	}
	ctx, stop := context.WithDeadline(ctx, d.ended)
	defer stop()
	var all sync.WaitGroup
	for _, one := range d.workers {
		all.Go(func() { one.run(ctx) })
	}
	all.Go(func() {
		stage.Pause(ctx, time.Until(measured))
		r.measuring.Store(true)
		d.warm = recorder.Len()
	})
	all.Wait()
	r.measuring.Store(false)
	return d
}

// worker sends one request after the other. It is for one goroutine, and its
// results are everybody's when that has ended.
type worker struct {
	pool       pool
	workload   Workload
	workspaces int
	query      string
	think      time.Duration
	pick       func() int
	trace      *WorkerTrace
	// began is when the turn did, measured when the part of it that counts does.
	began, measured time.Time

	ok uint64 // of the whole turn
	stage.Failures
	samples []sample // of the requests that went well and ended in the measured part or after it
}

// sample is how long a request took, its acquire first.
type sample struct {
	acquire, all time.Duration
	ended        time.Time
	quiet        bool
}

const (
	requestTimeout = 10 * time.Second
	// afterFailure: who was turned away does not come back in the same moment.
	afterFailure = 10 * time.Millisecond
)

// run blocks until ctx is done and the request under way has ended.
func (w *worker) run(ctx context.Context) {
	for sent := 0; ; sent++ {
		if rest := w.workload.untilBurst(sent, time.Since(w.began)); rest > 0 {
			stage.Pause(ctx, rest)
		}
		if ctx.Err() != nil {
			return
		}
		workspace := w.pick()
		began := time.Now()
		acquired, err := w.request(context.WithoutCancel(ctx), workspace)
		ended := time.Now()
		switch {
		case err != nil:
			w.Note(stage.KindOf(err), err)
			stage.Pause(ctx, afterFailure)
		default:
			w.ok++
			if !ended.Before(w.measured) {
				quiet := w.workload.quiet(workspace, w.workspaces)
				w.samples = append(w.samples, sample{acquired.Sub(began), ended.Sub(began), ended, quiet})
			}
		}
		if w.think > 0 {
			stage.Pause(ctx, w.think)
		}
	}
}

func (w *worker) request(ctx context.Context, workspace int) (acquired time.Time, err error) {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	lease, err := w.pool.acquire(ctx, workspace)
	if err != nil {
		return acquired, err
	}
	acquired = time.Now()
	number := w.trace.Acquired(workspace)
	_, err = lease.Exec(ctx, w.query)
	w.trace.Released(number, workspace)
	lease.Release()
	return acquired, err
}

// figures adds up what the crowds of a turn came to. The last one is measured; one
// before is the quiet workers alone.
func (r *contest) figures(crowds []driven, events []Event, made uint64) *turn {
	t := &turn{Failures: stage.NewFailures()}
	for _, d := range crowds {
		for _, one := range d.workers {
			t.requests += one.ok
			t.Add(one.Failures)
		}
	}
	last := crowds[len(crowds)-1]
	inTime := 0
	request, acquire := last.times(func(s sample) bool {
		if !s.ended.After(last.ended) {
			inTime++
		}
		return true
	})
	quiet, quietAcquire := last.times(func(s sample) bool { return s.quiet })
	t.Figures = Figures[float64]{
		RequestsPerSecond: float64(inTime) / r.For.Seconds(),
		P50Ms:             request.Milliseconds(50),
		P99Ms:             request.Milliseconds(99),
		P999Ms:            request.Milliseconds(99.9),
		P99OverP50:        quotient(request.Milliseconds(99), request.Milliseconds(50)),
		QuietP99Ms:        quiet.Milliseconds(99),
		AcquireP50Ms:      acquire.Milliseconds(50),
		AcquireP99Ms:      acquire.Milliseconds(99),
		ConnectionsMade:   float64(made),
	}
	if len(crowds) > 1 {
		alone, aloneAcquire := crowds[0].times(func(sample) bool { return true })
		t.noise = Quiet[float64]{
			P99Ms:             quiet.Milliseconds(99),
			AcquireP50Ms:      quietAcquire.Milliseconds(50),
			AcquireP99Ms:      quietAcquire.Milliseconds(99),
			AloneP99Ms:        alone.Milliseconds(99),
			AloneAcquireP50Ms: aloneAcquire.Milliseconds(50),
			AloneAcquireP99Ms: aloneAcquire.Milliseconds(99),
			P99Ratio:          quotient(quiet.Milliseconds(99), alone.Milliseconds(99)),
		}
	}
	if t.requests > 0 {
		t.HitRatio = max(0, 1-float64(made)/float64(t.requests))
	}
	slots, each := r.workspaceBudget(), r.Cap
	t.LRUHitRatio = LRUHitRatio(events, slots, each)
	t.BeladyHitRatio = BeladyHitRatio(events, slots, each)
	t.measuredLRU = laterHitRatio(events, last.warm, t.LRUHitRatio, LRUHitRatio(events[:last.warm], slots, each))
	return t
}

// times are how long those requests took, and their acquires.
func (d driven) times(of func(sample) bool) (request, acquire stage.Histogram) {
	request, acquire = stage.NewHistogram(), stage.NewHistogram()
	for _, one := range d.workers {
		for _, s := range one.samples {
			if of(s) {
				request.Add(s.all)
				acquire.Add(s.acquire)
			}
		}
	}
	return request, acquire
}

func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// dialCapacity is how many times a second this machine and the server can connect, run
// one query and close, at the best of the concurrencies tried. The best of several short
// trials is the luckiest one too, so what counts is a longer one after them. The server
// counts its connections meanwhile, as it does in the turns.
func (r *contest) dialCapacity(ctx context.Context, w Workload) (perSecond float64, err error) {
	watch, _, err := r.Watch(ctx)
	if err != nil {
		return 0, err
	}
	defer watch.Stop()
	workspaces := w.workspaces(r.Options)
	var best float64
	var bestAtOnce int
	for _, atOnce := range []int{1, 2, 4, 8} {
		perSecond, err := r.dials(ctx, workspaces, atOnce, min(r.For/6, time.Second))
		if err != nil {
			return 0, err
		}
		if perSecond >= best {
			best, bestAtOnce = perSecond, atOnce
		}
	}
	return r.dials(ctx, workspaces, bestAtOnce, min(r.For/2, 3*time.Second))
}

func (r *contest) dials(ctx context.Context, workspaces, atOnce int, length time.Duration) (perSecond float64, err error) {
	began := time.Now()
	running, stop := context.WithDeadline(ctx, began.Add(length))
	defer stop()
	var done atomic.Int64
	var all errgroup.Group
	for range atOnce {
		all.Go(func() error {
			for running.Err() == nil {
				if err := r.dial(context.WithoutCancel(ctx), rand.IntN(workspaces)); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return 0, err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), context.Cause(ctx)
}

func (r *contest) dial(ctx context.Context, workspace int) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	conn, err := pgx.ConnectConfig(ctx, r.LoginTo(workspace))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, r.Query)
	stage.HangUp(conn)
	return err
}
