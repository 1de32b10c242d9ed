package model

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestADurationCountsInTheFirstBucketThatHoldsIt(t *testing.T) {
	for _, test := range []struct {
		took   time.Duration
		bucket int
	}{
		{0, 0},
		{-time.Nanosecond, 0}, // a clock that went back
		{100 * time.Microsecond, 0},
		{100*time.Microsecond + 1, 1},
		{500 * time.Microsecond, 1},
		{ms, 2},
		{ms + 1, 3},
		{2500 * time.Microsecond, 3},
		{5 * ms, 4},
		{99 * ms, 8},
		{100 * ms, 8},
		{time.Second, 11},
		{10 * time.Second, 14},
		{10*time.Second + 1, 15},
		{time.Hour, 15},
	} {
		var h, want Histogram
		h.Observe(test.took)
		want.Counts[test.bucket], want.Sum = 1, test.took
		if h != want {
			t.Errorf("%v: %+v", test.took, h)
		}
	}
}

func TestAHistogramAddsUp(t *testing.T) {
	var h Histogram
	for range 3 {
		h.Observe(2 * ms)
	}
	h.Observe(time.Minute)
	if h.Counts[3] != 3 || h.Counts[15] != 1 || h.Sum != time.Minute+6*ms {
		t.Errorf("%+v", h)
	}
	for i := 1; i < len(HistogramBounds); i++ {
		if HistogramBounds[i] <= HistogramBounds[i-1] {
			t.Errorf("bound %d is not above the one before", i)
		}
	}
}
