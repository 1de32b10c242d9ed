package chart

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

func TestADrawingHasATitleFixedWidthsAndADarkScheme(t *testing.T) {
	content, err := SVG(200, 100, `a & "b" <i>`, func(c draw.Canvas) error {
		c.FillText(Style(10, font.WeightNormal, Red), vg.Point{X: 5, Y: 5}, "words")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	svg := string(content)
	for _, want := range []string{
		"<title>a &amp; &#34;b&#34; &lt;i&gt;</title>", `<text textLength="`, "fill:#C93C37", "@media (prefers-color-scheme: dark)",
		`[style*="fill:#C93C37"] { fill: #F0706A !important; }`, "fill:#FFFFFF",
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("there is no %s in:\n%s", want, svg)
		}
	}
}

func TestEachShadeHasADarkCounterpart(t *testing.T) {
	for _, s := range []Shade{Paper, Ink, Pale, Lines, Blue, Amber, Gray, Red} {
		if !slices.Contains(shades, s) {
			t.Errorf("%v is not among the shades of a style sheet", s)
		}
	}
}

func TestTicksAreRoundAndFew(t *testing.T) {
	for high, want := range map[float64][]string{
		0.35:  {"0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35"},
		1:     {"0", "0.25", "0.5", "0.75", "1"},
		2714:  {"0", "500", "1,000", "1,500", "2,000", "2,500"},
		7000:  {"0", "1,000", "2,000", "3,000", "4,000", "5,000", "6,000", "7,000"},
		90000: {"0", "20,000", "40,000", "60,000", "80,000"},
	} {
		var got []string
		for _, tick := range (RoundTicks{}).Ticks(0, high) {
			got = append(got, tick.Label)
		}
		if !slices.Equal(got, want) {
			t.Errorf("up to %v: ticks %q, want %q", high, got, want)
		}
	}
}
