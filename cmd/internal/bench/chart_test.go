package bench

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

func exampleCharts() *Result {
	of := func(median float64) Spread { return Spread{median, median, median} }
	served := func(name string, perSecond Spread, p50, p99, p999, hits, lru, belady float64, failed uint64) StrategyReport {
		return StrategyReport{Name: name, Failed: failed, Figures: Figures[Spread]{
			RequestsPerSecond: perSecond, P50Ms: of(p50), P99Ms: of(p99), P999Ms: of(p999),
			HitRatio: of(hits), LRUHitRatio: of(lru), BeladyHitRatio: of(belady),
		}}
	}
	return &Result{Workloads: []Report{
		{Workload: "zipf", What: "uneven", Workspaces: 200, Strategies: []StrategyReport{
			served("tenantpool", Spread{2600, 2488, 2714}, 12.4, 96, 152, 0.874, 0.879, 0.921, 0),
			served("pgxpool per workspace", Spread{1300, 1250, 1355}, 28, 240, 1515, 0.93, 0.88, 0.922, 2974),
			served("PgBouncer", Spread{650, 570, 701}, 0, 0, 0, 0.5, 0.5, 0.5, 1),
			{Name: "pgpool", Skipped: "it is not installed"},
		}},
		{Workload: "all-fit", What: "even", Workspaces: 30, Strategies: []StrategyReport{
			served("tenantpool", Spread{27900, 27100, 28300}, 0.41, 1.9, 4.2, 1, 1, 1, 0),
		}},
		{Workload: "uniform", Strategies: []StrategyReport{{Name: "pgpool", Skipped: "it is not installed"}}},
	}}
}

// drawn is what a chart's SVG says, and the corners of its filled paths by color.
type drawn struct {
	texts []string
	fills map[string][][]point
}

type point struct{ x, y float64 }

func written(t *testing.T, ending string, r *Result) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chart"+ending)
	if err := r.WriteChart(file); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func read(t *testing.T, svg string) drawn {
	t.Helper()
	d := drawn{fills: map[string][][]point{}}
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attributes := map[string]string{}
		for _, attribute := range element.Attr {
			attributes[attribute.Name.Local] = attribute.Value
		}
		switch element.Name.Local {
		case "text":
			var text string
			if err := decoder.DecodeElement(&text, &element); err != nil {
				t.Fatal(err)
			}
			d.texts = append(d.texts, text)
			if attributes["textLength"] == "" {
				t.Errorf("text %q has no fixed width", text)
			}
		case "path":
			if color, ok := strings.CutPrefix(attributes["style"], "fill:#"); ok {
				d.fills[color] = append(d.fills[color], corners(attributes["d"]))
			}
		}
	}
}

func corners(path string) (points []point) {
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("MLZ", r) }) {
		var p point
		if _, err := fmt.Sscanf(step, "%f,%f", &p.x, &p.y); err == nil {
			points = append(points, p)
		}
	}
	return points
}

func TestAChartSaysAllFigures(t *testing.T) {
	d := read(t, written(t, ".svg", exampleCharts()))
	for _, want := range []string{
		"zipf: 200 workspaces, uneven", "all-fit: 30 workspaces, even", "Throughput", "Latency", "Hit ratio",
		"tenantpool", "pgxpool per workspace", "PgBouncer",
		"2,600", "1,300", "650", "2,974 errors", "1 error",
		"12.4 / 96 / 152", "28 / 240 / 1,515", "0.41 / 1.9 / 4.2",
		"87.4", "87.9", "92.1", "not measured", "100.0",
		"measured", "exact LRU", "Belady's optimum", "p50", "p99", "p99.9",
	} {
		if !slices.Contains(d.texts, want) {
			t.Errorf("the chart does not say %q; it says %q", want, d.texts)
		}
	}
	if slices.Contains(d.texts, "0 errors") {
		t.Error("the chart speaks of no errors")
	}
}

func TestABarIsAsLongAsItsFigureAndTheFirstStrategyIsOnTop(t *testing.T) {
	r := exampleCharts()
	r.Workloads = r.Workloads[:1]
	d := read(t, written(t, ".svg", r))
	// The bars of the throughput are 18 points thick, and are drawn from the
	// bottom to the top: 650, 1300, 2600.
	var lengths, heights []float64
	for _, c := range d.fills["2F74D0"] {
		if len(c) == 4 && math.Abs(c[1].y-c[0].y-18) < 0.1 {
			lengths = append(lengths, c[2].x-c[0].x)
			heights = append(heights, c[0].y)
		}
	}
	if len(lengths) != 3 {
		t.Fatalf("bars of the lengths %v, want 3", lengths)
	}
	if !slices.IsSorted(heights) {
		t.Errorf("bars at %v, want them from the bottom to the top", heights)
	}
	for i, want := range []float64{0.25, 0.5, 1} {
		if got := lengths[i] / lengths[2]; math.Abs(got-want) > 0.01 {
			t.Errorf("bar %d has %.3f of the longest one's length, want %.3f", i, got, want)
		}
	}
}

func TestALogarithmicAxisHasItsDecadesAtEqualDistances(t *testing.T) {
	ticks := powersOfTen{}.Ticks(decades(0.3, 1515))
	var labels []string
	for _, tick := range ticks {
		labels = append(labels, tick.Label)
	}
	if want := []string{"0.1", "1", "10", "100", "1,000", "10,000"}; !slices.Equal(labels, want) {
		t.Errorf("ticks %q, want %q", labels, want)
	}
	for _, c := range []struct{ low, high, from, to float64 }{
		{10, 100, 10, 100}, {10, 10, 10, 100}, {0.02, 0.03, 0.01, 0.1},
		{math.Inf(1), math.Inf(-1), 1, 10}, // nothing was measured
	} {
		if from, to := decades(c.low, c.high); from != c.from || to != c.to {
			t.Errorf("decades(%v, %v) = %v, %v, want %v, %v", c.low, c.high, from, to, c.from, c.to)
		}
	}
}

func TestMillisecondsHaveThreeDigitsAndNoExponent(t *testing.T) {
	for ms, want := range map[float64]string{
		0.0004: "<0.001", 0.0123: "0.0123", 0.41: "0.41", 12.44: "12.4", 99.96: "100", 152.4: "152", 12345: "12,345",
	} {
		if got := stage.Milliseconds(ms); got != want {
			t.Errorf("%v: %q, want %q", ms, got, want)
		}
	}
}

func TestAStrategyThatServedNobodyHasNoLatency(t *testing.T) {
	d := read(t, written(t, ".svg", &Result{Workloads: []Report{{Strategies: []StrategyReport{{Name: "s", Failed: 7}}}}}))
	for _, want := range []string{"7 errors", "not measured", "0", "0.0"} {
		if !slices.Contains(d.texts, want) {
			t.Errorf("the chart does not say %q; it says %q", want, d.texts)
		}
	}
}

func TestAPageShowsEachWorkloadAndNeedsNothingFromElsewhere(t *testing.T) {
	html := written(t, ".html", exampleCharts())
	if n := strings.Count(html, "<svg"); n != 2 {
		t.Errorf("%d drawings, want one for each of 2 workloads", n)
	}
	for _, name := range []string{">zipf: 200 workspaces, uneven</text>", ">all-fit: 30 workspaces, even</text>"} {
		if !strings.Contains(html, name) {
			t.Errorf("the page has no %q", name)
		}
	}
	for _, namespace := range []string{`xmlns="http://www.w3.org/2000/svg"`, `xmlns:xlink="http://www.w3.org/1999/xlink"`} {
		html = strings.ReplaceAll(html, namespace, "")
	}
	for _, outside := range []string{"http:", "https:", "//", "<script", "<link", "src=", "url(", "@import", "<?xml"} {
		if strings.Contains(html, outside) {
			t.Errorf("the page has %q in it", outside)
		}
	}
}

func TestChartsHaveADarkScheme(t *testing.T) {
	for _, ending := range []string{".svg", ".html"} {
		content := written(t, ending, exampleCharts())
		_, dark, _ := strings.Cut(content, "@media (prefers-color-scheme: dark)")
		for _, rule := range []string{
			`[style*="fill:#FFFFFF"] { fill: #0D1117 !important; }`,
			`[style*="fill:#1F2328"] { fill: #E6EDF3 !important; }`,
			`[style*="stroke:#D8DEE4"] { stroke: #30363D !important; }`,
		} {
			if !strings.Contains(dark, rule) {
				t.Errorf("%s: no rule %q for the dark", ending, rule)
			}
		}
		for _, match := range regexp.MustCompile(`(?:fill|stroke):(#[^;"]*)`).FindAllStringSubmatch(content, -1) {
			if !strings.Contains(dark, fmt.Sprintf(`[style*="%s"]`, match[0])) {
				t.Errorf("%s: color %s has no dark counterpart", ending, match[1])
			}
		}
	}
}

func TestNamesInAChartAreNotMarkup(t *testing.T) {
	data := exampleCharts()
	first := &data.Workloads[0]
	first.What = `<script>alert("w")</script>`
	first.Strategies[0].Name = `a & b <i>`
	for _, ending := range []string{".svg", ".html"} {
		content := written(t, ending, data)
		if strings.Contains(content, "<script") || strings.Contains(content, "<i>") {
			t.Errorf("%s: a name became markup", ending)
		}
		if ending == ".svg" {
			d := read(t, content)
			for _, want := range []string{first.title(), first.Strategies[0].Name} {
				if !slices.Contains(d.texts, want) {
					t.Errorf("the chart does not say %q; it says %q", want, d.texts)
				}
			}
		}
	}
}

func TestAChartThatCannotBeDrawnOrWrittenSaysWhy(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		file string
		data *Result
		want string
	}{
		{filepath.Join(dir, "chart.png"), exampleCharts(), "chart.png: its ending says neither HTML nor SVG: use .html or .svg"},
		{filepath.Join(dir, "chart"), exampleCharts(), "its ending says neither HTML nor SVG"},
		{filepath.Join(dir, "a.svg"), &Result{}, "no strategy had a turn"},
		{filepath.Join(dir, "b.svg"), &Result{Workloads: exampleCharts().Workloads[2:]}, "no strategy had a turn"},
		{filepath.Join(dir, "missing", "chart.svg"), exampleCharts(), "name a file that can be written, in a directory that exists"},
	} {
		err := c.data.WriteChart(c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.file, err, c.want)
		}
	}
	if err := exampleCharts().WriteChart(filepath.Join(dir, "missing", "chart.svg")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v hides its cause", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("files %v are left, %v", files, err)
	}
}
