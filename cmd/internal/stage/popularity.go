package stage

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Popularity picks one of n, the first more often than the second and so on:
// the k-th (from 1) with a probability proportional to 1/k^s, which is Zipf's
// law for s near 1 and uniform for 0. rand.Zipf cannot do s <= 1.
type Popularity struct {
	cumulative []float64 // the probability of an index up to this one
}

// NewPopularity is a popularity of n, at least 1, with the exponent s, at least 0.
func NewPopularity(n int, s float64) Popularity {
	cumulative := make([]float64, n)
	total := 0.0
	for i := range cumulative {
		total += math.Pow(float64(i+1), -s)
		cumulative[i] = total
	}
	for i := range cumulative {
		cumulative[i] /= total
	}
	return Popularity{cumulative}
}

// Pick returns an index. Many goroutines may pick, each with its own rng.
func (p Popularity) Pick(rng *rand.Rand) int {
	u := rng.Float64() // below 1, which is the last element exactly
	return sort.Search(len(p.cumulative), func(i int) bool { return p.cumulative[i] > u })
}
