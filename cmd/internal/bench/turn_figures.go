package bench

import (
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// turnFigures are what one turn of a strategy came to.
type turnFigures struct {
	// Of the measured part; of all workers.
	perSecond float64
	times
	p999 float64
	// quiet and alone are the quiet workers' in a workload with a noisy
	// neighbour, with and without it.
	quiet, alone times

	// Of the whole turn.
	requests, made    uint64
	errors            map[string]uint64
	examples          map[string]string
	hits, lru, belady float64
	peak              int

	// measuredLRU is lru of the measured part: without the misses of a pool that
	// begins empty.
	measuredLRU float64
}

// times are milliseconds.
type times struct{ p50, p99, acquire50, acquire99 float64 }

// newTurnFigures adds up what the crowds of a turn came to. The last one is
// measured; one before is the quiet workers alone.
func newTurnFigures(s *setting, crowds []driven, events []Event, made uint64) *turnFigures {
	f := &turnFigures{made: made, errors: map[string]uint64{}, examples: map[string]string{}}
	for _, d := range crowds {
		for _, one := range d.workers() {
			f.requests += one.ok
			for kind, n := range one.errors {
				f.errors[kind] += n
				f.examples[kind] = one.examples[kind]
			}
		}
	}
	last := crowds[len(crowds)-1]
	if first := crowds[0]; len(crowds) > 1 {
		f.alone, _ = timesOf(first.quiet)
	}
	f.quiet, _ = timesOf(last.quiet)
	f.times, f.p999 = timesOf(last.workers())
	f.perSecond = float64(last.inTime()) / s.options.For.Seconds()

	if f.requests > 0 {
		f.hits = max(0, 1-float64(made)/float64(f.requests))
	}
	slots, each := s.config.WorkspaceBudget(), s.options.Cap
	f.lru = LRUHitRatio(events, slots, each)
	f.belady = BeladyHitRatio(events, slots, each)
	f.measuredLRU = laterHitRatio(events, last.warm, f.lru, LRUHitRatio(events[:last.warm], slots, each))
	return f
}

// failed is how many requests failed.
func (f *turnFigures) failed() (n uint64) {
	for _, of := range f.errors {
		n += of
	}
	return n
}

func timesOf(workers []*worker) (t times, p999 float64) {
	request, acquire := stage.NewHistogram(), stage.NewHistogram()
	for _, one := range workers {
		for _, sample := range one.samples {
			request.Add(sample.all)
			acquire.Add(sample.acquire)
		}
	}
	return times{
		p50: request.Milliseconds(50), p99: request.Milliseconds(99),
		acquire50: acquire.Milliseconds(50), acquire99: acquire.Milliseconds(99),
	}, request.Milliseconds(99.9)
}

// inTime counts the requests that ended in the measured part as well.
func (d driven) inTime() (n int) {
	for _, one := range d.workers() {
		for _, sample := range one.samples {
			if !sample.ended.After(d.ended) {
				n++
			}
		}
	}
	return n
}

// laterHitRatio is an LRU's hit ratio after the first warm events, from those of
// all events and of the first ones: an LRU does not know the future, so the hits
// of the first ones are the same in both.
func laterHitRatio(events []Event, warm int, all, first float64) float64 {
	total, before := acquires(events), acquires(events[:warm])
	if total == before {
		return all
	}
	return (all*float64(total) - first*float64(before)) / float64(total-before)
}

func acquires(events []Event) (n int) {
	for _, e := range events {
		if !e.Release {
			n++
		}
	}
	return n
}
