package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web"
)

const (
	estimateHeader = "              slots  per workspace      hits  p99 wait   refused  dials/s"
	estimateFormat = "%-12s %6d  %13d  %6.1f %%  %8s  %6.1f %%  %7.1f"
	lineLength     = 80
)

// write prints the estimates, what was measured, and the recommendation.
func (v capacityView) write(text *summary) {
	sample := ""
	if v.SampledOneIn > 1 {
		sample = fmt.Sprintf(", of one in %d workspaces", v.SampledOneIn)
	}
	text.line("%d requests in %v%s%s", v.Acquires, v.window().Round(time.Second), sample, v.until())
	if v.window() > 0 && len(v.Estimates)+len(v.WhatIf) > 0 { // else all figures are 0
		text.line("")
		text.line(estimateHeader)
		for _, e := range v.Estimates {
			v.line(text, v.nameOf(e), e)
		}
		v.line(text, "measured", v.Measured)
		if v.OtherEviction != nil {
			v.line(text, "by "+printable(v.OtherEviction.Eviction), *v.OtherEviction)
		}
		for _, e := range v.WhatIf {
			name := "what if"
			if e.Eviction != v.Present.Eviction {
				name += " " + e.Eviction
			}
			v.line(text, name, e)
		}
		text.line("")
		text.line("Slots are the workspaces': with %d of the system database they are", v.SystemShare)
		text.line("DB_MAX_CONNECTIONS.")
	}
	text.line("")
	for _, line := range wrapped(printable(v.Recommendation.Text), lineLength) {
		text.line("%s", line)
	}
}

func (v capacityView) window() time.Duration {
	return time.Duration(v.WindowMs * float64(time.Millisecond))
}

// until says when the requests end: of a busy pool that is minutes ago.
func (v capacityView) until() string {
	at, err := time.Parse(time.RFC3339, v.At)
	if err != nil {
		return "" // a server may say anything
	}
	return ", until " + at.UTC().Format("2006-01-02 15:04:05 UTC")
}

// nameOf is what an estimate is in the table; empty for one among others.
func (v capacityView) nameOf(e web.Estimate) string {
	switch {
	case e.Budget == v.Present.Budget && e.PerWorkspace == v.Present.PerWorkspace:
		return "now"
	case v.Recommendation.Verdict != string(model.TooLittleSeen) && e.Budget == v.Recommendation.Budget && e.PerWorkspace == v.Recommendation.PerWorkspace:
		return "recommended"
	}
	return ""
}

func (v capacityView) line(text *summary, name string, e web.Estimate) {
	wait := time.Duration(e.WaitP99Ms * float64(time.Millisecond))
	text.line(estimateFormat, name, e.Budget, e.PerWorkspace, 100*e.HitRatio, inShort(wait), 100*e.Refused, e.DialsPerSecond)
}

// inShort has two or three figures.
func inShort(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// wrapped are lines of at most so many characters, unless one word is longer.
func wrapped(text string, length int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > length {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
