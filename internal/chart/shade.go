package chart

import (
	"fmt"
	"image/color"
)

// Shade is a color and what becomes of it in a dark scheme. The drawing has the
// light one, so that it is right too where nobody reads its style sheet.
type Shade struct{ Light, Dark string }

// The last four are legible on both papers, and differ in brightness too.
var (
	Paper = Shade{"#FFFFFF", "#0D1117"}
	Ink   = Shade{"#1F2328", "#E6EDF3"}
	Pale  = Shade{"#59636E", "#9DA7B3"} // axes and what is said beside
	Lines = Shade{"#D8DEE4", "#30363D"}
	Blue  = Shade{"#2F74D0", "#4C8FE8"}
	Amber = Shade{"#D9901A", "#E3A63C"}
	Gray  = Shade{"#A3ABB5", "#6C7682"}
	Red   = Shade{"#C93C37", "#F0706A"}
)

var shades = []Shade{Paper, Ink, Pale, Lines, Blue, Amber, Gray, Red}

// Color is the light one.
func (s Shade) Color() color.Color {
	var c color.NRGBA
	c.A = 0xff
	if _, err := fmt.Sscanf(s.Light, "#%02X%02X%02X", &c.R, &c.G, &c.B); err != nil {
		panic(err)
	}
	return c
}
