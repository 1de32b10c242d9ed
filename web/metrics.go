package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/build"
)

func (s *Server) metrics(c echo.Context) error {
	s.exporter.ServeHTTP(c.Response(), c.Request())
	return nil
}

// newExporter serves the pool's metrics, and the process's, from a registry of
// their own.
func newExporter(pool *collector, log logrus.FieldLogger) http.Handler {
	return promhttp.HandlerFor(newRegistry(pool), promhttp.HandlerOpts{
		ErrorLog:      scrapeLog{log},
		ErrorHandling: promhttp.ContinueOnError, // what can be had is served
	})
}

func newRegistry(pool *collector) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		pool,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

type scrapeLog struct{ log logrus.FieldLogger }

func (l scrapeLog) Println(v ...any) { l.log.Warn(append([]any{"Metrics: "}, v...)...) }

// metric is a metric's name, what it says, and its labels.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tenantpool_"+name, help, labels, nil)
}

// What is exported. A share is "workspaces" or "system".
var (
	buildDesc = metric("build_info", "What the program was built from; always 1.", "version", "revision", "goversion")

	readyDesc = metric("ready", "1 if requests can be served, as /readyz says: the pool lends, and the database server has just answered.")

	upDesc = metric("up", "1 if the pool gave its statistics; 0: no other of the pool is there.")

	maxConnectionsDesc = metric("max_connections", "How many connections all databases together may hold.")
	perWorkspaceDesc   = metric("max_connections_per_workspace", "How many connections one workspace may hold.")
	activeDesc         = metric("active_workspaces", "Workspaces that have a connection or a waiter, or are paused.")
	saturationDesc     = metric("supervisor_saturation_ratio", "Which part of its time the supervisor was busy since it was last asked.")
	drainingDesc       = metric("draining", "1 while the process is about to end, from the beginning of its shutdown delay on, and once nothing is lent any more.")

	connectionsDesc  = metric("connections", "Open connections by state.", "share", "state")
	budgetDesc       = metric("budget_connections", "How many connections the share may hold.", "share")
	effectiveDesc    = metric("effective_budget_connections", "The budget, or less while the server refuses more.", "share")
	waitingDesc      = metric("waiting_acquires", "Acquires that wait for a connection.", "share")
	longestWaitDesc  = metric("longest_wait_seconds", "How long the first of the waiters has waited.", "share")
	longestLeaseDesc = metric("longest_lease_seconds", "How long the oldest lease has been held.", "share")
	serverUpDesc     = metric("server_up", "0 while the database server cannot be reached.", "share")

	acquiresDesc     = metric("acquires_total", "Requests for a connection.", "share")
	grantsDesc       = metric("grants_total", "Acquires that got a connection: an idle one (hit), one that came free (hand_off) or a new one (fresh).", "share", "by")
	limitErrorsDesc  = metric("limit_errors_total", "Acquires that a connection limit turned away.", "share")
	rejectsDesc      = metric("rejects_total", "Acquires that got no connection, for any reason.", "share")
	dialsDesc        = metric("dials_total", "Dials begun.", "share")
	dialFailuresDesc = metric("dial_failures_total", "Dials that failed.", "share")
	refusalsDesc     = metric("server_refusals_total", "Dials that failed because the server has no connection left (SQLSTATE 53300).", "share")
	evictionsDesc    = metric("evictions_total", "Connections closed so that another workspace could have their slot.", "share")
	closesDesc       = metric("closes_total", "Connections told to close, by reason.", "share", "reason")
	staleDesc        = metric("stale_messages_total", "Releases and reports that belong to no current lease or connection, and changed nothing.", "share")

	waitDesc = metric("acquire_wait_seconds", "How long the acquires that got a connection waited in the supervisor.", "share")
	dialDesc = metric("dial_duration_seconds", "How long the dials took that succeeded.", "share")

	workspaceConnectionsDesc = metric("workspace_connections", "Open connections of the 100 busiest workspaces by state, and of all (other) ones together.", "workspace", "state")
	workspaceWaitingDesc     = metric("workspace_waiting_acquires", "Acquires of an active workspace that wait.", "workspace")
	workspacePausedDesc      = metric("workspace_paused", "1 while an active workspace is paused; of (other): how many are.", "workspace")
)

// collector turns one snapshot into metrics. The labels are bounded: shares,
// states and reasons are few, and maxWorkspaceSeries workspaces have series while they
// are busy, only if workspaces is set.
type collector struct {
	snapshots  *snapshots
	workspaces bool
	// ready asks what /readyz asks, for readyTimeout at most.
	ready func(context.Context) bool
	// leaves tells whether the process is about to end.
	leaves func() bool
}

// Describe tells nothing: the collector is an unchecked one, because which series
// there are depends on the snapshot.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect takes one snapshot, so that all series are of the same moment.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ready := make(chan bool, 1) // a server that is frozen takes its time to say nothing
	go func() { ready <- c.ready(context.Background()) }()
	t, err := c.snapshots.get(context.Background()) // bounded by snapshotTimeout
	to := series{out}
	built := build.Current()
	to.gauge(readyDesc, one(<-ready))
	to.gauge(buildDesc, 1, built.Version, built.Revision, built.Go)
	up := err == nil && t.err == nil
	to.gauge(upDesc, one(up))
	if !up {
		return
	}
	st := t.stats
	to.gauge(maxConnectionsDesc, float64(st.MaxConnections))
	to.gauge(perWorkspaceDesc, float64(st.MaxConnectionsPerDB))
	to.gauge(activeDesc, float64(len(st.Workspaces.Active)))
	to.gauge(saturationDesc, st.Saturation)
	to.gauge(drainingDesc, one(st.Workspaces.Draining || st.System.Draining || c.leaves()))
	to.share("workspaces", st.Workspaces)
	to.share("system", st.System)
	if c.workspaces {
		shown, others := busiest(st.Workspaces.Active)
		for _, w := range shown {
			to.workspace(string(w.ID), w.Counts, one(w.Paused))
		}
		if len(others) > 0 {
			to.others(others)
		}
	}
}

// series sends metrics.
type series struct{ out chan<- prometheus.Metric }

func (to series) share(share string, b model.BudgetStats) {
	to.states(connectionsDesc, b.Counts, share)
	to.gauge(budgetDesc, float64(b.Budget), share)
	to.gauge(effectiveDesc, float64(b.EffectiveBudget), share)
	to.gauge(waitingDesc, float64(b.Waiting), share)
	to.gauge(longestWaitDesc, b.LongestWait.Seconds(), share)
	to.gauge(longestLeaseDesc, b.LongestLease.Seconds(), share)
	to.gauge(serverUpDesc, one(b.ServerDown == nil), share)

	n := b.Counters
	to.counter(acquiresDesc, n.Acquires, share)
	to.counter(grantsDesc, n.Hits, share, "hit")
	to.counter(grantsDesc, n.HandOffs, share, "hand_off")
	to.counter(grantsDesc, n.FreshGrants, share, "fresh")
	to.counter(limitErrorsDesc, n.LimitErrors, share)
	to.counter(rejectsDesc, n.Rejects, share)
	to.counter(dialsDesc, n.Dials, share)
	to.counter(dialFailuresDesc, n.DialFailures, share)
	to.counter(refusalsDesc, n.ServerRefusals, share)
	to.counter(evictionsDesc, n.Evictions(), share)
	for reason := range model.CloseReasons {
		to.counter(closesDesc, n.Closes[reason], share, reason.String())
	}
	to.counter(staleDesc, n.StaleMessages, share)

	to.histogram(waitDesc, b.Waits, share)
	to.histogram(dialDesc, b.DialTimes, share)
}

// maxWorkspaceSeries is how many workspaces have series of their own. A label that
// nobody bounds costs Prometheus memory for each value it ever had.
const maxWorkspaceSeries = 100

// otherWorkspaces is the label of all the others together. No id has a parenthesis.
const otherWorkspaces = "(other)"

// busiest are those with the most waiters, then with the most connections in use, then
// with the most open, then those that were used last; by id where they are alike.
func busiest(active []model.WorkspaceStats) (shown, others []model.WorkspaceStats) {
	if len(active) <= maxWorkspaceSeries {
		return active, nil
	}
	all := slices.Clone(active)
	slices.SortFunc(all, func(a, b model.WorkspaceStats) int {
		return cmp.Or(
			cmp.Compare(b.Waiting, a.Waiting),
			cmp.Compare(b.InUse, a.InUse),
			cmp.Compare(b.Open(), a.Open()),
			cmp.Compare(a.LastUsed, b.LastUsed),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return all[:maxWorkspaceSeries], all[maxWorkspaceSeries:]
}

func (to series) workspace(id string, c model.Counts, paused float64) {
	id = strings.ToValidUTF8(id, "?")
	to.states(workspaceConnectionsDesc, c, id)
	to.gauge(workspaceWaitingDesc, float64(c.Waiting), id)
	to.gauge(workspacePausedDesc, paused, id)
}

func (to series) others(all []model.WorkspaceStats) {
	var sum model.Counts
	paused := 0.0
	for _, w := range all {
		sum.InUse += w.InUse
		sum.Idle += w.Idle
		sum.Dialing += w.Dialing
		sum.Closing += w.Closing
		sum.Waiting += w.Waiting
		paused += one(w.Paused)
	}
	to.workspace(otherWorkspaces, sum, paused)
}

func (to series) states(desc *prometheus.Desc, c model.Counts, label string) {
	to.gauge(desc, float64(c.InUse), label, "in_use")
	to.gauge(desc, float64(c.Idle), label, "idle")
	to.gauge(desc, float64(c.Dialing), label, "dialing")
	to.gauge(desc, float64(c.Closing), label, "closing")
}

func (to series) gauge(desc *prometheus.Desc, v float64, labels ...string) {
	to.out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
}

func (to series) counter(desc *prometheus.Desc, v uint64, labels ...string) {
	to.out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
}

// histogram: Prometheus counts in each bucket what the smaller ones hold, too.
func (to series) histogram(desc *prometheus.Desc, h model.Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(model.HistogramBounds))
	var count uint64
	for i, bound := range model.HistogramBounds {
		count += h.Counts[i]
		buckets[bound.Seconds()] = count
	}
	count += h.Counts[len(model.HistogramBounds)]
	to.out <- prometheus.MustNewConstHistogram(desc, count, h.Sum.Seconds(), buckets, labels...)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
