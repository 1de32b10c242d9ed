package clients

import (
	"strings"
	"testing"
)

func TestPgbench(t *testing.T) {
	pgbench, psql := ofPostgreSQL(t, "pgbench"), ofPostgreSQL(t, "psql")
	transactions := "50"
	if long {
		transactions = "500"
	}
	everywhere(t, func(t *testing.T, at place) {
		at.run(t, "", pgbench, "-i", "-q", "-s", "2")
		for _, mode := range []string{"simple", "extended", "prepared"} {
			said := at.run(t, "", pgbench, "-n", "-M", mode, "-c", "8", "-t", transactions)
			if !strings.Contains(said, "number of failed transactions: 0 (") || strings.Contains(said, "error") {
				t.Errorf("-M %s:\n%s", mode, said)
			}
		}
		// What TPC-B keeps.
		same(t, "the sums", at.run(t, `SELECT
			(SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
			(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history),
			(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history),
			(SELECT count(*) FROM pgbench_history) = 3 * 8 * `+transactions, psql, "-XAt"), "t|t|t|t")
	})
}

func TestPgbenchInPipelines(t *testing.T) {
	pgbench := ofPostgreSQL(t, "pgbench")
	everywhere(t, func(t *testing.T, at place) {
		for _, mode := range []string{"extended", "prepared"} {
			said := at.run(t, "", pgbench, "-n", "-M", mode, "-c", "4", "-t", "20", "-f", "testdata/pipeline.pgbench")
			if !strings.Contains(said, "number of failed transactions: 0 (") || strings.Contains(said, "error") {
				t.Errorf("-M %s:\n%s", mode, said)
			}
		}
	})
}
