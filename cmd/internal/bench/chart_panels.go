package bench

import (
	"fmt"
	"math"
	"strings"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/internal/chart"
)

// throughput shows the medians and, as whiskers, the range of the rounds.
func throughput(all []StrategyReport) panel {
	p := newPanel("Throughput", "requests/s: median of the rounds, and their range")
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = s.RequestsPerSecond.Median
	}
	p.bars(values, 18, 0, chart.Blue)
	for i, s := range all {
		of, y := s.RequestsPerSecond, row(all, i)
		p.Add(&plotter.XErrorBars{
			XYs: plotter.XYs{{X: of.Min, Y: y}}, XErrors: plotter.XErrors{{High: of.Max - of.Min}},
			LineStyle: draw.LineStyle{Color: chart.Ink.Color(), Width: 1}, CapWidth: 7,
		})
		p.label(chart.English.Sprintf("%.0f", of.Median), of.Max, y, besideBar, 11, chart.Ink)
		if s.Failed > 0 {
			words := chart.English.Sprintf("%d errors", s.Failed)
			if s.Failed == 1 {
				words = "1 error"
			}
			p.label(words, of.Max, y, besideBar.Add(vg.Point{Y: -13}), 10, chart.Red)
		}
	}
	p.X.Min = 0
	p.X.Max = max(p.X.Max, 1)
	p.X.Tick.Marker = chart.RoundTicks{}
	return p
}

// latencies shows the percentiles as points, because a logarithmic axis has no
// zero for a bar to start from. A strategy that served nobody has none.
func latencies(all []StrategyReport) panel {
	marks := []legendEntry{
		{"p50", chart.Blue, draw.CircleGlyph{}}, {"p99", chart.Amber, draw.BoxGlyph{}}, {"p99.9", chart.Red, draw.PyramidGlyph{}},
	}
	p := newPanel("Latency", "ms, logarithmic; the figures are p50 / p99 / p99.9", marks...)
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range all {
		if s.P50Ms.Median > 0 {
			low, high = min(low, s.P50Ms.Median), max(high, s.P999Ms.Median)
		}
	}
	p.X.Scale = plot.LogScale{}
	p.X.Tick.Marker = powersOfTen{}
	from, to := decades(low, high)
	for i, s := range all {
		if s.P50Ms.Median <= 0 {
			p.label("not measured", from, row(all, i), besideBar, 10, chart.Pale)
			continue
		}
		var points plotter.XYs
		var words []string
		for _, ms := range []float64{s.P50Ms.Median, s.P99Ms.Median, s.P999Ms.Median} {
			points = append(points, plotter.XY{X: ms, Y: row(all, i)})
			words = append(words, stage.Milliseconds(ms))
		}
		line := &plotter.Line{XYs: points, LineStyle: draw.LineStyle{Color: chart.Gray.Color(), Width: 2}}
		p.Add(line, &plotter.Scatter{XYs: points, GlyphStyleFunc: func(i int) draw.GlyphStyle {
			return draw.GlyphStyle{Color: marks[i].shade.Color(), Radius: 4.5, Shape: marks[i].shape}
		}})
		p.label(strings.Join(words, " / "), points[len(points)-1].X, row(all, i), besidePoint, 10, chart.Ink)
	}
	p.X.Min, p.X.Max = from, to
	return p
}

// hitRatios shows each strategy's ratio beside those that its trace allowed.
func hitRatios(all []StrategyReport) panel {
	series := []struct {
		legendEntry
		of func(StrategyReport) Spread
	}{
		{legendEntry{"measured", chart.Blue, draw.BoxGlyph{}}, func(s StrategyReport) Spread { return s.HitRatio }},
		{legendEntry{"exact LRU", chart.Gray, draw.BoxGlyph{}}, func(s StrategyReport) Spread { return s.LRUHitRatio }},
		{legendEntry{"Belady's optimum", chart.Amber, draw.BoxGlyph{}}, func(s StrategyReport) Spread { return s.BeladyHitRatio }},
	}
	p := newPanel("Hit ratio", "% of the acquires that found an open connection", series[0].legendEntry, series[1].legendEntry, series[2].legendEntry)
	for i, one := range series {
		values := make([]float64, len(all))
		offset := vg.Length(1-i) * 10
		for j, s := range all {
			values[j] = 100 * one.of(s).Median
			p.label(fmt.Sprintf("%.1f", values[j]), values[j], row(all, j), besideBar.Add(vg.Point{Y: offset}), 9, chart.Ink)
		}
		p.bars(values, 8, offset, one.shade)
	}
	p.X.Min, p.X.Max = 0, 100
	p.X.Tick.Marker = chart.RoundTicks{}
	return p
}

// Where a label stands, seen from the end of what it labels.
var (
	besideBar   = vg.Point{X: 6, Y: 1.5}
	besidePoint = vg.Point{X: 9, Y: 1.5}
)

// panel is one chart of a row: a strategy for each unit of Y, the first on top.
type panel struct {
	*plot.Plot
	title  string
	legend []legendEntry
}

type legendEntry struct {
	name  string
	shade chart.Shade
	shape draw.GlyphDrawer
}

func newPanel(title, unit string, legend ...legendEntry) panel {
	p := panel{plot.New(), title, legend}
	p.BackgroundColor = nil // that of the whole shines through
	p.X.Label.Text = unit
	style := chart.Style(10, font.WeightNormal, chart.Pale)
	style.XAlign, style.YAlign = text.XCenter, text.YTop
	p.X.Label.TextStyle, p.X.Tick.Label = style, style
	p.X.Width, p.X.Tick.Width = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	grid.Vertical = draw.LineStyle{Color: chart.Lines.Color(), Width: 0.75}
	p.Add(grid)
	return p
}

// nameY writes the names left of the panel.
func (p panel) nameY(names []string) {
	ticks := make(plot.ConstantTicks, len(names))
	for i, name := range names {
		ticks[i] = plot.Tick{Value: row(names, i), Label: name}
	}
	p.Y.Min, p.Y.Max = -0.5, float64(len(names))-0.5
	p.Y.Tick.Marker = ticks
	p.Y.Tick.Label = chart.Style(11, font.WeightNormal, chart.Ink)
	p.Y.Tick.Label.XAlign, p.Y.Tick.Label.YAlign = text.XRight, text.YCenter
	p.Y.Tick.Length, p.Y.Tick.Width = 4, 0
	p.Y.LineStyle = draw.LineStyle{Color: chart.Pale.Color(), Width: 0.75}
	p.Y.Padding = 0
}

// row is the place of the i-th strategy on Y.
func row[T any](all []T, i int) float64 { return float64(len(all) - 1 - i) }

// drawHeader writes the title, and the legend below it in one line.
func (p panel) drawHeader(c draw.Canvas) {
	at := vg.Point{X: c.Min.X + 6, Y: c.Max.Y - 14}
	c.FillText(chart.Style(12, font.WeightBold, chart.Ink), at, p.title)
	at.Y -= 17
	for _, entry := range p.legend {
		glyph := draw.GlyphStyle{Color: entry.shade.Color(), Radius: 4, Shape: entry.shape}
		c.DrawGlyphNoClip(glyph, vg.Point{X: at.X + 4, Y: at.Y + 3.5})
		words := chart.Style(10, font.WeightNormal, chart.Pale)
		c.FillText(words, vg.Point{X: at.X + 12, Y: at.Y}, entry.name)
		at.X += 26 + words.Width(entry.name)
	}
}

// bars adds one bar for each strategy, offset from the middle of its row.
func (p panel) bars(values []float64, width, offset vg.Length, s chart.Shade) {
	lengths := make(plotter.Values, len(values))
	for i, value := range values {
		lengths[int(row(values, i))] = value
	}
	p.Add(&plotter.BarChart{Values: lengths, Width: width, Color: s.Color(), Offset: offset, Horizontal: true})
}

// label writes words right of a place.
func (p panel) label(words string, x, y float64, offset vg.Point, size vg.Length, s chart.Shade) {
	style := chart.Style(size, font.WeightNormal, s)
	style.YAlign = text.YCenter
	p.Add(&plotter.Labels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{words}, TextStyle: []text.Style{style}, Offset: offset})
}

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
