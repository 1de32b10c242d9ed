package pools_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

func TestAPausedWorkspaceIsAloneWithItsDatabaseUntilItIsResumed(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	here := func() int {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE datname = 'test_ws_w21'`)
	}
	held, err := m.Acquire(t.Context(), "w21")
	if err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := m.Pause(short, "w21"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a lease out: %v", err)
	}
	waits, stopWaiting := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stopWaiting()
	if err := m.Workspace("w21").Ping(waits); !errors.Is(err, model.ErrPaused) {
		t.Errorf("it is paused all the same: %v", err)
	}
	held.Release()
	if closed, err := m.Pause(t.Context(), "w21"); closed > 1 || err != nil {
		t.Errorf("%d, %v", closed, err)
	}
	if n := here(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if err := m.Workspace("w22").Ping(t.Context()); err != nil {
		t.Errorf("others are not concerned: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- m.Workspace("w21").Ping(t.Context()) }()
	eventually(t, "somebody waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
	if err := m.Resume(t.Context(), "w21"); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	var bad *model.WorkspaceIDError
	for what, err := range map[string]error{"Pause": second(m.Pause(t.Context(), "a/b")), "Resume": m.Resume(t.Context(), "a/b")} {
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestEventsAreToldWithWhatPostgreSQLSays(t *testing.T) {
	m := open(t, config(20))
	dropBehind(t, m, "dropped")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	events, err := m.Events(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Workspace("w23").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Kind != model.EventDialed || e.Workspace != "w23" || e.System || e.Took <= 0 || e.Took > 10*time.Second {
		t.Errorf("%+v", e)
	}
	if err := m.Workspace("dropped").Ping(t.Context()); err == nil {
		t.Fatal("there is such a database")
	}
	if e := <-events; e.Kind != model.EventDialFailed || e.Workspace != "dropped" || !strings.Contains(e.Err, `"test_ws_dropped" does not exist`) {
		t.Errorf("%+v", e)
	}
	if _, err := m.SetLimits(t.Context(), 40, 2); err != nil {
		t.Error(err)
	}
	e := <-events
	if e.Kind == model.EventClosed && e.Reason == model.DialLeftover {
		e = <-events // the server had not let go of the failed login's slot yet
	}
	if e.Kind != model.EventLimitsSet || e.MaxConnections != 40 || e.MaxConnectionsPerDB != 2 {
		t.Errorf("%+v", e)
	}
	stop()
	for range events { // it ends
	}
}

func TestNewLimitsAreInForceAtOnceAndStatsShowThem(t *testing.T) {
	m := open(t, config(40))
	for _, test := range []struct{ connections, perDB, budget, system, cap int }{
		{20, 3, 15, 5, 3},
		{100, 7, 90, 10, 7},
		{20, 50, 15, 5, 15}, // the cap is no more than the budget
		{300, 1, 280, 20, 1},
		{40, 3, 35, 5, 3},
	} {
		if granted, err := m.SetLimits(t.Context(), test.connections, test.perDB); err != nil || granted != serverGrants {
			t.Fatal(granted, err)
		}
		st := stats(t, m)
		if st.MaxConnections != test.connections || st.MaxConnectionsPerDB != test.cap ||
			st.Workspaces.Budget != test.budget || st.Workspaces.PerWorkspace != test.cap ||
			st.System.Budget != test.system || st.System.PerWorkspace != test.system-1 {
			t.Errorf("%+v: %+v", test, st)
		}
	}
	if n := strings.Count(m.log.String(), tooMany); n != 1 { // of 300
		t.Errorf("%d warnings in:\n%s", n, m.log)
	}
	if entry := m.log.entry(t, tooMany); entry["max_connections"] != 300.0 || entry["available"] != float64(serverGrants) {
		t.Errorf("%v", entry)
	}
	fillBudget(t, m, 35)
}

func TestLimitsOutOfRangeChangeNothing(t *testing.T) {
	m := open(t, config(20))
	for _, test := range []struct {
		connections, perDB int
		variables          []string
	}{
		{2, 3, []string{"DB_MAX_CONNECTIONS"}},
		{10_001, 3, []string{"DB_MAX_CONNECTIONS"}},
		{20, 0, []string{"DB_MAX_CONNECTIONS_PER_DB"}},
		{20, 51, []string{"DB_MAX_CONNECTIONS_PER_DB"}},
		{-1, -1, []string{"DB_MAX_CONNECTIONS", "DB_MAX_CONNECTIONS_PER_DB"}},
	} {
		_, err := m.SetLimits(t.Context(), test.connections, test.perDB)
		var joined interface{ Unwrap() []error }
		if !errors.As(err, &joined) {
			t.Fatalf("%+v: %v", test, err)
		}
		var variables []string
		for _, err := range joined.Unwrap() {
			var bad *model.ConfigError
			if errors.As(err, &bad) {
				variables = append(variables, bad.Variable)
			}
		}
		if strings.Join(variables, " ") != strings.Join(test.variables, " ") {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if st := stats(t, m); st.MaxConnections != 20 || st.MaxConnectionsPerDB != 3 {
		t.Errorf("%+v", st)
	}
}

func TestALoweredLimitClosesWhatIsIdleAndWaitsForLeases(t *testing.T) {
	m := open(t, config(60))
	watch := superuser(t)
	var held []*pools.Conn
	for i := range 30 {
		conn, err := m.Acquire(t.Context(), workspaceID(i))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	release(held[20:])
	if _, err := m.SetLimits(t.Context(), 20, 3); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the idle ones are gone", func() bool {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'test\_ws\_%'`) == 20
	})
	if st := stats(t, m).Workspaces; st.InUse != 20 || st.Budget != 15 {
		t.Errorf("%+v", st)
	}
	for _, conn := range held[:20] {
		if err := conn.Ping(t.Context()); err != nil {
			t.Errorf("a lease was ended: %v", err)
		}
	}
	release(held[:20])
	eventually(t, "the rest is gone", func() bool { return stats(t, m).Workspaces.Open() <= 15 })
	fillBudget(t, m, 20)
}

func TestPingAsksTheServer(t *testing.T) {
	m := open(t, config(20))
	before := stats(t, m).System.Counters.Acquires
	if err := m.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if n := stats(t, m).System.Counters.Acquires - before; n != 1 {
		t.Errorf("%d acquires of the system database", n)
	}
}

func TestAClosedManagerSaysSo(t *testing.T) {
	m := open(t, config(20))
	events, err := m.Events(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	closeManager(t, m.Manager)
	if e := <-events; e.Kind != model.EventDraining {
		t.Errorf("%+v", e)
	}
	for e := range events { // the system database's connection
		if e.Kind != model.EventClosed || !e.System || e.Reason != model.DrainAsked {
			t.Errorf("%+v", e)
		}
	}
	ctx := t.Context()
	for what, err := range map[string]error{
		"Pause":           second(m.Pause(ctx, "w1")),
		"Resume":          m.Resume(ctx, "w1"),
		"Events":          second(m.Events(ctx, 1)),
		"SetLimits":       second(m.SetLimits(ctx, 20, 3)),
		"Ping":            m.Ping(ctx),
		"Query":           second(m.Query(ctx, model.Query{Workspace: "w1", SQL: "SELECT 1"})),
		"CreateWorkspace": m.CreateWorkspace(ctx, "new"),
		"DropWorkspace":   m.DropWorkspace(ctx, "w1"),
		"Workspaces":      second(m.Workspaces(ctx)),
	} {
		if !errors.Is(err, model.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// steering are the calls that act on one workspace.
func steering(m *manager) map[string]func(context.Context, model.WorkspaceID) error {
	return map[string]func(context.Context, model.WorkspaceID) error{
		"Pause":  func(ctx context.Context, id model.WorkspaceID) error { return second(m.Pause(ctx, id)) },
		"Resume": func(ctx context.Context, id model.WorkspaceID) error { return m.Resume(ctx, id) },
		"Evict":  func(ctx context.Context, id model.WorkspaceID) error { return second(m.Evict(ctx, id)) },
		"Renew":  func(ctx context.Context, id model.WorkspaceID) error { return second(m.Renew(ctx, id)) },
	}
}

// Whoever is on call steers what was in use of late, or is paused, while the server is
// down; of the rest nobody can tell that it exists.
func TestWithTheServerDownOnlyWhatIsKnownIsSteered(t *testing.T) {
	m := open(t, config(20))
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second(m.Pause(t.Context(), "w1")); err != nil {
		t.Fatal(err)
	}
	if err := server.Shutdown(context.Background(), localpg.Kill); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Resume(context.Background()); err != nil {
			t.Error(err)
		}
	})
	done, stop := context.WithCancel(t.Context())
	stop()
	for what, steer := range steering(m) { // all but the first in the time that nobody asks again
		for _, ctx := range []context.Context{t.Context(), done} {
			err := steer(ctx, "w2")
			if !errors.Is(err, model.ErrNotKnown) || !strings.Contains(err.Error(), `workspace "w2"`) || !strings.Contains(err.Error(), "DB_HOST") {
				t.Errorf("%s of one that is not known: %v", what, err)
			}
		}
		for _, id := range []model.WorkspaceID{"w0", "w1"} {
			if err := steer(t.Context(), id); err != nil {
				t.Errorf("%s of %s: %v", what, id, err)
			}
		}
	}
	if st := stats(t, m).Workspaces; slices.ContainsFunc(st.Active, func(w model.WorkspaceStats) bool { return w.ID == "w2" }) {
		t.Errorf("%+v", st.Active)
	}
}

func TestWhatHasAConnectionOrAPauseIsSteeredWithoutTheCatalogue(t *testing.T) {
	m := open(t, config(20))
	if err := m.Workspace("w0").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second(m.Pause(t.Context(), "w1")); err != nil {
		t.Fatal(err)
	}
	// This one remembers nothing.
	pools.ReplaceCatalogue(m.Manager, func(context.Context, []string) ([]string, error) { return nil, errors.New("not now") })
	for id, want := range map[model.WorkspaceID]error{"w0": nil, "w1": nil, "w2": model.ErrNotKnown} {
		if err := second(m.Pause(t.Context(), id)); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestPausesAreBounded(t *testing.T) {
	m := open(t, config(20), pools.WithNaming(func(model.WorkspaceID) (string, error) { return "test_ws_w0", nil }))
	const most = 10_000
	for i := range most {
		if err := second(m.Pause(t.Context(), workspaceID(i))); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	for range 2 {
		if err := second(m.Pause(t.Context(), "more")); !errors.Is(err, model.ErrManyPauses) || !strings.Contains(err.Error(), "10000") {
			t.Error(err)
		}
		if err := second(m.Pause(t.Context(), "w1")); err != nil {
			t.Errorf("one that is paused already: %v", err)
		}
	}
	for range 2 {
		if err := m.Resume(t.Context(), "w1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := second(m.Pause(t.Context(), "more")); err != nil {
		t.Errorf("after a resume: %v", err)
	}
	if err := second(m.Pause(t.Context(), "w1")); !errors.Is(err, model.ErrManyPauses) {
		t.Errorf("two for one: %v", err)
	}
}

func TestWhatHasNoDatabaseIsNotSteered(t *testing.T) {
	m := open(t, config(20))
	done, stop := context.WithCancel(t.Context())
	stop()
	for what, steer := range steering(m) {
		for _, ctx := range []context.Context{t.Context(), done} {
			if err := steer(ctx, "stranger"); !errors.Is(err, model.ErrNoWorkspace) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := steer(t.Context(), "w1"); err != nil {
			t.Errorf("%s of a workspace that is there: %v", what, err)
		}
	}
	if st := stats(t, m).Workspaces; slices.ContainsFunc(st.Active, func(w model.WorkspaceStats) bool { return w.ID == "stranger" }) {
		t.Errorf("%+v", st.Active)
	}
}
