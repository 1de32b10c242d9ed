package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
)

// scrape returns the metrics as Prometheus reads them.
func (rig *handlersRig) scrape() string {
	rig.t.Helper()
	status, text := rig.do(Viewer, "/metrics", "")
	if status != http.StatusOK {
		rig.t.Fatal(status, text)
	}
	return "\n" + text + "\n" // whole lines, each after a line's end
}

// exported are the lines with tenantpool's own metrics.
func exported(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "tenantpool_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestEveryFigureIsAMetric(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.state = busyStats()
	text := rig.scrape()
	for line := range strings.Lines(`tenantpool_up 1
tenantpool_ready 0
tenantpool_max_connections 200
tenantpool_max_connections_per_workspace 4
tenantpool_active_workspaces 1
tenantpool_supervisor_saturation_ratio 0.25
tenantpool_draining 1
tenantpool_connections{share="workspaces",state="in_use"} 300
tenantpool_connections{share="workspaces",state="idle"} 20
tenantpool_connections{share="workspaces",state="dialing"} 1
tenantpool_connections{share="workspaces",state="closing"} 4000
tenantpool_connections{share="system",state="in_use"} 400
tenantpool_connections{share="system",state="idle"} 30
tenantpool_connections{share="system",state="dialing"} 2
tenantpool_connections{share="system",state="closing"} 5000
tenantpool_budget_connections{share="workspaces"} 180
tenantpool_effective_budget_connections{share="workspaces"} 170
tenantpool_budget_connections{share="system"} 20
tenantpool_waiting_acquires{share="workspaces"} 5
tenantpool_longest_wait_seconds{share="workspaces"} 0.0015
tenantpool_longest_lease_seconds{share="workspaces"} 2
tenantpool_server_up{share="workspaces"} 0
tenantpool_server_up{share="system"} 1
tenantpool_acquires_total{share="workspaces"} 100
tenantpool_grants_total{by="hit",share="workspaces"} 60
tenantpool_grants_total{by="hand_off",share="workspaces"} 15
tenantpool_grants_total{by="fresh",share="workspaces"} 5
tenantpool_limit_errors_total{share="workspaces"} 8
tenantpool_rejects_total{share="workspaces"} 9
tenantpool_dials_total{share="workspaces"} 7
tenantpool_dials_total{share="system"} 77
tenantpool_dial_failures_total{share="workspaces"} 2
tenantpool_server_refusals_total{share="workspaces"} 1
tenantpool_evictions_total{share="workspaces"} 201
tenantpool_closes_total{reason="make_room",share="workspaces"} 100
tenantpool_closes_total{reason="drain_asked",share="workspaces"} 109
tenantpool_stale_messages_total{share="workspaces"} 3
tenantpool_acquire_wait_seconds_bucket{share="workspaces",le="0.0005"} 0
tenantpool_acquire_wait_seconds_bucket{share="workspaces",le="0.001"} 1
tenantpool_acquire_wait_seconds_bucket{share="workspaces",le="10"} 1
tenantpool_acquire_wait_seconds_bucket{share="workspaces",le="+Inf"} 2
tenantpool_acquire_wait_seconds_sum{share="workspaces"} 3600.001
tenantpool_acquire_wait_seconds_count{share="workspaces"} 2
tenantpool_dial_duration_seconds_bucket{share="workspaces",le="0.025"} 0
tenantpool_dial_duration_seconds_bucket{share="workspaces",le="0.05"} 1
tenantpool_dial_duration_seconds_count{share="workspaces"} 1
tenantpool_dial_duration_seconds_count{share="system"} 0
`) {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, name := range []string{"go_goroutines ", "process_start_time_seconds "} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("missing: %s", name)
		}
	}
	if strings.Contains(text, "slow") {
		t.Error("a workspace has series, and nobody asked for them")
	}
}

func TestAWorkspaceHasSeriesOnlyWhileItIsActiveAndIfAskedFor(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.WorkspaceMetrics = true })
	rig.pool.state = busyStats()
	text := rig.scrape()
	for line := range strings.Lines(`tenantpool_workspace_connections{state="in_use",workspace="slow"} 300
tenantpool_workspace_connections{state="idle",workspace="slow"} 20
tenantpool_workspace_waiting_acquires{workspace="slow"} 5
tenantpool_workspace_paused{workspace="slow"} 1
`) {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("missing: %s", line)
		}
	}
	rig.pool.mu.Lock()
	rig.pool.state.Workspaces.Active = nil
	rig.pool.mu.Unlock()
	rig.server.snapshots.forget()
	if strings.Contains(rig.scrape(), "slow") {
		t.Error("it is not active, and has series")
	}
}

// The number of series must not grow with the number of workspaces.
func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.showAll()
	few := len(exported(rig.scrape()))
	for i := range 1000 {
		id := model.WorkspaceID(strings.Repeat("x", i%60+1))
		rig.pool.state.Workspaces.Active = append(rig.pool.state.Workspaces.Active, model.WorkspaceStats{ID: id})
	}
	for budget := range 5000 { // other ones at each scrape
		c := &rig.pool.capacity
		(*c).Curve = append((*c).Curve, model.CurvePoint{Budget: 1000 + budget, HitRatio: 1})
		(*c).Estimates = append((*c).Estimates, model.Estimate{Budget: budget})
	}
	rig.server.snapshots.forget()
	rig.server.planned.forget()
	if many := len(exported(rig.scrape())); many > few+20 || few < 50 { // the budgets of the curve are those of a list
		t.Errorf("%d, then %d", few, many)
	}
}

func TestWithoutThePoolTheMetricsSayThatItIsDown(t *testing.T) {
	rig := newHandlersRig(t)
	var broken atomic.Bool
	broken.Store(true)
	rig.pool.stats = func(context.Context) (model.Stats, error) {
		if broken.Load() {
			return model.Stats{}, model.ErrClosed
		}
		return exampleStats(), nil
	}
	text := rig.scrape()
	built := build.Current() // which is known all the same
	about := fmt.Sprintf("tenantpool_build_info{goversion=%q,revision=%q,version=%q} 1", built.Go, built.Revision, built.Version)
	if lines := exported(text); !slices.Equal(lines, []string{about, "tenantpool_ready 0", "tenantpool_up 0"}) || !strings.Contains(text, "\ngo_goroutines ") {
		t.Errorf("%q", lines)
	}
	broken.Store(false)
	rig.server.snapshots.forget()
	if !strings.Contains(rig.scrape(), "\ntenantpool_up 1\n") {
		t.Error("not up again")
	}
}

func TestTheMetricsFollowTheConventions(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.WorkspaceMetrics = true })
	rig.pool.showAll()
	problems, err := promlint.New(strings.NewReader(rig.scrape())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "tenantpool_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Two servers in one program must not be in each other's way.
func TestTheRegistryIsTheServersOwn(t *testing.T) {
	one, other := newHandlersRig(t), newHandlersRig(t)
	other.pool.state.MaxConnections = 77
	if !strings.Contains(one.scrape(), "\ntenantpool_max_connections 100\n") || !strings.Contains(other.scrape(), "\ntenantpool_max_connections 77\n") {
		t.Error("mixed up")
	}
}
