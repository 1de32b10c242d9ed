package main

import (
	"math"
	"math/rand/v2"
	"sort"
)

// popularity picks one of n, the first more often than the second and so on:
// the k-th (from 1) with a probability proportional to 1/k^s, which is Zipf's
// law for s near 1 and uniform for 0. rand.Zipf cannot do s <= 1.
type popularity struct {
	cumulative []float64 // the probability of an index up to this one
}

// newPopularity: n is at least 1, s at least 0.
func newPopularity(n int, s float64) popularity {
	cumulative := make([]float64, n)
	total := 0.0
	for i := range cumulative {
		total += math.Pow(float64(i+1), -s)
		cumulative[i] = total
	}
	for i := range cumulative {
		cumulative[i] /= total
	}
	return popularity{cumulative}
}

// pick returns an index. Many goroutines may pick, each with its own rng.
func (p popularity) pick(rng *rand.Rand) int {
	u := rng.Float64() // below 1, which is the last element exactly
	return sort.Search(len(p.cumulative), func(i int) bool { return p.cumulative[i] > u })
}
