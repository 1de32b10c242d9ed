package pools_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// leaveBehind opens a connection as an earlier run would have left it.
func leaveBehind(t *testing.T, database, application string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.Host, config.Port, config.User, config.Password = server.Host, uint16(server.Port), server.User, server.Password
	config.Database = database
	config.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// The server is the judge: it grants exactly the budget.
func TestWhatAnEarlierRunLeftCountsUntilItIsGone(t *testing.T) {
	const budget = 20
	watch := grant(t, budget)
	var left []*pgx.Conn
	for i := range 12 {
		left = append(left, leaveBehind(t, databaseNames(i + 1)[i], "tenantpool here/EARLIER1"))
	}
	left = append(left, leaveBehind(t, server.Database, "tenantpool here/EARLIER1"))
	m := open(t, config(budget), pools.WithInstance("here"))
	st := stats(t, m)
	if st.Workspaces.Closing != 12 || st.System.Closing != 1 {
		t.Errorf("%d and %d are held", st.Workspaces.Closing, st.System.Closing)
	}
	m.log.line(t, `"level":"WARN"`, "An earlier run of this instance has left connections", `"connections":13`, `"held":13`)
	for _, w := range append(st.Workspaces.Active, st.System.Active...) {
		if w.Closing > 0 {
			t.Errorf("it counts as a workspace, %q", w.ID)
		}
	}
	if n := st.Workspaces.Counters.DialFailures + st.System.Counters.DialFailures; n > 0 {
		t.Errorf("%d failed dials", n)
	}

	// What is left of the budget can be lent, and no more.
	var held []*pools.Conn
	for i := range 3 {
		conn, err := m.Acquire(t.Context(), workspaceID(50+i))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	var limit *model.ConnectionLimitError
	if _, err := m.Acquire(short, "w60"); !errors.As(err, &limit) || limit.CurrentConnections != 15 {
		t.Errorf("%v", err)
	}
	if n := backends(t, watch); n > budget+1 { // the watcher
		t.Errorf("%d backends", n)
	}
	release(held)
	for _, conn := range left {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "their slots are free", func() bool { st := stats(t, m); return st.Workspaces.Closing+st.System.Closing == 0 })
	eventually(t, "it is logged", func() bool { return strings.Contains(m.log.String(), "What an earlier run left is gone") })
	fillBudget(t, m, 10)
}

func TestOnlyEarlierRunsOfTheSameInstanceCount(t *testing.T) {
	leaveBehind(t, server.Database, "tenantpool elsewhere/EARLIER1")
	leaveBehind(t, server.Database, "tenantpool here/too/EARLIER1")
	leaveBehind(t, server.Database, "tenantpool")
	leaveBehind(t, server.Database, "psql")
	other := open(t, config(20), pools.WithInstance("elsewhere too"))
	for what, m := range map[string]*manager{
		"another instance": open(t, config(20), pools.WithInstance("here")),
		"no instance":      open(t, config(20)),
		"the first":        other,
	} {
		if st := stats(t, m); st.Workspaces.Closing+st.System.Closing != 0 {
			t.Errorf("%s: %+v", what, st.System.Counts)
		}
	}
}

func TestInstancesWhoseNamesDoNotFitAreToldApart(t *testing.T) {
	const host = "tenantpool-admin-production-europe-west1-5f7c9d8b6-"
	families := make(map[string]bool)
	var family string
	for _, instance := range []string{"büro", "börö", host + "abcde [::]:8080", host + "vwxyz [::]:8080", host + "vwxyz [::]:8081"} {
		m := open(t, config(20), pools.WithInstance(instance))
		if st := stats(t, m); st.Workspaces.Closing+st.System.Closing != 0 {
			t.Errorf("%q takes another's connections for left behind", instance)
		}
		var name string
		if err := m.Workspace("w0").QueryRow(t.Context(), `SHOW application_name`).Scan(&name); err != nil {
			t.Fatal(err)
		}
		if len(name) > 63 || !strings.HasPrefix(name, "tenantpool "+instance[:1]) {
			t.Errorf("%q is %q", instance, name)
		}
		family, _, _ = strings.Cut(name, "/")
		families[family] = true
	}
	if len(families) != 5 {
		t.Errorf("two of them share a name: %v", families)
	}
	leaveBehind(t, databaseNames(1)[0], family+"/EARLIER1")
	m := open(t, config(20), pools.WithInstance(host+"vwxyz [::]:8081"))
	if st := stats(t, m); st.Workspaces.Closing == 0 {
		t.Error("what its own earlier run has left does not count")
	}
}

// A manager that closes does not wait for what others have left.
func TestCloseDoesNotWaitForWhatAnEarlierRunLeft(t *testing.T) {
	leaveBehind(t, databaseNames(1)[0], "tenantpool here/EARLIER1")
	m := open(t, config(20), pools.WithInstance("here"))
	if st := stats(t, m); st.Workspaces.Closing != 1 {
		t.Errorf("%+v", st.Workspaces.Counts)
	}
}

func TestConnectionsHaveTheServerLookForTheirClient(t *testing.T) {
	m := open(t, config(20))
	for what, w := range map[string]*pools.Workspace{"a workspace": m.Workspace("w0"), "the system database": m.System()} {
		var interval *string
		if err := w.QueryRow(t.Context(), `SELECT current_setting('client_connection_check_interval', true)`).Scan(&interval); err != nil {
			t.Fatal(err)
		}
		if interval == nil {
			t.Skip("this server does not have the setting (before version 14)")
		}
		if *interval != "2s" {
			t.Errorf("%s: %s", what, *interval)
		}
	}
}
