package main

import (
	"maps"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// outcome is how one request went.
type outcome struct {
	// acquired is how long its acquire took, if that succeeded.
	acquired time.Duration
	lent     bool
	took     time.Duration
	kind     errorKind // empty: ok
	err      error
}

// tally is what all requests together have come to.
type tally struct {
	requests, ok uint64
	errors       map[errorKind]uint64
	// examples are the first errors of the kinds that should not be.
	examples map[errorKind]string
}

// failed counts what should not have been.
func (t tally) failed() uint64 { return t.requests - t.ok - t.errors[cancelled] }

// latencies of all requests together.
type latencies struct {
	request stage.Histogram // of the requests that went well
	acquire stage.Histogram // of the acquires that got a connection
}

// recorder counts outcomes. One goroutine owns the counts, because there are too
// many workers to give each a histogram of its own.
type recorder struct {
	outcomes chan outcome
	asked    chan chan<- tally
	quit     chan struct{}
	ended    chan struct{}
	tally    tally // the goroutine's, and everybody's after ended
	latencies
}

func startRecorder() *recorder {
	r := &recorder{
		outcomes: make(chan outcome, 1024),
		asked:    make(chan chan<- tally),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
		tally:    tally{errors: map[errorKind]uint64{}, examples: map[errorKind]string{}},
		latencies: latencies{
			request: stage.NewHistogram(),
			acquire: stage.NewHistogram(),
		},
	}
	go r.run()
	return r
}

func (r *recorder) run() {
	defer close(r.ended)
	for {
		select {
		case o := <-r.outcomes:
			r.count(o)
		case reply := <-r.asked:
			t := r.tally
			t.errors, t.examples = maps.Clone(t.errors), maps.Clone(t.examples)
			reply <- t // it has room
		case <-r.quit:
			for { // the workers have ended: nothing is added
				select {
				case o := <-r.outcomes:
					r.count(o)
				default:
					return
				}
			}
		}
	}
}

func (r *recorder) count(o outcome) {
	r.tally.requests++
	if o.lent {
		r.acquire.Add(o.acquired)
	}
	if o.kind == "" {
		r.tally.ok++
		r.request.Add(o.took)
		return
	}
	r.tally.errors[o.kind]++
	if _, known := r.tally.examples[o.kind]; !known && o.kind != cancelled {
		r.tally.examples[o.kind] = o.err.Error()
	}
}

// add counts an outcome. It must not be called after stop.
func (r *recorder) add(o outcome) { r.outcomes <- o }

// sofar returns what was counted until now.
func (r *recorder) sofar() tally {
	reply := make(chan tally, 1)
	select {
	case r.asked <- reply:
		return <-reply
	case <-r.ended:
		return r.tally
	}
}

// result is what a recorder leaves.
type result struct {
	tally
	latencies
}

// stop ends the recorder, whose users have ended, and returns what it counted.
func (r *recorder) stop() result {
	close(r.quit)
	<-r.ended
	return result{r.tally, r.latencies}
}
