package bench

import (
	"fmt"
	"strings"

	"golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

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
	var names []string
	for _, workload := range data {
		height += rowHeight(workload) + rowGap
		names = append(names, workload.Workload)
	}
	title := "Requests/s, latency and hit ratio by strategy: " + strings.Join(names, "; ")
	return chart.SVG(chartWidth, height, title, func(all draw.Canvas) error {
		top := height - margin
		for _, workload := range data {
			bottom := top - rowHeight(workload)
			row := chart.Part(all, margin, chartWidth-margin, bottom, top)
			if err := drawRow(row, workload); err != nil {
				return fmt.Errorf("workload %q: %w", workload.Workload, err)
			}
			top = bottom - rowGap
		}
		return nil
	})
}

func drawRow(row draw.Canvas, workload ChartData) error {
	row.FillText(chart.Style(16, font.WeightBold, chart.Ink), vg.Point{X: row.Min.X, Y: row.Max.Y - 16}, workload.Workload)
	names := names(workload.Bars)
	var width vg.Length
	for _, name := range names {
		width = max(width, chart.Style(11, font.WeightNormal, chart.Ink).Width(name))
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
		made.drawHeader(chart.Part(row, header, right, row.Max.Y-titleHeight-headerHeight, row.Max.Y-titleHeight))
		made.Draw(chart.Part(row, left, right-panelGap, row.Min.Y, row.Max.Y-titleHeight-headerHeight))
		left = right
	}
	return nil
}
