package metrics_test

import (
	"os/exec"
	"strings"
	"testing"

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
