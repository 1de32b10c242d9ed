package faults

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// series is one figure of the samples over time.
type series struct {
	name, unit string
	of         func(sample) float64
	// The late median may be larger than the early one by share of it and by more;
	// why says what for. No share and nothing more: it may.
	share, more float64
	why         string
	// limit is what no sample may exceed, if there is one.
	limit float64
}

var watched = []series{
	{
		name: "Heap", unit: "MB in use after a collection", of: func(s sample) float64 { return s.HeapMB },
		share: 0.10, more: 1, why: "a sample has the requests of its moment, with their rows",
	},
	{
		name: "Goroutines", unit: "of the process", of: func(s sample) float64 { return s.Goroutines },
		share: 0.05, more: 5, why: "each dial, close and cancel under way has one or two",
	},
	{
		name: "File descriptors", unit: "open in the process", of: func(s sample) float64 { return s.Descriptors },
		share: 0.10, more: 10, why: "as many connections are open as the server manages to replace in time",
	},
	{
		name: "Backends", unit: "on the server; dashed: the budget", of: func(s sample) float64 { return s.Backends },
		limit: soakConnections,
	},
	{
		name: "Server's memory", unit: "MB that its processes do not share", of: func(s sample) float64 { return s.ServerMB },
		more: soakConnections, why: "a backend has 2 MB, and half of the budget more may be open",
	},
	{name: "Throughput", unit: "requests/s", of: func(s sample) float64 { return s.Rate }},
}

// judge complains of what is not flat. What is not known is not judged.
func (s series) judge(early, late sample) string {
	before, after := s.of(early), s.of(late)
	if s.share == 0 && s.more == 0 || math.IsNaN(before) || math.IsNaN(after) {
		return ""
	}
	if after <= before*(1+s.share)+s.more {
		return ""
	}
	return fmt.Sprintf("%s (%s): %.2f in the last quarter, %.2f in the second: more than %.0f %% and %v more, which is for this: %s",
		s.name, s.unit, after, before, 100*s.share, s.more, s.why)
}

// leaking is what samples would be like at 1,000 requests a second if each request
// left that much behind, with as much noise as there is.
func leaking(lasts time.Duration, goroutines, bytes float64) (samples []sample) {
	every := min(time.Second, lasts/soakSamples)
	for at, n := every, 0; at <= lasts; at, n = at+every, n+1 {
		requests := 1000 * at.Seconds()
		noise := float64(n*7919%21-10) / 10
		samples = append(samples, sample{
			At: at, HeapMB: 4 + 0.5*noise + requests*bytes/1e6, Goroutines: 120 + 15*noise + requests*goroutines,
			Descriptors: 60 + 8*noise + requests*goroutines,
		})
	}
	return samples
}

func TestTheSoakTellsALeakFromNoise(t *testing.T) {
	const each100th, kB = 0.01, 1000.0
	for _, c := range []struct {
		lasts             time.Duration
		goroutines, bytes float64
		complaints        int
	}{
		{20 * time.Second, 0, 0, 0},
		{30 * time.Minute, 0, 0, 0},
		{20 * time.Second, each100th, 0, 2},
		{30 * time.Minute, each100th, 0, 2},
		{30 * time.Minute, each100th / 100, 0, 2},
		{30 * time.Minute, 0, each100th * kB, 1},
	} {
		samples := leaking(c.lasts, c.goroutines, c.bytes)
		var complaints []string
		for _, s := range watched {
			if complaint := s.judge(medians(quarter(samples, 1)), medians(quarter(samples, 3))); complaint != "" {
				complaints = append(complaints, complaint)
			}
		}
		if len(complaints) != c.complaints {
			t.Errorf("%v, %v goroutines and %v bytes for each request: %d complaints, want %d: %q",
				c.lasts, c.goroutines, c.bytes, len(complaints), c.complaints, complaints)
		}
	}
}
