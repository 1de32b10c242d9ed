// Package chart is how the project's charts look: their colors, their letters, and
// what makes of a drawing an SVG that can be read on light and on dark paper, with
// any font, and by those who do not see it. What is drawn is for others to decide.
//
// It lies here and not in cmd/internal because the tests of pools/faults draw too, and
// Go lets only what is below cmd import cmd/internal.
package chart

import (
	"bytes"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	plotfont "gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// SVG is a drawing of that size on paper. The title names it for those who do not
// see it. Only the shades of this package may be drawn with.
func SVG(width, height vg.Length, title string, paint func(draw.Canvas) error) ([]byte, error) {
	canvas := vgsvg.New(width, height)
	all := draw.New(canvas)
	all.FillPolygon(Paper.Color(), []vg.Point{{}, {X: width}, {X: width, Y: height}, {Y: height}})
	if err := paint(all); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return finish(out.Bytes(), title), nil
}

// Part is a rectangle of a canvas.
func Part(c draw.Canvas, left, right, bottom, top vg.Length) draw.Canvas {
	return draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: left, Y: bottom}, Max: vg.Point{X: right, Y: top},
	}}
}

// Style is how words are written.
func Style(size vg.Length, weight font.Weight, s Shade) text.Style {
	return text.Style{
		Color: s.Color(), Handler: plot.DefaultTextHandler,
		Font: plotfont.From(plotfont.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight}, size),
	}
}
