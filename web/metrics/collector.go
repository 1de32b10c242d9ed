// Package metrics has Prometheus read a pool's statistics, in a registry of the
// program's own or that of package web. It needs no HTTP server.
package metrics

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantpool/tenantpool/model"
)

// Pool is what is measured. A *pools.Manager is one.
type Pool interface {
	// Stats is the state of all connections at one moment.
	Stats(ctx context.Context) (model.Stats, error)
	// Capacity is what the planner says. Its series are left out when there is an error.
	Capacity(ctx context.Context) (model.Capacity, error)
}

// Option changes what a collector collects.
type Option func(*collector)

// WithWorkspaces adds series for the 100 busiest workspaces, and for all others together.
func WithWorkspaces() Option {
	return func(c *collector) { c.workspaces = true }
}

// WithDoor adds series of the door for PostgreSQL's clients.
func WithDoor(stats func() model.DoorStats) Option {
	return func(c *collector) { c.door = stats }
}

// NewCollector returns the collector of a pool's metrics, which all begin with
// tenantpool_. One registry can have that of one pool, or of several where each is
// registered with a label of its own (prometheus.WrapRegistererWith). Each scrape asks
// the pool once, and its planner; a pool that does not answer within two seconds, or is
// closed, has the metric tenantpool_up only, at 0.
func NewCollector(pool Pool, opts ...Option) prometheus.Collector {
	c := &collector{pool: pool}
	for _, opt := range opts {
		opt(c)
	}
	return c
}

// statsTimeout is how long the pool may take.
const statsTimeout = 2 * time.Second

// collector turns one Stats and one Capacity into metrics. The labels are bounded: shares,
// states, reasons, verdicts and curveBudgets are few, and maxWorkspaceSeries workspaces have
// series while they are busy, only if workspaces is set.
type collector struct {
	pool       Pool
	workspaces bool
	door       func() model.DoorStats // nil: there is no door
}

// Describe tells nothing: the collector is an unchecked one, because which series
// there are depends on the statistics.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect asks once, so that all series are of the same moment.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, stop := context.WithTimeout(context.Background(), statsTimeout)
	defer stop()
	st, err := c.pool.Stats(ctx)
	to := series{out: out}
	to.gauge("up", "1 if the pool gave its statistics; 0: no other of the pool is there.", one(err == nil))
	if err != nil {
		return
	}
	to.gauge("max_connections", "How many connections all databases together may hold; of a shared budget, in all of its processes.", float64(st.MaxConnections))
	to.gauge("max_connections_per_workspace", "How many connections one workspace may hold.", float64(st.MaxConnectionsPerDB))
	to.gauge("active_workspaces", "Workspaces that have a connection or a waiter, or are paused.", float64(len(st.Workspaces.Active)))
	to.gauge("supervisor_saturation_ratio", "Which part of its time the supervisor was busy since it was last asked.", st.Saturation)
	to.gauge("batch_budget_connections", "How many connections work over many workspaces may hold.", float64(st.Workspaces.BatchBudget))
	to.gauge("batch_connections", "How many it holds: dialing, lent or closing.", float64(st.Workspaces.Batch.Open()))
	to.gauge("batch_waiting_acquires", "Its acquires that wait for a connection.", float64(st.Workspaces.Batch.Waiting))
	to.gauge("draining", "1 while the process is about to end, from the beginning of its shutdown delay on, and once nothing is lent any more.", one(st.Workspaces.Draining || st.System.Draining))
	if st.Shared.Group != "" {
		to.with("group", strings.ToValidUTF8(st.Shared.Group, "?")).shared(st.Shared)
	}
	if st.Utilisation.Level != "" {
		to.utilisation(st.Utilisation)
	}
	if st.AutoBudget.Highest > 0 {
		to.autoBudget(st.AutoBudget)
	}
	if planned, err := c.pool.Capacity(ctx); err == nil {
		to.capacity(planned)
	}
	if c.door != nil {
		to.door(c.door())
	}
	to.with("share", "workspaces").share(st.Workspaces)
	to.with("share", "system").share(st.System)
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

// series sends metrics that have these labels.
type series struct {
	out    chan<- prometheus.Metric
	labels prometheus.Labels
}

func (to series) with(label, value string) series {
	labels := prometheus.Labels{label: value}
	maps.Copy(labels, to.labels)
	return series{to.out, labels}
}

// shared is the process's own part: Prometheus adds those of the group's processes up.
func (to series) shared(r model.ReplicaStats) {
	to.gauge("shared_budget_connections", "How many connections the group's processes may hold together, control sessions included: the same in each of them.", float64(r.Budget))
	to.gauge("shared_limit_connections", "How many of them this process may hold now, besides its control session.", float64(r.Limit))
	to.gauge("shared_connected", "1 if this process has a control session; while it has none it dials nothing.", one(r.Connected))
	to.counter("shared_refusals_total", "Dials within the limit that the server had no connection for all the same (SQLSTATE 53300).", r.Refusals)
}

// share is "workspaces" or "system".
func (to series) share(b model.BudgetStats) {
	to.states("connections", "Open connections by state.", b.Counts)
	to.gauge("budget_connections", "How many connections the share may hold.", float64(b.Budget))
	to.gauge("effective_budget_connections", "The budget, or less while the server refuses more.", float64(b.EffectiveBudget))
	to.gauge("waiting_acquires", "Acquires that wait for a connection.", float64(b.Waiting))
	to.gauge("longest_wait_seconds", "How long the first of the waiters has waited.", b.LongestWait.Seconds())
	to.gauge("longest_lease_seconds", "How long the oldest lease has been held.", b.LongestLease.Seconds())
	to.gauge("server_up", "0 while the database server cannot be reached.", one(b.ServerDown == nil))

	n := b.Counters
	to.counter("acquires_total", "Requests for a connection.", n.Acquires)
	const grants = "Acquires that got a connection: an idle one (hit), one that came free (hand_off) or a new one (fresh)."
	to.with("by", "hit").counter("grants_total", grants, n.Hits)
	to.with("by", "hand_off").counter("grants_total", grants, n.HandOffs)
	to.with("by", "fresh").counter("grants_total", grants, n.FreshGrants)
	to.counter("limit_errors_total", "Acquires that a connection limit turned away.", n.LimitErrors)
	to.counter("rejects_total", "Acquires that got no connection, for any reason.", n.Rejects)
	to.counter("dials_total", "Dials begun.", n.Dials)
	to.counter("dial_failures_total", "Dials that failed.", n.DialFailures)
	to.counter("server_refusals_total", "Dials that failed because the server has no connection left (SQLSTATE 53300).", n.ServerRefusals)
	to.counter("evictions_total", "Connections closed so that another workspace could have their slot.", n.Evictions())
	for reason := range model.CloseReasons {
		to.with("reason", reason.String()).counter("closes_total", "Connections told to close, by reason.", n.Closes[reason])
	}
	to.counter("stale_messages_total", "Releases and reports that belong to no current lease or connection, and changed nothing.", n.StaleMessages)

	to.histogram("acquire_wait_seconds", "How long the acquires that got a connection waited in the supervisor.", b.Waits)
	to.histogram("dial_duration_seconds", "How long the dials took that succeeded.", b.DialTimes)
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
	to = to.with("workspace", strings.ToValidUTF8(id, "?"))
	to.states("workspace_connections", "Open connections of the 100 busiest workspaces by state, and of all (other) ones together.", c)
	to.gauge("workspace_waiting_acquires", "Acquires of an active workspace that wait.", float64(c.Waiting))
	to.gauge("workspace_paused", "1 while an active workspace is paused; of (other): how many are.", paused)
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

func (to series) states(name, help string, c model.Counts) {
	to.with("state", "in_use").gauge(name, help, float64(c.InUse))
	to.with("state", "idle").gauge(name, help, float64(c.Idle))
	to.with("state", "dialing").gauge(name, help, float64(c.Dialing))
	to.with("state", "closing").gauge(name, help, float64(c.Closing))
}

func (to series) gauge(name, help string, v float64) {
	to.out <- prometheus.MustNewConstMetric(to.desc(name, help), prometheus.GaugeValue, v)
}

func (to series) counter(name, help string, v uint64) {
	to.out <- prometheus.MustNewConstMetric(to.desc(name, help), prometheus.CounterValue, float64(v))
}

// histogram: Prometheus counts in each bucket what the smaller ones hold, too.
func (to series) histogram(name, help string, h model.Histogram) {
	buckets := make(map[float64]uint64, len(model.HistogramBounds))
	var count uint64
	for i, bound := range model.HistogramBounds {
		count += h.Counts[i]
		buckets[bound.Seconds()] = count
	}
	count += h.Counts[len(model.HistogramBounds)]
	to.out <- prometheus.MustNewConstHistogram(to.desc(name, help), count, h.Sum.Seconds(), buckets)
}

func (to series) desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("tenantpool_"+name, help, nil, to.labels)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
