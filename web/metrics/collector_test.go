package metrics_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web/metrics"
)

// gathered are the samples of those names, as "name label=value" and their values.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			samples[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return samples
}

func TestAClosedPoolIsDownAndHasNothingElse(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(manager{err: model.ErrClosed}))
	got := gathered(t, registry)
	if up, ok := got["tenantpool_up"]; len(got) != 1 || !ok || up != 0 {
		t.Errorf("%v", got)
	}
}

func TestBatchWorkHasItsOwnSeries(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(manager{stats: model.Stats{
		Workspaces: model.BudgetStats{BatchBudget: 5, Batch: model.Counts{Dialing: 1, InUse: 2, Closing: 1, Waiting: 7}},
	}}))
	got := gathered(t, registry)
	for name, want := range map[string]float64{"budget_connections": 5, "connections": 4, "waiting_acquires": 7} {
		if v, ok := got["tenantpool_batch_"+name]; !ok || v != want {
			t.Errorf("batch_%s is %v, want %v", name, v, want)
		}
	}
}

func TestTwoPoolsShareARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	for name, budget := range map[string]int{"a": 10, "b": 20} {
		labelled := prometheus.WrapRegistererWith(prometheus.Labels{"pool": name}, registry)
		if err := labelled.Register(metrics.NewCollector(manager{stats: model.Stats{MaxConnections: budget}})); err != nil {
			t.Fatal(err)
		}
	}
	got := gathered(t, registry)
	if got["tenantpool_max_connections pool=a"] != 10 || got["tenantpool_max_connections pool=b"] != 20 {
		t.Errorf("%v", got)
	}
}

func TestTheOthersAreThoseWithTheFewestConnectionsAndAreAddedUp(t *testing.T) {
	var active []model.WorkspaceStats
	for i := range 103 { // the first three have fewer connections than the others, and were used last
		w := model.WorkspaceStats{ID: model.WorkspaceID(fmt.Sprint("w", i)), Counts: model.Counts{Idle: 5, Closing: 2}, LastUsed: time.Hour}
		if i < 3 {
			w.Counts, w.LastUsed = model.Counts{Idle: 1, Dialing: 1, Closing: 1}, 0
		}
		active = append(active, w)
	}
	before := slices.Clone(active)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(manager{stats: model.Stats{Workspaces: model.BudgetStats{Active: active}}}, metrics.WithWorkspaces()))
	got := gathered(t, registry)
	for sample, want := range map[string]float64{"state=idle": 3, "state=dialing": 3, "state=closing": 3, "state=in_use": 0} {
		if n, ok := got["tenantpool_workspace_connections "+sample+" workspace=(other)"]; !ok || n != want {
			t.Errorf("of the others %s: %v, not %v", sample, n, want)
		}
	}
	if !slices.Equal(active, before) {
		t.Error("the order of the pool's statistics has changed")
	}
}

func TestWhoImportsItCompilesNoWebServer(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(deps)) {
		if strings.HasPrefix(path, "github.com/labstack/") || strings.Contains(path, "sirupsen/logrus") {
			t.Errorf("it compiles %s", path)
		}
	}
}
