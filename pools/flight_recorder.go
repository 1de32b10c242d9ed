package pools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/trace"
	"time"
)

// flightRecorder keeps the last seconds of the runtime's trace. The Start, Stop and
// WriteTo of a trace.FlightRecorder must not run at once, so one goroutine owns it.
//
// A process has at most one. It belongs to who came first, the program itself or
// another Manager; this one then goes without. A trace.Start of the program goes on
// beside it.
type flightRecorder struct {
	asked   chan chan<- flightTrace
	stopped chan struct{} // closed when the goroutine has ended
}

var (
	errNoFlightRecorder   = errors.New("no flight recorder was asked for: pools.WithDumps starts one")
	errFlightRecorderGone = errors.New("the manager is closing")
)

type flightTrace struct {
	content []byte
	err     error
}

// How much of the past is kept.
const (
	flightAge   = 10 * time.Second
	flightBytes = 8 << 20
)

// startFlightRecorder starts one that runs until ctx is done.
func startFlightRecorder(ctx context.Context) (*flightRecorder, error) {
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: flightAge, MaxBytes: flightBytes})
	if err := recorder.Start(); err != nil { // all it says is that there is one
		return nil, fmt.Errorf("the process has one already, which is not this manager's: %w", err)
	}
	f := &flightRecorder{asked: make(chan chan<- flightTrace), stopped: make(chan struct{})}
	go f.run(ctx, recorder)
	return f, nil
}

func (f *flightRecorder) run(ctx context.Context, recorder *trace.FlightRecorder) {
	defer close(f.stopped)
	defer recorder.Stop()
	for {
		select {
		case answer := <-f.asked:
			var b bytes.Buffer
			_, err := recorder.WriteTo(&b)
			answer <- flightTrace{b.Bytes(), err}
		case <-ctx.Done():
			return
		}
	}
}

// read returns what is recorded, for go tool trace.
func (f *flightRecorder) read(ctx context.Context) ([]byte, error) {
	answer := make(chan flightTrace, 1)
	select {
	case f.asked <- answer:
	case <-f.stopped:
		return nil, errFlightRecorderGone
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case t := <-answer:
		return t.content, t.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
