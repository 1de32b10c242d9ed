package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// dropLater removes what the test may have left.
func dropLater(t *testing.T, names ...string) *sql.DB {
	t.Helper()
	watch := superuser(t)
	t.Cleanup(func() {
		for _, name := range names {
			if _, err := watch.Exec(`DROP DATABASE IF EXISTS "` + name + `" WITH (FORCE)`); err != nil {
				t.Error(err)
			}
		}
	})
	return watch
}

// visitor connects a superuser to the database.
func visitor(t *testing.T, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", strings.Replace(server.SuperuserDSN(), "dbname=postgres", "dbname="+database, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var name string
	if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil || name != database {
		t.Fatalf("%q, %v", name, err)
	}
	return db
}

// create makes a workspace, for the test.
func create(t *testing.T, m *manager, id model.WorkspaceID) *sql.DB {
	t.Helper()
	watch := dropLater(t, "test_ws_"+string(id))
	if err := m.CreateWorkspace(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return watch
}

// dropBehind makes a workspace that m has dialed, and drops its database without m's
// knowledge.
func dropBehind(t *testing.T, m *manager, id model.WorkspaceID) {
	t.Helper()
	watch := create(t, m, id)
	if err := m.Workspace(id).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Evict(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	statements(t, watch, `DROP DATABASE "test_ws_`+string(id)+`" WITH (FORCE)`)
}

func TestACreatedWorkspaceIsServedAtOnceAlsoIfItWasMissingAMomentAgo(t *testing.T) {
	m := open(t, config(20))
	var missing *model.DialError
	for _, test := range []struct {
		what     string
		lose     func()
		attempts int
	}{
		{"the catalogue did not have it", func() {}, 0},
		{"a dial failed", func() {
			if err := m.DropWorkspace(t.Context(), "fresh"); err != nil {
				t.Fatal(err)
			}
			dropBehind(t, m, "fresh")
		}, 1},
	} {
		test.lose()
		if err := m.Workspace("fresh").Ping(t.Context()); !errors.As(err, &missing) || missing.Attempts != test.attempts || !errors.Is(err, model.ErrNoWorkspace) {
			t.Errorf("%s: %v", test.what, err)
		}
		create(t, m, "fresh")
		if err := m.Workspace("fresh").Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	if err := m.CreateWorkspace(t.Context(), "fresh"); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Errorf("%v", err)
	}
	var bad *model.WorkspaceIDError
	if err := m.CreateWorkspace(t.Context(), `a"; DROP DATABASE x`); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
}

func TestOfManyWhoCreateAWorkspaceOneWins(t *testing.T) {
	m := open(t, config(20))
	dropLater(t, "test_ws_race-d")
	results := make(chan error, 5)
	for range 5 {
		go func() { results <- m.CreateWorkspace(t.Context(), "race-d") }()
	}
	won := 0
	for range 5 {
		if err := <-results; err == nil {
			won++
		} else if !errors.Is(err, model.ErrWorkspaceExists) {
			t.Errorf("%v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestCreatingAWorkspaceDoesNotEndItsPause(t *testing.T) {
	m := open(t, config(20))
	watch := create(t, m, "restored")
	if _, err := m.Pause(t.Context(), "restored"); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Exec(`DROP DATABASE test_ws_restored`); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Pause(t.Context(), "restored"); err != nil { // it is known, though it has no database
		t.Fatal(err)
	}
	if err := m.CreateWorkspace(t.Context(), "restored"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	waiter := make(chan error, 1)
	go func() { waiter <- m.Workspace("restored").Ping(ctx) }()
	eventually(t, "it waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 || len(waiter) > 0 })
	stop()
	if err := <-waiter; !errors.Is(err, model.ErrPaused) {
		t.Errorf("%v", err)
	}
	if err := m.Resume(t.Context(), "restored"); err != nil {
		t.Error(err)
	}
	if err := m.Workspace("restored").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADeletedWorkspaceIsGoneAndItsWaitersAreToldSo(t *testing.T) {
	m := open(t, config(20))
	watch := create(t, m, "gone")
	held, err := m.Acquire(t.Context(), "gone")
	if err != nil {
		t.Fatal(err)
	}
	deleted := make(chan error, 1)
	go func() { deleted <- m.DropWorkspace(t.Context(), "gone") }()
	paused := func() bool {
		active := stats(t, m).Workspaces.Active
		return slices.ContainsFunc(active, func(w model.WorkspaceStats) bool { return w.ID == "gone" && w.Paused })
	}
	eventually(t, "it is paused", paused)
	waiter := make(chan error, 1)
	go func() { waiter <- m.Workspace("gone").Ping(t.Context()) }()
	eventually(t, "somebody waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
	if err := held.Ping(t.Context()); err != nil {
		t.Errorf("the lease was ended: %v", err)
	}
	held.Release()
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	var missing *model.DialError
	if err := <-waiter; !errors.As(err, &missing) || missing.Kind != model.Permanent {
		t.Errorf("the waiter: %v", err)
	}
	if n := count(t, watch, `SELECT count(*) FROM pg_database WHERE datname = 'test_ws_gone'`); n != 0 {
		t.Error("the database is there")
	}
	if err := m.DropWorkspace(t.Context(), "gone"); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("a second time: %v", err)
	}
	if paused() {
		t.Error("it is still paused")
	}
	var bad *model.WorkspaceIDError
	if err := m.DropWorkspace(t.Context(), "a/b"); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
	fillBudget(t, m, 10)
}

func TestADeleteWhoseTimeEndsDropsNothing(t *testing.T) {
	m := open(t, config(20))
	create(t, m, "busy")
	held, err := m.Acquire(t.Context(), "busy")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	err = m.DropWorkspace(ctx, "busy")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nothing was dropped") {
		t.Errorf("%v", err)
	}
	if err := held.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Workspace("busy").Ping(t.Context()); err != nil {
		t.Errorf("it is served again: %v", err)
	}
}

// Whoever is connected besides the manager has a moment to leave.
func TestADatabaseInUseByOthersIsWaitedForAShortTime(t *testing.T) {
	if !long {
		t.Skip("only with TENANTPOOL_TEST_LONG=1: the server itself waits for five seconds")
	}
	m := open(t, config(20))
	watch := create(t, m, "visited")
	template, guest := visitor(t, "template1"), visitor(t, "test_ws_visited")
	dropLater(t, "test_ws_copied")
	created, deleted := make(chan error, 1), make(chan error, 1)
	go func() { created <- m.CreateWorkspace(t.Context(), "copied") }()
	go func() { deleted <- m.DropWorkspace(t.Context(), "visited") }()
	eventually(t, "the manager sees the visitor", func() bool {
		return len(deleted) > 0 || count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%SELECT application_name, count(*)%' AND pid <> pg_backend_pid()`) > 0
	})
	_ = guest.Close()
	if err := <-deleted; err != nil {
		t.Errorf("delete: %v", err)
	}
	// Of template1 the server itself waits for five seconds. Then the manager asks again.
	began := func() (at time.Time) {
		err := watch.QueryRow(`SELECT coalesce(max(query_start), 'epoch') FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE "test_ws_%'`).Scan(&at)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	var first time.Time
	eventually(t, "CREATE DATABASE has begun", func() bool {
		first = began()
		return first.Unix() > 0
	})
	eventually(t, "it has begun again", func() bool { return began().After(first) })
	_ = template.Close()
	if err := <-created; err != nil {
		t.Errorf("create: %v", err)
	}
}

func TestADatabaseInUseByAnotherManagerIsDroppedOnlyWithForce(t *testing.T) {
	m, other := open(t, config(20)), open(t, config(20))
	create(t, m, "shared")
	if err := other.Workspace("shared").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := m.DropWorkspace(t.Context(), "shared")
	var refused *model.SQLError
	if !errors.As(err, &refused) || refused.Code != "55006" {
		t.Fatalf("%v", err)
	}
	for _, words := range []string{"nothing was dropped", "in use by other processes", `"tenantpool" 1`, "with force"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not say %q: %v", words, err)
		}
	}
	t.Logf("the refusal took %v", time.Since(began))
	if err := m.Workspace("shared").Ping(t.Context()); err != nil {
		t.Errorf("it is served again: %v", err)
	}
	if err := m.DropWorkspace(t.Context(), "shared", model.Force); err != nil {
		t.Fatal(err)
	}
	var gone *model.DialError
	if err := m.Workspace("shared").Ping(t.Context()); !errors.As(err, &gone) || gone.Attempts != 0 || !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("whoever dropped it does not dial it again: %v", err)
	}
	if err := other.Workspace("shared").Ping(t.Context()); err == nil {
		t.Error("it is still there")
	}
	if err := m.DropWorkspace(t.Context(), "shared", model.Force); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("%v", err)
	}
}

func TestTheWorkspacesAreTheDatabasesWithThePrefix(t *testing.T) {
	cfg := config(20)
	cfg.Prefix = "list" // of its own
	watch := dropLater(t, "list_ws_b", "list_ws_a-b", "list_ws_A_b", "list_ws_ä", "listxws_no", "list_ws_shut", "list_ws_")
	for _, name := range []string{"list_ws_b", "list_ws_a-b", "list_ws_A_b", "list_ws_ä", "listxws_no", "list_ws_shut", "list_ws_"} {
		if _, err := watch.Exec(`CREATE DATABASE "` + name + `"`); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := watch.Exec(`ALTER DATABASE list_ws_shut ALLOW_CONNECTIONS false`); err != nil {
		t.Fatal(err)
	}
	m := open(t, cfg)
	ids, err := m.Workspaces(t.Context())
	if want := []model.WorkspaceID{"A_b", "a-b", "b"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%q, %v", ids, err)
	}
	own := open(t, cfg, pools.WithNaming(pools.PrefixNaming("list")))
	if _, err := own.Workspaces(t.Context()); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "WithNaming") {
		t.Errorf("%v", err)
	}
}

func TestARoleThatMayNotCreateDatabasesIsToldSo(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	role := `"` + server.User + `"`
	if _, err := watch.Exec(`ALTER ROLE ` + role + ` NOCREATEDB`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := watch.Exec(`ALTER ROLE ` + role + ` CREATEDB`); err != nil {
			t.Error(err)
		}
	})
	var refused *model.SQLError
	if err := m.CreateWorkspace(t.Context(), "unwanted"); !errors.As(err, &refused) || refused.Code != "42501" {
		t.Errorf("created by a role that may not: %v", err)
	}
}

func TestADropThatFailsKeepsThePauseOfBefore(t *testing.T) {
	m := open(t, config(20))
	watch := create(t, m, "kept")
	guest := visitor(t, "test_ws_kept")
	if _, err := m.Pause(t.Context(), "kept"); err != nil {
		t.Fatal(err)
	}
	var refused *model.SQLError
	if err := m.DropWorkspace(t.Context(), "kept"); !errors.As(err, &refused) || refused.Code != "55006" {
		t.Fatalf("%v", err)
	}
	if !isPaused(t, m, "kept") {
		t.Error("a drop that dropped nothing ended the pause")
	}
	if err := m.DropWorkspace(t.Context(), "kept", "forcibly"); err == nil || !strings.Contains(err.Error(), "model.Force") {
		t.Errorf("%v", err)
	}
	_ = guest.Close()
	eventually(t, "the guest has left", func() bool {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE datname = 'test_ws_kept'`) == 0
	})
	if err := m.DropWorkspace(t.Context(), "kept", model.Force); err != nil {
		t.Fatal(err)
	}
	if isPaused(t, m, "kept") {
		t.Error("what has no database is paused")
	}
}
