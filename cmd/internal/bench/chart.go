package bench

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenantpool/tenantpool/internal/chart"
)

// ChartData is what a chart shows of one workload.
type ChartData struct {
	Workload string
	Bars     []ChartBar
}

// ChartBar is what one strategy came to. A figure that is not known is NaN; a
// percentile of 0 is not known either.
type ChartBar struct {
	Strategy string
	// RequestsPerSecond is the median of the rounds, Low and High their range.
	RequestsPerSecond, Low, High float64
	P50Ms, P99Ms, P999Ms         float64
	// The ratios are from 0 to 1.
	HitRatio, LRUHitRatio, BeladyHitRatio float64
	Errors                                int
}

// WriteChart draws the workloads, one below the other, and writes the result to
// the file: an HTML page or an SVG, by the file's ending. It needs nothing from
// elsewhere to be looked at, and follows the reader's light or dark scheme.
func WriteChart(file string, data []ChartData) error {
	format, err := chartFormat(file)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return fmt.Errorf("draw %s: there is no workload to draw: run at least one", file)
	}
	for _, workload := range data {
		if len(workload.Bars) == 0 {
			return fmt.Errorf("draw %s: workload %q has no strategy to draw: run at least one", file, workload.Workload)
		}
	}
	content, err := format(data)
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

// chartFormat knows how to draw a file. Ask it before a long run.
func chartFormat(file string) (func([]ChartData) ([]byte, error), error) {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".svg":
		return drawSVG, nil
	case ".html", ".htm":
		return drawPage, nil
	}
	return nil, fmt.Errorf("draw %s: its ending says neither HTML nor SVG: use .html or .svg", file)
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
func drawPage(data []ChartData) ([]byte, error) {
	var charts []template.HTML
	for i := range data {
		svg, err := drawSVG(data[i : i+1])
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
