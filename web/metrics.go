package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
	"github.com/tenantpool/tenantpool/web/metrics"
)

func (s *Server) metrics(c echo.Context) error {
	s.exporter.ServeHTTP(c.Response(), c.Request())
	return nil
}

// newExporter serves the metrics of the pool, the server and the process from a
// registry of their own.
func (s *Server) newExporter() http.Handler {
	return promhttp.HandlerFor(s.newRegistry(), promhttp.HandlerOpts{
		ErrorLog:      scrapeLog{s.log},
		ErrorHandling: promhttp.ContinueOnError, // what can be had is served
	})
}

func (s *Server) newRegistry() *prometheus.Registry {
	var options []metrics.Option
	if s.options.WorkspaceMetrics {
		options = append(options, metrics.WithWorkspaces())
	}
	if s.options.Door != nil {
		options = append(options, metrics.WithDoor(s.options.Door))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewCollector(measured{s}, options...),
		s.readyGauge(),
		buildInfo(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// measured is the server's pool as the metrics show it.
type measured struct{ *Server }

// Stats are of a snapshot that all share. They drain from the beginning of the shutdown
// delay on.
func (m measured) Stats(ctx context.Context) (model.Stats, error) {
	t, err := m.snapshots.get(ctx)
	if err != nil {
		return model.Stats{}, err
	}
	st := t.stats
	st.Workspaces.Draining = st.Workspaces.Draining || m.leaves()
	return st, t.err
}

// Capacity is of a look that all share.
func (m measured) Capacity(ctx context.Context) (model.Capacity, error) {
	look, err := m.planned.get(ctx, m.lookAtCapacity)
	if err != nil {
		return model.Capacity{}, err
	}
	return look.found, look.err
}

// readyGauge asks what /readyz asks, for readyTimeout at most.
func (s *Server) readyGauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tenantpool_ready",
		Help: "1 if requests can be served, as /readyz says: the pool lends, and the database server has just answered.",
	}, func() float64 { return one(s.isReady(context.Background())) })
}

func buildInfo() prometheus.Collector {
	built := build.Current()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "tenantpool_build_info",
		Help:        "What the program was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": built.Version, "revision": built.Revision, "goversion": built.Go},
	}, func() float64 { return 1 })
}

type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Warn("Metrics: " + strings.TrimSpace(fmt.Sprintln(v...))) }

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
