package chart

import (
	"bytes"
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
)

// finish adds what the library does not draw: a name for those who do not see the
// picture, the width of each text, and the colors of a dark scheme.
func finish(svg []byte, title string) []byte {
	var s strings.Builder
	fmt.Fprintf(&s, "\n<title>%s</title>\n", html.EscapeString(title))
	s.WriteString("<style>\ntext { font-family: 'Liberation Sans', Arimo, Arial, Helvetica, sans-serif !important; }\n")
	s.WriteString("@media (prefers-color-scheme: dark) {\n")
	for _, shade := range shades {
		for _, property := range []string{"fill", "stroke"} {
			fmt.Fprintf(&s, "[style*=\"%s:%s\"] { %[1]s: %[3]s !important; }\n", property, shade.Light, shade.Dark)
		}
	}
	s.WriteString("}\n</style>")
	start := bytes.Index(svg, []byte("<svg"))
	end := start + bytes.IndexByte(svg[start:], '>') + 1
	return bytes.Join([][]byte{svg[:end], []byte(s.String()), fixWidths(svg[end:])}, nil)
}

var textElement = regexp.MustCompile(`<text ([^>]*font-weight:(\w+);[^>]*font-size:([\d.]+)px[^>]*)>([^<]*)</text>`)

// fixWidths tells each text how wide it is in the font that it was laid out with,
// so that it stays in its place where only other fonts are there.
func fixWidths(svg []byte) []byte {
	return textElement.ReplaceAllFunc(svg, func(element []byte) []byte {
		match := textElement.FindSubmatch(element)
		size, err := strconv.ParseFloat(string(match[3]), 64)
		if err != nil {
			return element
		}
		weight := font.WeightNormal
		if string(match[2]) == "bold" {
			weight = font.WeightBold
		}
		width := Style(vg.Length(size), weight, Ink).Width(html.UnescapeString(string(match[4])))
		return fmt.Appendf(nil, `<text textLength="%.2f" lengthAdjust="spacingAndGlyphs" %s>%s</text>`, width.Points(), match[1], match[4])
	})
}
