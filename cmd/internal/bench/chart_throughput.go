package bench

import (
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

// throughput shows the medians and, as whiskers, the range of the rounds.
func throughput(bars []ChartBar) (panel, error) {
	p := newPanel("Throughput", "requests/s: median of the rounds, and their range")
	values := make([]float64, len(bars))
	for i, bar := range bars {
		values[i] = bar.RequestsPerSecond
	}
	if err := p.bars(values, 18, 0, chart.Blue); err != nil {
		return p, err
	}
	for i, bar := range bars {
		y := row(bars, i)
		if !known(bar.RequestsPerSecond) {
			if err := p.label(notMeasured, 0, y, besideBar, 10, chart.Pale); err != nil {
				return p, err
			}
			continue
		}
		end := bar.RequestsPerSecond
		if known(bar.Low) && known(bar.High) && bar.Low < bar.High {
			if err := p.whiskers(bar.Low, bar.High, y); err != nil {
				return p, err
			}
			end = max(end, bar.High)
		}
		if err := p.label(chart.English.Sprintf("%.0f", bar.RequestsPerSecond), end, y, besideBar, 11, chart.Ink); err != nil {
			return p, err
		}
		if bar.Errors > 0 {
			noun := "errors"
			if bar.Errors == 1 {
				noun = "error"
			}
			if err := p.label(chart.English.Sprintf("%d %s", bar.Errors, noun), end, y, besideBar.Add(vg.Point{Y: -13}), 10, chart.Red); err != nil {
				return p, err
			}
		}
	}
	p.X.Min = 0
	p.X.Max = max(p.X.Max, 1)
	p.X.Tick.Marker = chart.RoundTicks{}
	return p, nil
}

func (p panel) whiskers(low, high, y float64) error {
	bars, err := plotter.NewXErrorBars(struct {
		plotter.XYs
		plotter.XErrors
	}{plotter.XYs{{X: low, Y: y}}, plotter.XErrors{{Low: 0, High: high - low}}})
	if err != nil {
		return err
	}
	bars.LineStyle = draw.LineStyle{Color: chart.Ink.Color(), Width: 1}
	bars.CapWidth = 7
	p.Add(bars)
	return nil
}
