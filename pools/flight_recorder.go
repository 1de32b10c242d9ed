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
// WriteTo of a trace.FlightRecorder must not run at once, so whoever has received it has
// it alone, and sends it back.
//
// A process has at most one. It belongs to who came first, the program itself or
// another Manager; this one then goes without. A trace.Start of the program goes on
// beside it.
type flightRecorder chan *trace.FlightRecorder

var (
	errNoFlightRecorder   = errors.New("no flight recorder was asked for: pools.WithDumps starts one")
	errFlightRecorderGone = errors.New("the manager is closing")
)

// How much of the past is kept.
const (
	flightAge   = 10 * time.Second
	flightBytes = 8 << 20
)

func startFlightRecorder() (flightRecorder, error) {
	recorder := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: flightAge, MaxBytes: flightBytes})
	if err := recorder.Start(); err != nil { // all it says is that there is one
		return nil, fmt.Errorf("the process has one already, which is not this manager's: %w", err)
	}
	f := make(flightRecorder, 1)
	f <- recorder
	return f, nil
}

// end stops it. It is called once, and waits for a read, which touches no disk.
func (f flightRecorder) end() {
	(<-f).Stop()
	close(f)
}

// read returns what is recorded, for go tool trace.
func (f flightRecorder) read(ctx context.Context) ([]byte, error) {
	select {
	case recorder, ok := <-f:
		if !ok {
			return nil, errFlightRecorderGone
		}
		defer func() { f <- recorder }()
		var b bytes.Buffer
		_, err := recorder.WriteTo(&b)
		return b.Bytes(), err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
