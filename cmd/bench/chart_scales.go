package bench

import (
	"fmt"
	"math"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"gonum.org/v1/plot"
)

var english = message.NewPrinter(language.English)

// roundTicks are some four to eight at round distances, written like 12,000.
type roundTicks struct{}

func (roundTicks) Ticks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10(high-low)))
	switch steps := (high - low) / step; { // 1 to 10
	case steps < 2:
		step /= 4
	case steps < 4:
		step /= 2
	case steps >= 8:
		step *= 2
	}
	var ticks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: english.Sprintf("%v", i*step)})
	}
	return ticks
}

// powersOfTen are the ticks of a logarithmic axis.
type powersOfTen struct{}

func (powersOfTen) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for i := math.Round(math.Log10(low)); i <= math.Round(math.Log10(high)); i++ {
		value := math.Pow(10, i)
		ticks = append(ticks, plot.Tick{Value: value, Label: english.Sprintf("%v", value)})
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
		return english.Sprintf("%.0f", ms)
	case ms >= 0.001:
		return fmt.Sprintf("%.3g", ms)
	}
	return "<0.001"
}

func known(value float64) bool { return value >= 0 && !math.IsInf(value, 1) }
