package model

import "time"

// HistogramBounds are the upper bounds of a Histogram's buckets.
var HistogramBounds = [...]time.Duration{
	100 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Histogram counts durations by their size. It is part of each Stats, which is copied, so
// it is a hundred bytes; its bounds are fixed because Prometheus adds up the same buckets
// of all processes. Who needs exact quantiles, as the bench does, keeps an HdrHistogram.
type Histogram struct {
	// Counts[i] is how many were at most HistogramBounds[i] and longer than the
	// bound before; the last is how many were longer than all.
	Counts [len(HistogramBounds) + 1]uint64
	Sum    time.Duration
}

// Observe counts one.
func (h *Histogram) Observe(d time.Duration) { h.ObserveMany(d, 1) }

// ObserveMany counts n that were as long as each other.
func (h *Histogram) ObserveMany(d time.Duration, n uint64) {
	i := 0
	for i < len(HistogramBounds) && d > HistogramBounds[i] {
		i++
	}
	h.Counts[i] += n
	h.Sum += time.Duration(n) * d
}
