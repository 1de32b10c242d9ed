package planner

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

var autoChart = flag.String("auto-chart", "", "draw what DB_AUTO_BUDGET makes of a load that triples into this file")

// Of docs/operations.md: a load that triples and falls back, with the lower bound, with the
// upper one, and between them. The pool is the decision core in virtual time, whose dials take
// 3 to 9 ms.
//
//	go test ./model/planner -run AutoBudgetIsDrawn -v -auto-chart ../../docs/auto-budget.svg
func TestAnAutoBudgetIsDrawn(t *testing.T) {
	if *autoChart == "" {
		t.Skip("-auto-chart names no file")
	}
	const (
		lowest, highest = 30, 150
		triples, falls  = 40 * time.Minute, 60 * time.Minute
		end             = 160 * time.Minute
	)
	requests := func() []request {
		return mixed(zipfRequests(1, 0.6, 8, 50, 400*time.Millisecond, end),
			zipfRequests(2, 0.6, 8, 100, 400*time.Millisecond, falls-triples), triples)
	}
	var budgets, busy plotter.XYs
	auto := NewAutoBudget(lowest, highest, lowest)
	for _, way := range []struct {
		name   string
		budget int
		decide func(time.Duration, Observation) int
	}{
		{fmt.Sprintf("always %d", lowest), lowest, func(time.Duration, Observation) int { return lowest }},
		{fmt.Sprintf("always %d", highest), highest, func(time.Duration, Observation) int { return highest }},
		{fmt.Sprintf("%d..%d", lowest, highest), lowest, func(at time.Duration, o Observation) int {
			budget, reason, changed := auto.Step(at, o)
			if changed {
				t.Logf("%v: %s", at, reason)
			}
			if at%(10*time.Second) == 0 {
				busy = append(busy, plotter.XY{X: at.Minutes(), Y: float64(o.Counts.Busy())})
			}
			budgets = append(budgets, plotter.XY{X: at.Minutes(), Y: float64(budget)})
			return budget
		}},
	} {
		short, sum := 0, 0
		l, _ := runBudget(t, requests(), way.budget, 50, end, func(at time.Duration, o Observation) int {
			if o.WaitingForRoom > 0 {
				short++
			}
			sum += o.Budget
			return way.decide(at, o)
		})
		calm, calmWait := between(l.answers, 10*time.Minute, triples)
		peak, peakWait := between(l.answers, triples, falls)
		t.Logf("| %s | %d | %d s | %.1f %%, %v | %.1f %%, %v |", way.name, int(math.Round(float64(sum)/(end.Seconds()-1))), short,
			100*calm, calmWait.Round(100*time.Microsecond), 100*peak, peakWait.Round(100*time.Microsecond))
	}
	drawAutoBudget(t, *autoChart, budgets, busy)
}

// between is the hit ratio and the 99th percentile of the waits of what arrived between the two.
func between(answers []Acquire, from, to time.Duration) (hitRatio float64, p99 time.Duration) {
	var waits []Micros
	hits := 0
	for _, a := range answers {
		if a.At >= from && a.At < to {
			waits = append(waits, a.Waited)
			if a.Outcome == Hit {
				hits++
			}
		}
	}
	slices.Sort(waits)
	return float64(hits) / float64(len(waits)), waits[len(waits)*99/100].Duration()
}

func drawAutoBudget(t *testing.T, file string, budgets, busy plotter.XYs) {
	const width, height, margin, header = vg.Length(880), vg.Length(300), vg.Length(14), vg.Length(46)
	const heading = "A load that triples after 40 minutes and falls back after 60, with an automatic budget"
	svg, err := chart.SVG(width, height, heading, func(all draw.Canvas) error {
		at := vg.Point{X: margin, Y: height - margin - 13}
		all.FillText(chart.Style(14, font.WeightBold, chart.Ink), at, heading)
		at.Y -= 18
		all.FillText(chart.Style(10, font.WeightNormal, chart.Pale), at, "Slots over minutes. Blue: the budget. Gray: how many of them were busy.")
		p := plot.New()
		p.BackgroundColor = nil
		for _, axis := range []*plot.Axis{&p.X, &p.Y} {
			style := chart.Style(9, font.WeightNormal, chart.Pale)
			style.XAlign, style.YAlign = axis.Tick.Label.XAlign, axis.Tick.Label.YAlign
			axis.Tick.Label, axis.Tick.Marker = style, chart.RoundTicks{}
			axis.Width, axis.Tick.Width, axis.Tick.Length, axis.Padding = 0, 0, 4, 0
		}
		grid := plotter.NewGrid()
		grid.Vertical.Width = 0
		grid.Horizontal = draw.LineStyle{Color: chart.Lines.Color(), Width: 0.75}
		p.Add(grid)
		for _, l := range []struct {
			of    plotter.XYs
			shade chart.Shade
			width vg.Length
		}{{busy, chart.Gray, 1}, {corners(budgets), chart.Blue, 1.75}} {
			line, err := plotter.NewLine(l.of)
			if err != nil {
				return err
			}
			line.LineStyle = draw.LineStyle{Color: l.shade.Color(), Width: l.width}
			p.Add(line)
		}
		p.X.Min, p.Y.Min = 0, 0
		p.Y.Max *= 1.1
		p.Draw(chart.Part(all, margin, width-margin, margin, height-margin-header))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, svg, 0o644); err != nil {
		t.Fatal(err)
	}
}

// corners are the points where a line of steps changes, before and after.
func corners(steps plotter.XYs) (line plotter.XYs) {
	for i, p := range steps {
		if i == 0 || i == len(steps)-1 || p.Y != steps[i-1].Y {
			if i > 0 {
				line = append(line, plotter.XY{X: p.X, Y: steps[i-1].Y})
			}
			line = append(line, p)
		}
	}
	return line
}
