package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

// report is what a demo came to. Its JSON is for programs to read: fields may be
// added, but keep their names and meaning.
type report struct {
	Workspaces int     `json:"workspaces"`
	Budget     int     `json:"budget"` // of the manager, the system database's share included
	Workers    int     `json:"workers"`
	Zipf       float64 `json:"zipf"`
	// WorkspaceBudget is what the workspaces share, WorkspaceCap what one of
	// them may have.
	WorkspaceBudget int `json:"workspaceBudget"`
	WorkspaceCap    int `json:"workspaceCap"`

	Seconds           float64 `json:"seconds"`
	Requests          uint64  `json:"requests"`
	RequestsPerSecond float64 `json:"requestsPerSecond"`
	OK                uint64  `json:"ok"`
	// The others. Those of the kind cancelled were meant to be; Failed is how many
	// were not.
	stage.Failures
	Failed uint64 `json:"failed"`

	// Latencies of the requests that went well, from acquire to release, and of
	// the acquires that got a connection.
	P50Ms        float64 `json:"p50Ms"`
	P99Ms        float64 `json:"p99Ms"`
	AcquireP50Ms float64 `json:"acquireP50Ms"`
	AcquireP99Ms float64 `json:"acquireP99Ms"`

	// What the manager counted during the traffic, on workspaces. HitRatio is
	// the hits among the acquires that got a connection, from 0 to 1.
	Hits      uint64  `json:"hits"`
	HitRatio  float64 `json:"hitRatio"`
	HandOffs  uint64  `json:"handOffs"`
	Dials     uint64  `json:"dials"`
	Evictions uint64  `json:"evictions"`

	// What the server counted, from the first workspace's creation to the end.
	// ServerRefusals are logins for which it had no room (SQLSTATE 53300), by
	// its log or the manager's count, whichever is more.
	PeakServerBackends int    `json:"peakServerBackends"`
	ServerRefusals     uint64 `json:"serverRefusals"`
	ServerSamples      int    `json:"serverSamples"`
	BackendsAfterClose int    `json:"serverBackendsAfterClose"`
	// Replicas are the processes, where there are several.
	Replicas []replicaReport `json:"replicas,omitempty"`
	// LimitsChanged, Drained: by an operator, on the way. Then the server may have
	// refused what it grants no more than the budget of.
	LimitsChanged bool `json:"limitsChanged,omitempty"`
	Drained       bool `json:"drained,omitempty"`
}

func newReport(o demoOptions, cfg model.Config, t stage.Tally, took time.Duration, before, after model.Stats) report {
	b, a := before.Workspaces.Counters, after.Workspaces.Counters
	rep := report{
		Workspaces:      o.workspaces,
		Budget:          o.budget,
		Workers:         o.workers,
		Zipf:            o.zipf,
		WorkspaceBudget: cfg.WorkspaceBudget(),
		WorkspaceCap:    cfg.WorkspaceLimits().PerWorkspace,

		Seconds:           rounded(took.Seconds(), 3),
		Requests:          t.Requests,
		RequestsPerSecond: rounded(float64(t.Requests)/took.Seconds(), 1),
		OK:                t.OK,
		Failures:          t.Failures,
		Failed:            t.Failed(),

		P50Ms:        t.Request.Milliseconds(50),
		P99Ms:        t.Request.Milliseconds(99),
		AcquireP50Ms: t.Acquire.Milliseconds(50),
		AcquireP99Ms: t.Acquire.Milliseconds(99),

		Hits:      a.Hits - b.Hits,
		HandOffs:  a.HandOffs - b.HandOffs,
		Dials:     a.Dials - b.Dials,
		Evictions: a.Evictions() - b.Evictions(),

		ServerRefusals: a.ServerRefusals + after.System.Counters.ServerRefusals,
		LimitsChanged:  after.MaxConnections != before.MaxConnections || after.MaxConnectionsPerDB != before.MaxConnectionsPerDB,
	}
	rep.Drained = after.Workspaces.Draining
	if grants := a.Grants() - b.Grants(); grants > 0 {
		rep.HitRatio = rounded(float64(rep.Hits)/float64(grants), 4)
	}
	return rep
}

// write prints the report as text, or as one line of JSON.
func (r *report) write(out io.Writer, format string) error {
	if format == jsonReport {
		return json.NewEncoder(out).Encode(r)
	}
	return r.writeText(out)
}

// verdict is an error when what the demo is to show is not so.
func (r *report) verdict() error {
	var found []string
	// What a killed process was about to open, or had open, may be there for a while.
	lost := r.lost()
	if r.ServerRefusals > 0 && !r.LimitsChanged && !lost {
		found = append(found, fmt.Sprintf("the server refused %s connections for lack of room", stage.Grouped(r.ServerRefusals)))
	}
	if r.PeakServerBackends > r.Budget && !r.LimitsChanged {
		found = append(found, fmt.Sprintf("the server counted %d connections, more than the budget of %d", r.PeakServerBackends, r.Budget))
	}
	if n := r.Errors[stage.WrongWorkspace]; n > 0 {
		found = append(found, fmt.Sprintf("another workspace's database was reached by %s requests", stage.Grouped(n)))
	}
	if r.BackendsAfterClose > 0 && !lost {
		found = append(found, fmt.Sprintf("%d connections were left on the server after the manager was closed", r.BackendsAfterClose))
	}
	if len(found) > 0 {
		return fmt.Errorf("the demo has shown a bug, please report it: %s", strings.Join(found, "; "))
	}
	return nil
}

// lost tells whether a process was killed.
func (r *report) lost() bool {
	return slices.ContainsFunc(r.Replicas, func(p replicaReport) bool { return p.Lost })
}

// writeText writes the report for people.
func (r *report) writeText(out io.Writer) error {
	s := &summary{}
	s.line("")
	if len(r.Replicas) == 0 {
		s.line("%s workspaces shared %s connections, at most %d each, for %.1f s", stage.Grouped(r.Workspaces), stage.Grouped(r.WorkspaceBudget), r.WorkspaceCap, r.Seconds)
	} else {
		s.line("%d processes shared %s connections to %s workspaces, for %.1f s", len(r.Replicas), stage.Grouped(r.Budget), stage.Grouped(r.Workspaces), r.Seconds)
		s.section("Processes")
		for _, p := range r.Replicas {
			lost := ""
			if p.Lost {
				lost = "; it was lost, and is in no sum"
			}
			s.figure(p.Process, p.Requests, "requests, %d failed; it had up to %d connections%s", p.Failed, p.MostConnections, lost)
		}
	}
	s.section("Requests")
	s.figure("sent", r.Requests, "%s requests/s from %s workers", stage.Grouped(uint64(r.RequestsPerSecond)), stage.Grouped(r.Workers))
	s.figure("ok", r.OK, "")
	s.figure("cancelled", r.Errors[stage.Cancelled], "on purpose, in the middle of a query")
	s.figure("failed", r.Failed, "")
	for _, kind := range slices.Sorted(maps.Keys(r.ErrorExamples)) {
		s.line("      %s %s, the first: %s", stage.Grouped(r.Errors[kind]), kind, r.ErrorExamples[kind])
	}
	if r.AcquireP99Ms > 0 {
		s.cell("p50", stage.Milliseconds(r.P50Ms)+" ms", "%s ms for the acquire alone", stage.Milliseconds(r.AcquireP50Ms))
		s.cell("p99", stage.Milliseconds(r.P99Ms)+" ms", "%s ms for the acquire alone", stage.Milliseconds(r.AcquireP99Ms))
	} else { // with --clients psql the acquires are the door's
		s.cell("p50", stage.Milliseconds(r.P50Ms)+" ms", "with the start of a psql")
		s.cell("p99", stage.Milliseconds(r.P99Ms)+" ms", "with the start of a psql")
	}

	s.section("Connections")
	s.figure("hits", r.Hits, "%.1f %% of acquires found an idle one of their workspace", 100*r.HitRatio)
	s.figure("hand-offs", r.HandOffs, "went from a request straight to the next one waiting")
	s.figure("dials", r.Dials, "opened")
	s.figure("evictions", r.Evictions, "closed for another workspace's sake")

	s.section("What the server saw")
	if len(r.Replicas) == 0 {
		s.figure("budget", uint64(r.Budget), "%d for workspaces, %d for the system database", r.WorkspaceBudget, r.Budget-r.WorkspaceBudget)
	} else {
		s.figure("budget", uint64(r.Budget), "of all processes, %d control sessions included", len(r.Replicas))
	}
	s.figure("peak", uint64(r.PeakServerBackends), "connections at once, in %s looks at pg_stat_activity", stage.Grouped(r.ServerSamples))
	s.figure("refused", r.ServerRefusals, "logins for lack of room")
	s.figure("left over", uint64(r.BackendsAfterClose), "after the manager was closed")
	s.line("")
	switch {
	case r.verdict() != nil: // is the error
	case r.Drained:
		s.line("An operator drained the manager. Every request reached its own workspace's database.")
	case r.lost():
		s.line("A process was lost, and the others went on. Every request of theirs reached its own workspace's database.")
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
func (s *summary) section(title string)            { s.line("\n  %s", title) }

func (s *summary) figure(name string, n uint64, format string, args ...any) {
	s.cell(name, stage.Grouped(n), format, args...)
}

func (s *summary) cell(name, value, format string, args ...any) {
	s.line("%s", strings.TrimRight(fmt.Sprintf("    %-10s %12s   %s", name, value, fmt.Sprintf(format, args...)), " "))
}

// rounded drops digits that mean nothing.
func rounded(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}
