package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
)

// writeSummary writes the report for people.
func writeSummary(out io.Writer, r *report) error {
	s := &summary{}
	s.line("")
	s.line("%s workspaces shared %s connections, at most %d each, for %s", grouped(r.Workspaces), grouped(r.WorkspaceBudget), r.WorkspaceCap, roundly(r.Seconds))

	s.section("Requests")
	s.figure("sent", grouped(r.Requests), "%s requests/s from %s workers", grouped(uint64(r.RequestsPerSecond)), grouped(r.Workers))
	s.figure("ok", grouped(r.OK), "")
	s.figure("cancelled", grouped(r.Errors[cancelled]), "on purpose, in the middle of a query")
	s.figure("failed", grouped(r.Failed), "")
	for _, kind := range slices.Sorted(maps.Keys(r.ErrorExamples)) {
		s.line("      %s %s, the first: %s", grouped(r.Errors[kind]), kind, r.ErrorExamples[kind])
	}
	s.figure("p50", milliseconds(r.P50Ms), "%s for the acquire alone", milliseconds(r.AcquireP50Ms))
	s.figure("p99", milliseconds(r.P99Ms), "%s for the acquire alone", milliseconds(r.AcquireP99Ms))

	s.section("Connections")
	s.figure("hits", grouped(r.Hits), "%.1f %% of acquires found an idle one of their workspace", 100*r.HitRatio)
	s.figure("hand-offs", grouped(r.HandOffs), "went from a request straight to the next one waiting")
	s.figure("dials", grouped(r.Dials), "opened")
	s.figure("evictions", grouped(r.Evictions), "closed for another workspace's sake")

	s.section("What the server saw")
	s.figure("budget", grouped(r.Budget), "%d for workspaces, %d for the system database", r.WorkspaceBudget, r.Budget-r.WorkspaceBudget)
	s.figure("peak", grouped(r.PeakServerBackends), "connections at once, in %s looks at pg_stat_activity", grouped(r.ServerSamples))
	s.figure("refused", grouped(r.ServerRefusals), "logins for lack of room")
	s.figure("left over", grouped(r.BackendsAfterClose), "after the manager was closed")
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
