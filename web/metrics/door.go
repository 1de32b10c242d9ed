package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantpool/tenantpool/model"
)

// door shows the door for PostgreSQL's clients, of all workspaces together.
func (to series) door(d model.DoorStats) {
	const clients = "Clients of the door that are logged in, by what they do."
	for state, n := range map[string]int{"active": d.Active, "waiting": d.Waiting, "pinned": d.Pinned, "idle": d.Clients - d.Active - d.Waiting - d.Pinned} {
		to.with("state", state).gauge("door_clients", clients, float64(n))
	}
	to.gauge("door_starting_clients", "Clients that are not logged in yet.", float64(d.Starting))
	var longest float64
	for _, w := range d.Workspaces {
		longest = max(longest, w.LongestWait.Seconds())
	}
	to.gauge("door_longest_wait_seconds", "How long the first of the clients that wait for a connection has waited.", longest)
	to.counter("door_logins_total", "Log-ins.", d.Logins)
	to.counter("door_refused_logins_total", "Clients that were not let in.", d.LoginsRefused)
	to.counter("door_cancel_requests_total", "Cancel requests.", d.Cancels)
	to.counter("door_transactions_total", "Transactions that have ended.", d.Transactions)
	to.counter("door_queries_total", "Queries; a message of several statements is one.", d.Queries)
	to.counter("door_errors_total", "Errors that clients were told.", d.Errors)
	to.counter("door_prepared_again_total", "Statements that were prepared again on another connection.", d.Prepared)
	to.counter("door_resets_total", "Sessions that were reset because of what a statement may have left.", d.Resets)
	to.counter("door_settings_restored_total", "Transactions before which a client's settings were restored.", d.Replays)
	to.with("from", "clients").counter("door_bytes_total", "Bytes that were relayed.", d.FromClients)
	to.with("from", "servers").counter("door_bytes_total", "Bytes that were relayed.", d.FromServers)
	to.seconds("door_wait_seconds_total", "How long clients have waited for connections.", d.WaitTime.Seconds())
	to.seconds("door_query_seconds_total", "How long servers have worked for clients.", d.QueryTime.Seconds())
	to.seconds("door_transaction_seconds_total", "How long clients have had connections.", d.TransactionTime.Seconds())
}

func (to series) seconds(name, help string, v float64) {
	to.out <- prometheus.MustNewConstMetric(to.desc(name, help), prometheus.CounterValue, v)
}
