package stage

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestPopularityFollowsItsWeights(t *testing.T) {
	const draws = 200_000
	for _, test := range []struct {
		n int
		s float64
	}{{1, 1.2}, {2, 0}, {60, 0}, {60, 0.5}, {60, 1}, {60, 1.2}, {60, 3}, {10_000, 1.2}} {
		p := NewPopularity(test.n, test.s)
		rng := rand.New(rand.NewPCG(1, 2))
		counts := make([]int, test.n)
		for range draws {
			counts[p.Pick(rng)]++
		}
		// The exact weights, from the smallest, without the table.
		total := 0.0
		for k := test.n; k >= 1; k-- {
			total += 1 / math.Pow(float64(k), test.s)
		}
		for i, count := range counts {
			probability := 1 / math.Pow(float64(i+1), test.s) / total
			mean := draws * probability
			// Five standard deviations, and one for the rarest.
			if tolerance := 5*math.Sqrt(mean*(1-probability)) + 1; math.Abs(float64(count)-mean) > tolerance {
				t.Errorf("n %d, s %g: index %d was picked %d times, want %.1f ± %.1f", test.n, test.s, i, count, mean, tolerance)
			}
		}
	}
}

func TestPopularityOfExtremes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	steep := NewPopularity(10_000, math.MaxFloat64)
	for range 1000 {
		if i := steep.Pick(rng); i != 0 {
			t.Fatalf("picked %d although all weight is on 0", i)
		}
	}
	for _, s := range []float64{0, 0.3, 1, 7} {
		p := NewPopularity(9_999, s)
		if last := p.cumulative[len(p.cumulative)-1]; last != 1 {
			t.Errorf("s %g: the probabilities end at %v: a draw above would be out of range", s, last)
		}
	}
}
