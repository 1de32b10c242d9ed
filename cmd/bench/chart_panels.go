package bench

import (
	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
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
	shade shade
	shape draw.GlyphDrawer
}

func newPanel(title, unit string, legend ...legendEntry) panel {
	p := panel{plot.New(), title, legend}
	p.BackgroundColor = nil // that of the whole shines through
	p.X.Label.Text = unit
	p.X.Label.TextStyle = centered(style(10, font.WeightNormal, pale))
	p.X.Tick.Label = p.X.Label.TextStyle
	p.X.Width, p.X.Tick.Width = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Width = 0
	grid.Vertical = draw.LineStyle{Color: lines.color(), Width: 0.75}
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
	p.Y.Tick.Label = style(11, font.WeightNormal, ink)
	p.Y.Tick.Label.XAlign, p.Y.Tick.Label.YAlign = text.XRight, text.YCenter
	p.Y.Tick.Length, p.Y.Tick.Width = 4, 0
	p.Y.LineStyle = draw.LineStyle{Color: pale.color(), Width: 0.75}
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
	c.FillText(style(12, font.WeightBold, ink), at, p.title)
	at.Y -= 17
	for _, entry := range p.legend {
		glyph := draw.GlyphStyle{Color: entry.shade.color(), Radius: 4, Shape: entry.shape}
		c.DrawGlyphNoClip(glyph, vg.Point{X: at.X + 4, Y: at.Y + 3.5})
		words := style(10, font.WeightNormal, pale)
		c.FillText(words, vg.Point{X: at.X + 12, Y: at.Y}, entry.name)
		at.X += 26 + words.Width(entry.name)
	}
}

// bars adds one bar for each strategy, offset from the middle of its row.
func (p panel) bars(values []float64, width, offset vg.Length, s shade) error {
	lengths := make(plotter.Values, len(values))
	for i, value := range values {
		if known(value) {
			lengths[int(row(values, i))] = value
		}
	}
	chart, err := plotter.NewBarChart(lengths, width)
	if err != nil {
		return err
	}
	chart.Horizontal = true
	chart.Offset = offset
	chart.Color = s.color()
	chart.LineStyle.Width = 0
	p.Add(chart)
	return nil
}

// label writes words right of a place.
func (p panel) label(words string, x, y float64, offset vg.Point, size vg.Length, s shade) error {
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{words}})
	if err != nil {
		return err
	}
	labels.TextStyle[0] = style(size, font.WeightNormal, s)
	labels.TextStyle[0].YAlign = text.YCenter
	labels.Offset = offset
	p.Add(labels)
	return nil
}
