package bench

import "slices"

// Spread is a figure of several rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{median, sorted[0], sorted[len(sorted)-1]}
}

// over is the spread of a figure over the rounds.
func over(rounds []*turnFigures, figure func(*turnFigures) float64) Spread {
	var values []float64
	for _, f := range rounds {
		values = append(values, figure(f))
	}
	return spreadOf(values)
}

// ratios is the spread of a ratio of two strategies' figures, of the same round
// each: what slows the machine down for a while slows down both.
func ratios(above, below []*turnFigures, figure func(*turnFigures) float64) Spread {
	var values []float64
	for i := range min(len(above), len(below)) {
		if d := figure(below[i]); d > 0 {
			values = append(values, figure(above[i])/d)
		}
	}
	return spreadOf(values)
}
