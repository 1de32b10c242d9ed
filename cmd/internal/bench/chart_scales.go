package bench

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"

	"github.com/tenantpool/tenantpool/internal/chart"
)

// powersOfTen are the ticks of a logarithmic axis.
type powersOfTen struct{}

func (powersOfTen) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for i := math.Round(math.Log10(low)); i <= math.Round(math.Log10(high)); i++ {
		value := math.Pow(10, i)
		ticks = append(ticks, plot.Tick{Value: value, Label: chart.English.Sprintf("%v", value)})
	}
	return ticks
}

// decades is the range of a logarithmic axis around the values.
func decades(low, high float64) (from, to float64) {
	if low > high {
		low, high = 1, 1
	}
	first := math.Floor(math.Log10(low))
	last := max(math.Ceil(math.Log10(high)), first+1)
	return math.Pow(10, first), math.Pow(10, last)
}

// milliseconds writes three digits, and no exponent.
func milliseconds(ms float64) string {
	switch {
	case ms >= 100:
		return chart.English.Sprintf("%.0f", ms)
	case ms >= 0.001:
		return fmt.Sprintf("%.3g", ms)
	}
	return "<0.001"
}

func known(value float64) bool { return value >= 0 && !math.IsInf(value, 1) }
