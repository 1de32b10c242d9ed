package faults

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
)

// sample is what there was at one moment. What cannot be known here is NaN.
type sample struct {
	At time.Duration
	// HeapMB is in use after a collection.
	HeapMB, Goroutines, Descriptors float64
	// Backends is the server's own count, ServerMB what its processes have each for
	// itself.
	Backends, ServerMB float64
	// Rate is of requests that succeeded, per second since the sample before.
	Rate float64
}

// figures are what a sample has besides its time.
var figures = []func(*sample) *float64{
	func(s *sample) *float64 { return &s.HeapMB }, func(s *sample) *float64 { return &s.Goroutines },
	func(s *sample) *float64 { return &s.Descriptors }, func(s *sample) *float64 { return &s.Backends },
	func(s *sample) *float64 { return &s.ServerMB }, func(s *sample) *float64 { return &s.Rate },
}

// takeSamples does so until the time is over.
func takeSamples(t *testing.T, tr *traffic, lasts time.Duration) []sample {
	every := min(time.Second, lasts/soakSamples)
	samples := make([]sample, 0, lasts/every+1) // it must not grow meanwhile
	began := time.Now()
	before, then := tr.succeeded.Load(), began
	for time.Since(began) < lasts {
		within(nil, every-time.Since(began)%every)
		s := sample{
			HeapMB: float64(heapInUse()) / 1e6, Goroutines: float64(runtime.NumGoroutine()), Descriptors: descriptors(),
			Backends: float64(backends(t)), ServerMB: serverMemory(),
		}
		now, succeeded := time.Now(), tr.succeeded.Load()
		s.At, s.Rate = now.Sub(began), float64(succeeded-before)/now.Sub(then).Seconds()
		before, then = succeeded, now
		samples = append(samples, s)
	}
	return samples
}

// quarter is the first one for 0.
func quarter(samples []sample, n int) []sample {
	return samples[n*len(samples)/4 : (n+1)*len(samples)/4]
}

// medians are those of each figure.
func medians(samples []sample) (m sample) {
	for _, of := range figures {
		values := make([]float64, len(samples))
		for i := range samples {
			values[i] = *of(&samples[i])
		}
		*of(&m) = median(values)
	}
	return m
}

// descriptors is how many files this process has open.
func descriptors() float64 {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return math.NaN()
	}
	return float64(len(open) - 1) // one was for looking
}

// serverMemory is what the server's processes do not share, in MB. Linux tells.
func serverMemory() float64 {
	pids, err := server.Processes()
	if err != nil {
		return math.NaN()
	}
	sum := math.NaN()
	for _, pid := range pids {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil {
			continue // it ended just now
		}
		var kB float64
		_, own, _ := bytes.Cut(status, []byte("RssAnon:"))
		if _, err := fmt.Sscan(string(own), &kB); err != nil {
			continue
		}
		if math.IsNaN(sum) {
			sum = 0
		}
		sum += kB * 1024 / 1e6
	}
	return sum
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
