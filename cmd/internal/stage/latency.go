package stage

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histogram keeps times in microseconds, with three digits. It serves one
// goroutine at a time.
type Histogram struct{ counts *hdrhistogram.Histogram }

// longest is what no request takes.
const longest = 5 * time.Minute

// NewHistogram is empty.
func NewHistogram() Histogram {
	return Histogram{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// Add counts a time.
func (h Histogram) Add(d time.Duration) {
	_ = h.counts.RecordValue(min(d, longest).Microseconds()) // it is in range
}

// Count is how many were added.
func (h Histogram) Count() int { return int(h.counts.TotalCount()) }

// Milliseconds is the time that so many percent did not exceed; 0 for none.
func (h Histogram) Milliseconds(percent float64) float64 {
	return float64(h.counts.ValueAtPercentile(percent)) / 1000
}
