package metrics_test

import (
	"context"
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web/metrics"
)

// manager stands for a *pools.Manager.
type manager struct {
	stats    model.Stats
	capacity model.Capacity
	err      error
}

func (m manager) Stats(context.Context) (model.Stats, error) { return m.stats, m.err }

func (m manager) Capacity(context.Context) (model.Capacity, error) { return m.capacity, m.err }

// A program that has a registry of its own registers the collector there.
func ExampleNewCollector() {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(manager{stats: model.Stats{MaxConnections: 100}}))
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "tenantpool_max_connections" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: tenantpool_max_connections 100
}
