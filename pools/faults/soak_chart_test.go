package faults

import (
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

const (
	soakWidth    = 880 * vg.Length(1)
	soakMargin   = 14 * vg.Length(1)
	soakTitle    = 46 * vg.Length(1)
	panelHeight  = 170 * vg.Length(1)
	panelHeader  = 34 * vg.Length(1)
	panelGap     = 24 * vg.Length(1)
	panelsAcross = 2
	// moments is how many points a line has at most: more cannot be seen.
	moments = 120
)

// drawSoak writes a chart with one panel for each series.
func drawSoak(file string, result soaked, samples []sample) error {
	rows := (len(watched) + panelsAcross - 1) / panelsAcross
	height := 2*soakMargin + soakTitle + vg.Length(rows)*(panelHeight+panelGap) - panelGap
	heading := fmt.Sprintf("Soak of %v: %s", result.Lasted.Round(time.Second), chart.English.Sprintf(
		"%d requests, %d failed, %d sessions terminated, %d wrong answers", result.Requests, result.Failed, result.Terminated, result.WrongAnswers))
	unit, name := time.Minute, "Minutes"
	if result.Lasted < 3*unit {
		unit, name = time.Second, "Seconds"
	}
	svg, err := chart.SVG(soakWidth, height, heading, func(all draw.Canvas) error {
		top := height - soakMargin
		all.FillText(chart.Style(14, font.WeightBold, chart.Ink), vg.Point{X: soakMargin, Y: top - 13}, heading)
		all.FillText(chart.Style(10, font.WeightNormal, chart.Pale), vg.Point{X: soakMargin, Y: top - 31},
			name+" on the x axis. Gray: from the lowest sample to the highest. At the right: the medians of the second quarter and of the last.")
		width := (soakWidth - 2*soakMargin + panelGap) / panelsAcross
		for i, s := range watched {
			left := soakMargin + vg.Length(i%panelsAcross)*width
			panelTop := top - soakTitle - vg.Length(i/panelsAcross)*(panelHeight+panelGap)
			c := chart.Part(all, left, left+width-panelGap, panelTop-panelHeight, panelTop)
			if err := s.draw(c, result, samples, unit); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, svg, 0o644)
}

// draw writes the series' name, and its line below.
func (s series) draw(c draw.Canvas, result soaked, samples []sample, unit time.Duration) error {
	bold := chart.Style(12, font.WeightBold, chart.Ink)
	at := vg.Point{X: c.Min.X, Y: c.Max.Y - 12}
	c.FillText(bold, at, s.name)
	at.X += bold.Width(s.name) + 8
	c.FillText(chart.Style(10, font.WeightNormal, chart.Pale), at, s.unit)
	before, after := s.of(result.Early), s.of(result.Late)
	figures := chart.Style(11, font.WeightNormal, chart.Ink)
	figures.XAlign = text.XRight
	c.FillText(figures, vg.Point{X: c.Max.X, Y: c.Max.Y - 12}, s.figure(before)+" → "+s.figure(after))

	p, grid := chart.Plot()
	p.Add(grid)
	if err := s.addLine(p, samples, unit); err != nil {
		return err
	}
	p.X.Min, p.Y.Min = 0, 0
	if s.limit > 0 {
		if err := addLimit(p, s.limit); err != nil {
			return err
		}
	}
	p.Y.Max = max(1.15*p.Y.Max, 1)
	p.Draw(chart.Part(c, c.Min.X, c.Max.X, c.Min.Y, c.Max.Y-panelHeader+12))
	return nil
}

func (s series) figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "not measured"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	}
	return chart.English.Sprintf("%.0f", v)
}

// addLine draws what was typical at each moment, and around it what there was.
func (s series) addLine(p *plot.Plot, samples []sample, unit time.Duration) error {
	var line, above, below plotter.XYs
	n := min(moments, len(samples))
	for i := range n {
		part := samples[i*len(samples)/n : (i+1)*len(samples)/n]
		typical, low, high := s.of(medians(part)), math.Inf(1), math.Inf(-1)
		if math.IsNaN(typical) {
			continue
		}
		for _, one := range part {
			low, high = min(low, s.of(one)), max(high, s.of(one))
		}
		x := float64(part[len(part)/2].At) / float64(unit)
		line = append(line, plotter.XY{X: x, Y: typical})
		above = append(above, plotter.XY{X: x, Y: high})
		below = append(below, plotter.XY{X: x, Y: low})
	}
	if len(line) == 0 {
		return nil
	}
	for i := range below {
		above = append(above, below[len(below)-1-i])
	}
	band, err := plotter.NewPolygon(above)
	if err != nil {
		return err
	}
	band.Color, band.Width = chart.Gray.Color(), 0
	drawn, err := plotter.NewLine(line)
	if err != nil {
		return err
	}
	drawn.LineStyle = draw.LineStyle{Color: chart.Blue.Color(), Width: 1.25}
	p.Add(band, drawn)
	return nil
}

// addLimit is what must not be exceeded.
func addLimit(p *plot.Plot, limit float64) error {
	line, err := plotter.NewLine(plotter.XYs{{Y: limit}, {X: p.X.Max, Y: limit}})
	if err != nil {
		return err
	}
	line.LineStyle = draw.LineStyle{Color: chart.Amber.Color(), Width: 1, Dashes: []vg.Length{4, 3}}
	p.Add(line)
	return nil
}
