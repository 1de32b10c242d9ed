package chart

import (
	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// Plot is an empty plot with small pale axes, and its grid of horizontal lines, which the
// caller adds when what lies behind them is there.
func Plot() (*plot.Plot, *plotter.Grid) {
	p := plot.New()
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		style := Style(9, font.WeightNormal, Pale)
		style.XAlign, style.YAlign = axis.Tick.Label.XAlign, axis.Tick.Label.YAlign
		axis.Tick.Label, axis.Tick.Marker = style, RoundTicks{}
		axis.Width, axis.Tick.Width, axis.Tick.Length, axis.Padding = 0, 0, 4, 0
	}
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal = draw.LineStyle{Color: Lines.Color(), Width: 0.75}
	return p, grid
}
