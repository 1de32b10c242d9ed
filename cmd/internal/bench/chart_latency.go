package bench

import (
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

// latencies shows the percentiles as points, because a logarithmic axis has no
// zero for a bar to start from.
func latencies(bars []ChartBar) (panel, error) {
	marks := []legendEntry{
		{"p50", chart.Blue, draw.CircleGlyph{}}, {"p99", chart.Amber, draw.BoxGlyph{}}, {"p99.9", chart.Red, draw.PyramidGlyph{}},
	}
	p := newPanel("Latency", "ms, logarithmic; the figures are p50 / p99 / p99.9", marks...)
	low, high := math.Inf(1), math.Inf(-1)
	var unknown []int
	for i, bar := range bars {
		percentiles := []float64{bar.P50Ms, bar.P99Ms, bar.P999Ms}
		var points plotter.XYs
		var shown []legendEntry
		words := make([]string, len(percentiles))
		for j, ms := range percentiles {
			words[j] = "-"
			if known(ms) && ms > 0 {
				words[j] = milliseconds(ms)
				points = append(points, plotter.XY{X: ms, Y: row(bars, i)})
				shown = append(shown, marks[j])
				low, high = min(low, ms), max(high, ms)
			}
		}
		if len(points) == 0 {
			unknown = append(unknown, i)
			continue
		}
		if err := p.points(points, shown); err != nil {
			return p, err
		}
		if err := p.label(strings.Join(words, " / "), points[len(points)-1].X, row(bars, i), besidePoint, 10, chart.Ink); err != nil {
			return p, err
		}
	}
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = powersOfTen{}
	p.X.Min, p.X.Max = decades(low, high)
	for _, i := range unknown {
		if err := p.label(notMeasured, p.X.Min, row(bars, i), besideBar, 10, chart.Pale); err != nil {
			return p, err
		}
	}
	return p, nil
}

// points draws the percentiles of one strategy on a line.
func (p panel) points(points plotter.XYs, marks []legendEntry) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: chart.Gray.Color(), Width: 2}
	scatter, err := plotter.NewScatter(points)
	if err != nil {
		return err
	}
	scatter.GlyphStyleFunc = func(i int) draw.GlyphStyle {
		return draw.GlyphStyle{Color: marks[i].shade.Color(), Radius: 4.5, Shape: marks[i].shape}
	}
	p.Add(line, scatter)
	return nil
}
