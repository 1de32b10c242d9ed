package planner

import (
	"math/bits"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// tally counts what becomes of acquires.
type tally struct {
	hits, refused uint64
	waits         waits
}

// count counts one and its More, which follow it so closely that they share its fate: they
// find the connection that it has just given back, or none as it did.
func (t *tally) count(a *Acquire, outcome Outcome, waited time.Duration) {
	more := uint64(a.More)
	switch outcome {
	case Hit:
		t.hits += 1 + more
	case Granted:
		t.hits += more
		t.waits.add(waited)
	default:
		t.refused += 1 + more
	}
}

// estimate is what follows from it if there should have been missing times as many
// acquires. What a sample lacks, or has too much, are acquires of hot workspaces, which are
// hits (SHARDS-adj in Waldspurger, Park, Garthwaite, Ahmad: Efficient MRC Construction with
// SHARDS, 2015). Budget and dials are left to the caller.
func (t *tally) estimate(missing float64) model.Estimate {
	counted := float64(t.hits + t.waits.n + t.refused)
	if counted == 0 {
		return model.Estimate{}
	}
	all := max(counted*missing, float64(t.waits.n+t.refused))
	hits := all - float64(t.waits.n+t.refused)
	granted := hits + float64(t.waits.n)
	return model.Estimate{
		HitRatio: hits / all,
		Refused:  float64(t.refused) / all,
		WaitP50:  t.waits.longerThan(granted * 0.50),
		WaitP99:  t.waits.longerThan(granted * 0.01),
	}
}

// waits is a histogram of durations, in buckets that are a sixteenth of their size wide: a
// model.Histogram is too coarse for a quantile.
type waits struct {
	n      uint64
	counts [16 * 30]uint32
}

func (w *waits) add(d time.Duration) {
	w.n++
	w.counts[min(bucketOf(MicrosOf(d)), len(w.counts)-1)]++
}

// longerThan is the duration that so many of them reach, 0 if they are fewer.
func (w *waits) longerThan(n float64) time.Duration {
	seen := 0.0
	for i := len(w.counts) - 1; i >= 0; i-- {
		if seen += float64(w.counts[i]); seen > n {
			return middleOf(i)
		}
	}
	return 0
}

// bucketOf has exact buckets up to 31 µs, and 16 for each doubling from then on.
func bucketOf(m Micros) int {
	if m < 32 {
		return int(m)
	}
	doublings := bits.Len32(uint32(m)) - 5
	return 16*doublings + int(m>>doublings)
}

func middleOf(bucket int) time.Duration {
	if bucket < 32 {
		return time.Duration(bucket) * time.Microsecond
	}
	doublings := bucket/16 - 1
	low := time.Duration(16+bucket%16) << doublings
	return (low + time.Duration(1)<<doublings/2) * time.Microsecond
}
