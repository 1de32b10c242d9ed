package bench

import (
	"github.com/tenantpool/tenantpool/cmd/latency"
)

// turnFigures are what one turn of a strategy came to.
type turnFigures struct {
	perSecond            float64
	p50, p99, p999       float64
	acquire50, acquire99 float64
	requests, made       uint64
	errors               map[string]uint64
	examples             map[string]string
	hits, lru, belady    float64
	// measuredLRU is lru of the measured part alone, without the misses of a pool
	// that begins empty.
	measuredLRU float64
	peak        int

	// quiet and alone are the quiet workspaces of a workload with a noisy
	// neighbour, with and without it.
	quiet, alone times
}

// times are milliseconds.
type times struct{ p50, p99, acquire50, acquire99 float64 }

// add takes in what a crowd came to. The last one counts; one before is without
// the noise.
func (f *turnFigures) add(s *stage, w workload, d driven, made uint64) {
	f.alone = f.quiet
	f.quiet = timesOf(d.quiet)

	request, acquire := latency.New(), latency.New()
	f.requests, f.made = 0, made
	if f.errors == nil {
		f.errors, f.examples = map[string]uint64{}, map[string]string{}
	}
	inTime := 0
	for _, one := range d.workers() {
		f.requests += one.ok
		for kind, n := range one.errors {
			f.errors[kind] += n
			f.examples[kind] = one.examples[kind]
		}
		for _, sample := range one.samples {
			request.Add(sample.all)
			acquire.Add(sample.acquire)
			if !sample.ended.After(d.ended) {
				inTime++
			}
		}
	}
	f.perSecond = float64(inTime) / d.measured.Seconds()
	f.p50, f.p99, f.p999 = request.Milliseconds(50), request.Milliseconds(99), request.Milliseconds(99.9)
	f.acquire50, f.acquire99 = acquire.Milliseconds(50), acquire.Milliseconds(99)
	if f.requests > 0 {
		f.hits = max(0, 1-float64(made)/float64(f.requests))
	}
	slots, each := s.config.WorkspaceBudget(), s.options.Cap
	f.lru = LRUHitRatio(d.events, slots, each)
	f.belady = BeladyHitRatio(d.events, slots, each)
	f.measuredLRU = laterHitRatio(d.events, d.warm, f.lru, LRUHitRatio(d.events[:d.warm], slots, each))
}

func timesOf(workers []*worker) times {
	request, acquire := latency.New(), latency.New()
	for _, one := range workers {
		for _, sample := range one.samples {
			request.Add(sample.all)
			acquire.Add(sample.acquire)
		}
	}
	return times{request.Milliseconds(50), request.Milliseconds(99), acquire.Milliseconds(50), acquire.Milliseconds(99)}
}

// laterHitRatio is the hit ratio of the events from the first warm ones on, from
// those of all and of the first: an LRU does not know the future, so the hits of
// the first ones are the same in both.
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
