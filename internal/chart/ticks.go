package chart

import (
	"math"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"gonum.org/v1/plot"
)

// English writes figures like 12,000.
var English = message.NewPrinter(language.English)

// RoundTicks are some four to eight at round distances, written like 12,000.
type RoundTicks struct{}

// Ticks are those of a linear axis.
func (RoundTicks) Ticks(low, high float64) []plot.Tick {
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
	for i := math.Ceil(low / step); ; i++ {
		value := math.Round(i*step*1e9) / 1e9 // not 0.30000000000000004
		if value > high {
			return ticks
		}
		ticks = append(ticks, plot.Tick{Value: value, Label: English.Sprintf("%v", value)})
	}
}
