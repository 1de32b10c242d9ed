package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

func TestVerdict(t *testing.T) {
	good := report{Budget: 40, PeakServerBackends: 40, Failed: 3, Failures: stage.Failures{Errors: map[string]uint64{stage.LimitReached: 3, stage.Cancelled: 5}}}
	if err := good.verdict(); err != nil {
		t.Errorf("an overload is no bug: %v", err)
	}
	for want, spoil := range map[string]func(*report){
		"the server refused 2 connections":           func(r *report) { r.ServerRefusals = 2 },
		"41 connections, more than the budget of 40": func(r *report) { r.PeakServerBackends = 41 },
		"database was reached by 1 requests":         func(r *report) { r.Errors = map[string]uint64{stage.WrongWorkspace: 1} },
		"2 connections were left on the server":      func(r *report) { r.BackendsAfterClose = 2 },
	} {
		bad := good
		spoil(&bad)
		if err := bad.verdict(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the verdict is %v, want %q", err, want)
		}
		var text bytes.Buffer
		if err := bad.write(&text, textReport); err != nil || strings.Contains(text.String(), "never exceeded") {
			t.Errorf("%v: the summary praises a bug:\n%s", err, &text)
		}
	}
}

func TestTheSummaryTellsOfFailures(t *testing.T) {
	r := report{Budget: 40, Failed: 3, Failures: stage.Failures{Errors: map[string]uint64{stage.LimitReached: 3}, ErrorExamples: map[string]string{stage.LimitReached: "too many"}}}
	var text bytes.Buffer
	if err := r.write(&text, textReport); err != nil || !strings.Contains(text.String(), "3 limit, the first: too many\n") {
		t.Errorf("%v:\n%s", err, &text)
	}
}

func TestTheJSONReportHasItsFields(t *testing.T) {
	r := report{Failures: stage.NewFailures()}
	var text bytes.Buffer
	if err := r.write(&text, jsonReport); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "\n"); n != 1 {
		t.Errorf("it has %d lines", n)
	}
	var fields map[string]any
	if err := json.Unmarshal(text.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`workspaces budget requests ok errors requestsPerSecond hits dials evictions
		peakServerBackends serverRefusals p50Ms p99Ms acquireP50Ms acquireP99Ms seconds workers zipf workspaceBudget handOffs hitRatio`) {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if _, ok := fields["errors"].(map[string]any); !ok {
		t.Errorf("errors is %v, not an object", fields["errors"])
	}
}
