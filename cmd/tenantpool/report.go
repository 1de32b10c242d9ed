package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/cmd/figures"
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
	// Errors are the others by kind. Those of the kind cancelled were meant to
	// be; Failed is how many were not.
	Errors        map[errorKind]uint64 `json:"errors"`
	Failed        uint64               `json:"failed"`
	ErrorExamples map[errorKind]string `json:"errorExamples,omitempty"`

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
	// LimitsChanged, Drained: by an operator, on the way. Then the server may have
	// refused what it grants no more than the budget of.
	LimitsChanged bool `json:"limitsChanged,omitempty"`
	Drained       bool `json:"drained,omitempty"`
}

func newReport(o demoOptions, cfg model.Config, r result, took time.Duration, before, after model.Stats) report {
	b, a := before.Workspaces.Counters, after.Workspaces.Counters
	rep := report{
		Workspaces:      o.workspaces,
		Budget:          o.budget,
		Workers:         o.workers,
		Zipf:            o.zipf,
		WorkspaceBudget: cfg.WorkspaceBudget(),
		WorkspaceCap:    cfg.WorkspaceLimits().PerWorkspace,

		Seconds:           figures.Rounded(took.Seconds(), 3),
		Requests:          r.requests,
		RequestsPerSecond: figures.Rounded(float64(r.requests)/took.Seconds(), 1),
		OK:                r.ok,
		Errors:            r.errors,
		Failed:            r.failed(),
		ErrorExamples:     r.examples,

		P50Ms:        r.request.Milliseconds(50),
		P99Ms:        r.request.Milliseconds(99),
		AcquireP50Ms: r.acquire.Milliseconds(50),
		AcquireP99Ms: r.acquire.Milliseconds(99),

		Hits:      a.Hits - b.Hits,
		HandOffs:  a.HandOffs - b.HandOffs,
		Dials:     a.Dials - b.Dials,
		Evictions: a.Evictions() - b.Evictions(),

		ServerRefusals: a.ServerRefusals + after.System.Counters.ServerRefusals,
		LimitsChanged:  after.MaxConnections != before.MaxConnections || after.MaxConnectionsPerDB != before.MaxConnectionsPerDB,
	}
	if grants := a.Grants() - b.Grants(); grants > 0 {
		rep.HitRatio = figures.Rounded(float64(rep.Hits)/float64(grants), 4)
	}
	return rep
}

// write prints the report as text, or as one line of JSON.
func (r *report) write(out io.Writer, format string) error {
	if format == jsonReport {
		return json.NewEncoder(out).Encode(r)
	}
	return writeSummary(out, r)
}

// verdict is an error when what the demo is to show is not so.
func (r *report) verdict() error {
	var found []string
	if r.ServerRefusals > 0 && !r.LimitsChanged {
		found = append(found, fmt.Sprintf("the server refused %s connections for lack of room", figures.Grouped(r.ServerRefusals)))
	}
	if r.PeakServerBackends > r.Budget && !r.LimitsChanged {
		found = append(found, fmt.Sprintf("the server counted %d connections, more than the budget of %d", r.PeakServerBackends, r.Budget))
	}
	if n := r.Errors[wrongWorkspace]; n > 0 {
		found = append(found, fmt.Sprintf("another workspace's database was reached by %s requests", figures.Grouped(n)))
	}
	if r.BackendsAfterClose > 0 {
		found = append(found, fmt.Sprintf("%d connections were left on the server after the manager was closed", r.BackendsAfterClose))
	}
	if len(found) > 0 {
		return fmt.Errorf("the demo has shown a bug, please report it: %s", strings.Join(found, "; "))
	}
	return nil
}
