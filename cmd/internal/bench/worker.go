package bench

import (
	"context"
	"time"
)

// worker sends one request after the other. It is for one goroutine, and its
// results are everybody's when that has ended.
type worker struct {
	pool  pool
	pick  func() int
	trace *WorkerTrace
	query string
	think time.Duration
	// bursts: it waits for the next burst after each burstOf requests.
	bursts bool
	// began is when the turn did, measured when the part of it that counts does.
	began, measured time.Time

	sent     int
	ok       uint64 // of the whole turn
	errors   map[string]uint64
	examples map[string]string
	samples  []sample // of the requests that went well and began in the measured part
}

// sample is how long a request took, its acquire first.
type sample struct {
	acquire, all time.Duration
	ended        time.Time
}

const (
	requestTimeout = 10 * time.Second
	// afterFailure: who was turned away does not come back in the same moment.
	afterFailure = 10 * time.Millisecond
)

// run blocks until ctx is done and the request under way has ended.
func (w *worker) run(ctx context.Context) {
	for {
		if w.bursts && w.sent%burstOf == 0 {
			rest := burstEvery - time.Since(w.began)%burstEvery
			pause(ctx, rest)
		}
		if ctx.Err() != nil {
			return
		}
		w.sent++
		began := time.Now()
		acquired, err := w.request(context.WithoutCancel(ctx), w.pick())
		ended := time.Now()
		switch {
		case err != nil:
			w.note(err)
			pause(ctx, afterFailure)
		default:
			w.ok++
			if !began.Before(w.measured) {
				w.samples = append(w.samples, sample{acquired.Sub(began), ended.Sub(began), ended})
			}
		}
		if w.think > 0 {
			pause(ctx, w.think)
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
	err = lease.query(ctx, w.query)
	w.trace.Released(number, workspace)
	lease.release()
	return acquired, err
}

func (w *worker) note(err error) {
	kind := kindOf(err)
	w.errors[kind]++
	if _, known := w.examples[kind]; !known {
		w.examples[kind] = err.Error()
	}
}

// pause ends early when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
