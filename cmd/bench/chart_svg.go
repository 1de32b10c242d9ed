package bench

import (
	"bytes"
	"fmt"
	"image/color"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	plotfont "gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// shade is a color and what becomes of it in a dark scheme. The drawing has the
// light one, so that it is right too where nobody reads its style sheet.
type shade struct{ Light, Dark string }

// The last four are legible on both papers, and differ in brightness too.
var (
	paper  = shade{"#FFFFFF", "#0D1117"}
	ink    = shade{"#1F2328", "#E6EDF3"}
	pale   = shade{"#59636E", "#9DA7B3"} // axes and what is said beside
	lines  = shade{"#D8DEE4", "#30363D"}
	blue   = shade{"#2F74D0", "#4C8FE8"}
	amber  = shade{"#D9901A", "#E3A63C"}
	gray   = shade{"#A3ABB5", "#6C7682"}
	red    = shade{"#C93C37", "#F0706A"}
	shades = []shade{paper, ink, pale, lines, blue, amber, gray, red}
)

func (s shade) color() color.Color {
	var c color.NRGBA
	c.A = 0xff
	if _, err := fmt.Sscanf(s.Light, "#%02X%02X%02X", &c.R, &c.G, &c.B); err != nil {
		panic(err)
	}
	return c
}

const (
	chartWidth   = 1080 * vg.Length(1)
	margin       = 14 * vg.Length(1)
	rowGap       = 36 * vg.Length(1)
	panelGap     = 22 * vg.Length(1)
	titleHeight  = 30 * vg.Length(1) // a workload's name
	headerHeight = 40 * vg.Length(1) // a panel's title and its legend
	axisHeight   = 40 * vg.Length(1)
	barHeight    = 40 * vg.Length(1) // one strategy
)

func rowHeight(data ChartData) vg.Length {
	return titleHeight + headerHeight + vg.Length(len(data.Bars))*barHeight + axisHeight
}

// drawSVG draws a row of three panels for each workload. They share the names of
// the strategies, which stand left of the first.
func drawSVG(data []ChartData) ([]byte, error) {
	height := 2*margin - rowGap
	for _, workload := range data {
		height += rowHeight(workload) + rowGap
	}
	canvas := vgsvg.New(chartWidth, height)
	all := draw.New(canvas)
	all.FillPolygon(paper.color(), []vg.Point{
		{}, {X: chartWidth}, {X: chartWidth, Y: height}, {Y: height},
	})
	top := height - margin
	for _, workload := range data {
		bottom := top - rowHeight(workload)
		row := part(all, margin, chartWidth-margin, bottom, top)
		if err := drawRow(row, workload); err != nil {
			return nil, fmt.Errorf("workload %q: %w", workload.Workload, err)
		}
		top = bottom - rowGap
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return finishSVG(out.Bytes(), data), nil
}

func drawRow(row draw.Canvas, workload ChartData) error {
	row.FillText(style(16, font.WeightBold, ink), vg.Point{X: row.Min.X, Y: row.Max.Y - 16}, workload.Workload)
	names := names(workload.Bars)
	var width vg.Length
	for _, name := range names {
		width = max(width, style(11, font.WeightNormal, ink).Width(name))
	}
	panels := []struct {
		make  func([]ChartBar) (panel, error)
		share vg.Length
	}{{throughput, 0.32}, {latencies, 0.36}, {hitRatios, 0.32}}
	left, rest := row.Min.X, row.Size().X-width
	for i, p := range panels {
		made, err := p.make(workload.Bars)
		if err != nil {
			return err
		}
		right := left + p.share*rest
		header := left
		if i == 0 {
			right += width
			header += width
			made.nameY(names)
		} else {
			made.nameY(make([]string, len(names)))
		}
		made.drawHeader(part(row, header, right, row.Max.Y-titleHeight-headerHeight, row.Max.Y-titleHeight))
		made.Draw(part(row, left, right-panelGap, row.Min.Y, row.Max.Y-titleHeight-headerHeight))
		left = right
	}
	return nil
}

func part(c draw.Canvas, left, right, bottom, top vg.Length) draw.Canvas {
	return draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: left, Y: bottom}, Max: vg.Point{X: right, Y: top},
	}}
}

func style(size vg.Length, weight font.Weight, s shade) text.Style {
	return text.Style{
		Color: s.color(), Handler: plot.DefaultTextHandler,
		Font: plotfont.From(plotfont.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight}, size),
	}
}
