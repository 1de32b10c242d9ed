package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/tenantpool/tenantpool/cmd/figures"
)

// writeSummary writes the report for people.
func writeSummary(out io.Writer, r *report) error {
	s := &summary{}
	s.line("")
	s.line("%s workspaces shared %s connections, at most %d each, for %s", figures.Grouped(r.Workspaces), figures.Grouped(r.WorkspaceBudget), r.WorkspaceCap, figures.Roundly(r.Seconds))

	s.section("Requests")
	s.figure("sent", figures.Grouped(r.Requests), "%s requests/s from %s workers", figures.Grouped(uint64(r.RequestsPerSecond)), figures.Grouped(r.Workers))
	s.figure("ok", figures.Grouped(r.OK), "")
	s.figure("cancelled", figures.Grouped(r.Errors[cancelled]), "on purpose, in the middle of a query")
	s.figure("failed", figures.Grouped(r.Failed), "")
	for _, kind := range slices.Sorted(maps.Keys(r.ErrorExamples)) {
		s.line("      %s %s, the first: %s", figures.Grouped(r.Errors[kind]), kind, r.ErrorExamples[kind])
	}
	s.figure("p50", figures.Milliseconds(r.P50Ms), "%s for the acquire alone", figures.Milliseconds(r.AcquireP50Ms))
	s.figure("p99", figures.Milliseconds(r.P99Ms), "%s for the acquire alone", figures.Milliseconds(r.AcquireP99Ms))

	s.section("Connections")
	s.figure("hits", figures.Grouped(r.Hits), "%.1f %% of acquires found an idle one of their workspace", 100*r.HitRatio)
	s.figure("hand-offs", figures.Grouped(r.HandOffs), "went from a request straight to the next one waiting")
	s.figure("dials", figures.Grouped(r.Dials), "opened")
	s.figure("evictions", figures.Grouped(r.Evictions), "closed for another workspace's sake")

	s.section("What the server saw")
	s.figure("budget", figures.Grouped(r.Budget), "%d for workspaces, %d for the system database", r.WorkspaceBudget, r.Budget-r.WorkspaceBudget)
	s.figure("peak", figures.Grouped(r.PeakServerBackends), "connections at once, in %s looks at pg_stat_activity", figures.Grouped(r.ServerSamples))
	s.figure("refused", figures.Grouped(r.ServerRefusals), "logins for lack of room")
	s.figure("left over", figures.Grouped(r.BackendsAfterClose), "after the manager was closed")
	s.line("")
	switch {
	case r.verdict() != nil: // is the error
	case r.Drained:
		s.line("An operator drained the manager. Every request reached its own workspace's database.")
	case r.LimitsChanged:
		s.line("An operator changed the limits, so nothing follows from the server's count. Every request reached its own workspace's database.")
	default:
		s.line("The budget was never exceeded, and every request reached its own workspace's database.")
	}
	_, err := out.Write(s.Bytes())
	return err
}

type summary struct{ bytes.Buffer }

func (s *summary) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

func (s *summary) section(title string) { s.line("\n  %s", title) }

func (s *summary) figure(name, value, format string, args ...any) {
	line := fmt.Sprintf("    %-10s %12s   %s", name, value, fmt.Sprintf(format, args...))
	s.WriteString(string(bytes.TrimRight([]byte(line), " ")) + "\n")
}
