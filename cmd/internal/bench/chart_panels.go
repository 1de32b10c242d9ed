package bench

import (
	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

const notMeasured = "not measured"

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
	p.X.Label.TextStyle = centered(chart.Style(10, font.WeightNormal, chart.Pale))
	p.X.Tick.Label = p.X.Label.TextStyle
	p.X.Width, p.X.Tick.Width = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	grid.Vertical = draw.LineStyle{Color: chart.Lines.Color(), Width: 0.75}
	p.Add(grid)
	return p
}

func centered(s text.Style) text.Style {
	s.XAlign, s.YAlign = text.XCenter, text.YTop
	return s
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

func names(bars []ChartBar) []string {
	var names []string
	for _, bar := range bars {
		names = append(names, bar.Strategy)
	}
	return names
}

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
func (p panel) bars(values []float64, width, offset vg.Length, s chart.Shade) error {
	lengths := make(plotter.Values, len(values))
	for i, value := range values {
		if known(value) {
			lengths[int(row(values, i))] = value
		}
	}
	drawn, err := plotter.NewBarChart(lengths, width)
	if err != nil {
		return err
	}
	drawn.Horizontal = true
	drawn.Offset = offset
	drawn.Color = s.Color()
	drawn.LineStyle.Width = 0
	p.Add(drawn)
	return nil
}

// label writes words right of a place.
func (p panel) label(words string, x, y float64, offset vg.Point, size vg.Length, s chart.Shade) error {
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{words}})
	if err != nil {
		return err
	}
	labels.TextStyle[0] = chart.Style(size, font.WeightNormal, s)
	labels.TextStyle[0].YAlign = text.YCenter
	labels.Offset = offset
	p.Add(labels)
	return nil
}
