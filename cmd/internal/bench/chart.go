package bench

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/tenantpool/tenantpool/internal/chart"
)

// WriteChart draws the workloads, one below the other, and writes the result to
// the file: an HTML page or an SVG, by the file's ending. It needs nothing from
// elsewhere to be looked at, and follows the reader's light or dark scheme.
func (r *Result) WriteChart(file string) error {
	if err := CheckChart(file); err != nil {
		return err
	}
	var drawn []Report
	for _, w := range r.Workloads {
		if len(w.served()) > 0 {
			drawn = append(drawn, w)
		}
	}
	if len(drawn) == 0 {
		return fmt.Errorf("draw %s: no strategy had a turn: run at least one", file)
	}
	format := drawSVG
	if !isSVG(file) {
		format = drawPage
	}
	content, err := format(drawn)
	if err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // the rest is said here
		}
		return fmt.Errorf("write the chart %s: %w: name a file that can be written, in a directory that exists", file, err)
	}
	return nil
}

// CheckChart tells whether a chart can be written to a file of that name. Ask it
// before a long run.
func CheckChart(file string) error {
	if ending := strings.ToLower(filepath.Ext(file)); !isSVG(file) && ending != ".html" && ending != ".htm" {
		return fmt.Errorf("draw %s: its ending says neither HTML nor SVG: use .html or .svg", file)
	}
	return nil
}

func isSVG(file string) bool { return strings.EqualFold(filepath.Ext(file), ".svg") }

// served are the strategies that had turns.
func (r Report) served() (all []StrategyReport) {
	for _, s := range r.Strategies {
		if s.Skipped == "" {
			all = append(all, s)
		}
	}
	return all
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tenantpool bench</title>
<style>
:root { color-scheme: light dark; }
body { margin: 2rem auto; padding: 0 1rem; max-width: 90rem; font-family: Arial, Helvetica, sans-serif;
  color: light-dark({{.Ink.Light}}, {{.Ink.Dark}}); background: light-dark({{.Paper.Light}}, {{.Paper.Dark}}); }
section { margin: 2rem 0; overflow-x: auto; }
svg { display: block; width: 100%; min-width: 50rem; height: auto; }
</style>
</head>
<body>
<h1>tenantpool bench</h1>
{{range .Charts}}<section>
{{.}}</section>
{{end}}</body>
</html>
`))

// drawPage puts each workload's SVG into one page.
func drawPage(all []Report) ([]byte, error) {
	var charts []template.HTML
	for i := range all {
		svg, err := drawSVG(all[i : i+1])
		if err != nil {
			return nil, err
		}
		_, inline, _ := bytes.Cut(svg, []byte("?>\n")) // a page has no XML declaration inside
		charts = append(charts, template.HTML(inline))
	}
	var out bytes.Buffer
	err := page.Execute(&out, map[string]any{"Charts": charts, "Ink": chart.Ink, "Paper": chart.Paper})
	return out.Bytes(), err
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

func (r Report) height() vg.Length {
	return titleHeight + headerHeight + vg.Length(len(r.served()))*barHeight + axisHeight
}

// drawSVG draws a row of three panels for each workload. They share the names of
// the strategies, which stand left of the first.
func drawSVG(all []Report) ([]byte, error) {
	height := 2*margin - rowGap
	var titles []string
	for _, r := range all {
		height += r.height() + rowGap
		titles = append(titles, r.title())
	}
	title := "Requests/s, latency and hit ratio by strategy: " + strings.Join(titles, "; ")
	return chart.SVG(chartWidth, height, title, func(whole draw.Canvas) error {
		top := height - margin
		for _, r := range all {
			bottom := top - r.height()
			r.draw(chart.Part(whole, margin, chartWidth-margin, bottom, top))
			top = bottom - rowGap
		}
		return nil
	})
}

func (r Report) draw(row draw.Canvas) {
	row.FillText(chart.Style(16, font.WeightBold, chart.Ink), vg.Point{X: row.Min.X, Y: row.Max.Y - 16}, r.title())
	strategies := r.served()
	names := make([]string, len(strategies))
	var width vg.Length
	for i, s := range strategies {
		names[i] = s.Name
		width = max(width, chart.Style(11, font.WeightNormal, chart.Ink).Width(s.Name))
	}
	left, rest := row.Min.X, row.Size().X-width
	for i, p := range []struct {
		panel
		share vg.Length
	}{{throughput(strategies), 0.32}, {latencies(strategies), 0.36}, {hitRatios(strategies), 0.32}} {
		right := left + p.share*rest
		header := left
		if i == 0 {
			right += width
			header += width
			p.nameY(names)
		} else {
			p.nameY(make([]string, len(names)))
		}
		p.drawHeader(chart.Part(row, header, right, row.Max.Y-titleHeight-headerHeight, row.Max.Y-titleHeight))
		p.Draw(chart.Part(row, left, right-panelGap, row.Min.Y, row.Max.Y-titleHeight-headerHeight))
		left = right
	}
}
