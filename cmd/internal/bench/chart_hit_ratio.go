package bench

import (
	"fmt"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

// hitRatios shows each strategy's ratio beside those that its trace allowed.
func hitRatios(bars []ChartBar) (panel, error) {
	p := newPanel("Hit ratio", "% of the acquires that found an open connection",
		legendEntry{"measured", chart.Blue, draw.BoxGlyph{}},
		legendEntry{"exact LRU", chart.Gray, draw.BoxGlyph{}},
		legendEntry{"Belady's optimum", chart.Amber, draw.BoxGlyph{}})
	unknown := make([]int, len(bars)) // ratios of each strategy
	for i, series := range []struct {
		ratio func(ChartBar) float64
		shade chart.Shade
	}{
		{func(b ChartBar) float64 { return b.HitRatio }, chart.Blue},
		{func(b ChartBar) float64 { return b.LRUHitRatio }, chart.Gray},
		{func(b ChartBar) float64 { return b.BeladyHitRatio }, chart.Amber},
	} {
		values := make([]float64, len(bars))
		offset := vg.Length(1-i) * 10
		for j, bar := range bars {
			values[j] = 100 * series.ratio(bar)
			if !known(values[j]) {
				unknown[j]++
				continue
			}
			if err := p.label(fmt.Sprintf("%.1f", values[j]), values[j], row(bars, j), besideBar.Add(vg.Point{Y: offset}), 9, chart.Ink); err != nil {
				return p, err
			}
		}
		if err := p.bars(values, 8, offset, series.shade); err != nil {
			return p, err
		}
	}
	for i, n := range unknown {
		if n < 3 {
			continue // a gap says it
		}
		if err := p.label(notMeasured, 0, row(bars, i), besideBar, 10, chart.Pale); err != nil {
			return p, err
		}
	}
	p.X.Min, p.X.Max = 0, 100
	p.X.Tick.Marker = plot.ConstantTicks{
		{Value: 0, Label: "0"}, {Value: 25, Label: "25"}, {Value: 50, Label: "50"},
		{Value: 75, Label: "75"}, {Value: 100, Label: "100"},
	}
	return p, nil
}
