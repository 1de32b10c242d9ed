package pools_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func databaseOf(t *testing.T, m *manager, id model.WorkspaceID) string {
	t.Helper()
	var name string
	if err := m.Workspace(id).QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return name
}

// tableNamed is in the system database until the test's end.
func tableNamed(t *testing.T, name, definition string, rows ...[2]string) (change func(sql string)) {
	t.Helper()
	system := in(t, server.Database)
	statements(t, system, `CREATE TABLE `+name+` (`+definition+`)`, `ALTER TABLE `+name+` OWNER TO `+server.User)
	t.Cleanup(func() { statements(t, system, `DROP TABLE `+name) })
	for _, r := range rows {
		statements(t, system, fmt.Sprintf(`INSERT INTO %s VALUES ('%s', '%s')`, name, r[0], r[1]))
	}
	return func(sql string) { t.Helper(); statements(t, system, sql) }
}

const tableOfTheDocs = `workspace_id text COLLATE "C" PRIMARY KEY, database text NOT NULL UNIQUE`

func TestTheTableSaysWhichDatabaseIsWhose(t *testing.T) {
	change := tableNamed(t, "places", tableOfTheDocs, [2]string{"alpha", "test_ws_w1"}, [2]string{"beta", "test_ws_w2"}, [2]string{"bad", ""})
	change(`INSERT INTO places VALUES ('system', '` + server.Database + `'), ('row-only', 'nowhere')`)
	cfg := config(20)
	cfg.WorkspaceTable = "public.places"
	m := open(t, cfg)
	if a, b := databaseOf(t, m, "alpha"), databaseOf(t, m, "beta"); a != "test_ws_w1" || b != "test_ws_w2" {
		t.Errorf("%q, %q", a, b)
	}
	dials := stats(t, m).Workspaces.Counters.Dials
	var dial *model.DialError
	for _, id := range []model.WorkspaceID{"w1", "nobody", "row-only"} {
		if err := m.Workspace(id).Ping(t.Context()); !errors.Is(err, model.ErrNoWorkspace) || !errors.As(err, &dial) || dial.Attempts != 0 || dial.Kind != model.Permanent {
			t.Errorf("%s: %v", id, err)
		}
		if _, err := m.Pause(t.Context(), id); !errors.Is(err, model.ErrNoWorkspace) {
			t.Errorf("pause of %s: %v", id, err)
		}
	}
	var bad *model.WorkspaceIDError
	for _, id := range []model.WorkspaceID{"bad", "system", "a/b", ""} {
		if err := m.Workspace(id).Ping(t.Context()); !errors.As(err, &bad) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != dials {
		t.Errorf("%d dials for nobody", n-dials)
	}
}

func TestADatabaseOfTwoWorkspacesIsLentToNeither(t *testing.T) {
	tableNamed(t, "shared", `workspace_id text, database text`, [2]string{"a", "test_ws_w1"}, [2]string{"b", "test_ws_w1"}, [2]string{"c", "test_ws_w2"},
		[2]string{"d", "test_ws_w3"}, [2]string{"d", "test_ws_w4"})
	m := open(t, config(20), pools.WithWorkspaceTable("shared"))
	for id, says := range map[model.WorkspaceID]string{"a": "UNIQUE", "b": "UNIQUE", "d": "primary key"} {
		if err := m.Workspace(id).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if name := databaseOf(t, m, "c"); name != "test_ws_w2" {
		t.Error(name)
	}
}

func TestAMissingTableIsSaidSo(t *testing.T) {
	m := open(t, config(20), pools.WithWorkspaceTable("no_such"))
	err := m.Workspace("a").Ping(t.Context())
	var dial *model.DialError
	var refused *model.SQLError
	if !errors.As(err, &dial) || errors.As(err, &refused) || !strings.Contains(err.Error(), "WithWorkspaceTable") || !strings.Contains(err.Error(), "42P01") {
		t.Error(err)
	}
	if err := m.CreateWorkspace(t.Context(), "a"); !errors.As(err, &refused) {
		t.Error(err)
	}
}

func TestNoConnectionIsLentLongAfterItsWorkspaceWasMoved(t *testing.T) {
	change := tableNamed(t, "moving", tableOfTheDocs, [2]string{"here", "test_ws_w1"})
	for what, notice := range map[string]func(*testing.T, *manager) error{
		"its answer is too old": func(t *testing.T, _ *manager) error { pools.ResolvedFor(t, 0); return nil },
		"a renewal":             func(t *testing.T, m *manager) error { _, err := m.Renew(t.Context(), "here"); return err },
		"a renewal of all":      func(t *testing.T, m *manager) error { _, err := m.RenewAll(t.Context()); return err },
		"a pause": func(t *testing.T, m *manager) error {
			_, err := m.Pause(t.Context(), "here")
			return errors.Join(err, m.Resume(t.Context(), "here"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			change(`UPDATE moving SET database = 'test_ws_w1'`)
			pools.ResolvedFor(t, time.Hour)
			m := open(t, config(20), pools.WithWorkspaceTable("moving"))
			if name := databaseOf(t, m, "here"); name != "test_ws_w1" {
				t.Fatal(name)
			}
			change(`UPDATE moving SET database = 'test_ws_w2'`)
			if name := databaseOf(t, m, "here"); name != "test_ws_w1" {
				t.Errorf("nobody has noticed, but: %s", name)
			}
			if err := notice(t, m); err != nil {
				t.Fatal(err)
			}
			if name := databaseOf(t, m, "here"); name != "test_ws_w2" {
				t.Error(name)
			}
			change(`DELETE FROM moving`)
			if err := notice(t, m); err != nil && !errors.Is(err, model.ErrNoWorkspace) {
				t.Fatal(err)
			}
			if err := m.Workspace("here").Ping(t.Context()); !errors.Is(err, model.ErrNoWorkspace) {
				t.Errorf("it is gone: %v", err)
			}
			change(`INSERT INTO moving VALUES ('here', 'test_ws_w1')`)
		})
	}
}

func TestWithATableCreateDropAndRenameKeepItsRows(t *testing.T) {
	change := tableNamed(t, "kept", tableOfTheDocs+`, plan text DEFAULT 'free'`)
	m := open(t, config(20), pools.WithWorkspaceTable("kept"))
	watch, system := dropLater(t, "test_ws_kept1", "test_ws_kept2", "test_ws_old"), in(t, server.Database)
	rows := func(id model.WorkspaceID) int {
		return count(t, system, `SELECT count(*) FROM kept WHERE workspace_id = $1`, id)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.CreateWorkspace(t.Context(), "kept1"))
	if err := m.CreateWorkspace(t.Context(), "kept1"); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Error(err)
	}
	if name := databaseOf(t, m, "kept1"); name != "test_ws_kept1" || rows("kept1") != 1 {
		t.Error(name)
	}
	change(`INSERT INTO kept VALUES ('kept2', 'left_behind')`) // a killed CreateWorkspace's
	must(m.RenameWorkspace(t.Context(), "kept1", "kept2"))
	if name := databaseOf(t, m, "kept2"); name != "test_ws_kept1" || rows("kept1") != 0 {
		t.Error(name)
	}
	if err := m.Workspace("kept1").Ping(t.Context()); !errors.Is(err, model.ErrNoWorkspace) {
		t.Error(err)
	}
	// Its name is taken now.
	must(m.CreateWorkspace(t.Context(), "kept1", model.FromWorkspace("kept2")))
	name := databaseOf(t, m, "kept1")
	dropLater(t, name)
	if !strings.HasPrefix(name, "test_ws_kept1_") {
		t.Error(name)
	}
	if err := m.RenameWorkspace(t.Context(), "kept1", "kept2"); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Error(err)
	}
	must(m.DropWorkspace(t.Context(), "kept1"))
	must(m.DropWorkspace(t.Context(), "kept2"))
	for _, id := range []model.WorkspaceID{"kept1", "kept2"} {
		if err := m.DropWorkspace(t.Context(), id); !errors.Is(err, model.ErrNoWorkspace) || rows(id) != 0 {
			t.Errorf("%s: %v", id, err)
		}
	}

	// What a killed process leaves is a row without a database.
	change(`INSERT INTO kept VALUES ('kept1', 'test_ws_kept1'), ('kept2', 'test_ws_kept2')`)
	must(m.CreateWorkspace(t.Context(), "kept1", pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
		_, err := conn.Exec(ctx, `CREATE TABLE here ()`)
		return err
	})))
	if _, err := m.Workspace("kept1").Exec(t.Context(), `SELECT FROM here`); err != nil {
		t.Error(err)
	}
	if err := m.DropWorkspace(t.Context(), "kept2"); !errors.Is(err, model.ErrNoWorkspace) || rows("kept2") != 0 {
		t.Error(err)
	}
	must(m.DropWorkspace(t.Context(), "kept1"))

	// Another process has dropped it before it was there, and deletes the row.
	must(m.CreateWorkspace(t.Context(), "kept1", pools.WithInit(func(context.Context, *pools.Conn) error {
		change(`DELETE FROM kept`)
		return nil
	})))
	if name := databaseOf(t, m, "kept1"); name != "test_ws_kept1" {
		t.Error(name)
	}
	must(m.DropWorkspace(t.Context(), "kept1"))
	// And then somebody has created it again.
	if err := m.CreateWorkspace(t.Context(), "kept1", pools.WithInit(func(context.Context, *pools.Conn) error {
		change(`UPDATE kept SET database = 'another'`)
		return nil
	})); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Error(err)
	}
	if n := count(t, watch, `SELECT count(*) FROM pg_database WHERE starts_with(datname, 'test_ws_kept')`); n != 0 {
		t.Errorf("%d databases are nobody's", n)
	}
	change(`DELETE FROM kept`)

	// A database that was there before is nobody's.
	statements(t, watch, `CREATE DATABASE test_ws_old`)
	must(m.CreateWorkspace(t.Context(), "old"))
	if name := databaseOf(t, m, "old"); name == "test_ws_old" {
		t.Error("it was given a database that it did not create")
	}
	must(m.DropWorkspace(t.Context(), "old"))
}

// Several managers, as several processes have.
func TestManyWhoCreateDropAndRenameWithATableLeaveNoDatabaseWithoutARow(t *testing.T) {
	tableNamed(t, "crowd", tableOfTheDocs)
	pools.ResolvedFor(t, 0)
	managers := []*manager{
		open(t, config(20), pools.WithWorkspaceTable("crowd")), open(t, config(20), pools.WithWorkspaceTable("crowd")),
	}
	ids := []model.WorkspaceID{"crowd1", "crowd2", "crowd3"}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var callers sync.WaitGroup
	for caller := range 8 {
		random, m := rand.New(rand.NewPCG(seed, uint64(caller))), managers[caller%2]
		callers.Go(func() {
			for range times(3, 30) {
				var err error
				switch a, b := ids[random.IntN(3)], ids[random.IntN(3)]; random.IntN(5) {
				case 0, 1:
					err = m.CreateWorkspace(t.Context(), a)
				case 2, 3:
					err = m.DropWorkspace(t.Context(), a, model.Force)
				case 4:
					err = m.RenameWorkspace(t.Context(), a, b)
				}
				var refused *model.SQLError
				if err != nil && !errors.Is(err, model.ErrWorkspaceExists) && !errors.Is(err, model.ErrNoWorkspace) &&
					(!errors.As(err, &refused) || refused.Code != "55006") {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	system, watch := in(t, server.Database), dropLater(t)
	rows, err := watch.Query(`SELECT datname FROM pg_database WHERE starts_with(datname, 'test_ws_crowd')`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	_ = rows.Close()
	dropLater(t, names...)
	for _, name := range names {
		if n := count(t, system, `SELECT count(*) FROM crowd WHERE database = $1`, name); n != 1 {
			t.Errorf("%q has %d rows", name, n)
		}
	}
}

func TestAResolverIsAsked(t *testing.T) {
	var fails atomic.Bool
	m := open(t, config(20), pools.WithResolver(func(_ context.Context, id model.WorkspaceID) (string, error) {
		switch {
		case id == "unknown":
			return "", fmt.Errorf("no such customer: %w", model.ErrNoWorkspace)
		case id == "panics":
			panic("at the resolver")
		case id == "leaves":
			runtime.Goexit()
		case fails.Load():
			return "", errors.New("the service is down")
		case id == "new":
			return "test_ws_resolved", nil
		}
		return "test_ws_w" + strings.TrimPrefix(string(id), "customer-"), nil
	}))
	if name := databaseOf(t, m, "customer-7"); name != "test_ws_w7" {
		t.Error(name)
	}
	var dial *model.DialError
	if err := m.Workspace("unknown").Ping(t.Context()); !errors.Is(err, model.ErrNoWorkspace) || !errors.As(err, &dial) || dial.Attempts != 0 {
		t.Error(err)
	}
	if err := m.Workspace("panics").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.Transient || !strings.Contains(err.Error(), "panicked") {
		t.Error(err)
	}
	if err := m.Workspace("leaves").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.Transient || !strings.Contains(err.Error(), "ended its goroutine") {
		t.Error(err)
	}
	if err := m.RenameWorkspace(t.Context(), "customer-7", "customer-8"); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	dropLater(t, "test_ws_resolved")
	if err := m.CreateWorkspace(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	if name := databaseOf(t, m, "new"); name != "test_ws_resolved" {
		t.Error(name)
	}
	if err := m.DropWorkspace(t.Context(), "new"); err != nil {
		t.Error(err)
	}
	fails.Store(true)
	pools.ResolvedFor(t, 0)
	if name := databaseOf(t, m, "customer-7"); name != "test_ws_w7" {
		t.Errorf("what is open is lent: %s", name)
	}
	if err := m.Workspace("customer-9").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.Transient || !strings.Contains(err.Error(), "the service is down") {
		t.Error(err)
	}
	if _, err := m.Pause(t.Context(), "customer-9"); !errors.Is(err, model.ErrNotKnown) {
		t.Error(err)
	}
}

func TestOneWhoSaysWhereDatabasesAreIsEnough(t *testing.T) {
	resolver := pools.WithResolver(func(context.Context, model.WorkspaceID) (string, error) { return "x", nil })
	for what, opts := range map[string][]pools.Option{
		"a table of workspaces (": {resolver, pools.WithWorkspaceTable("t")},
		"WithNaming are both":     {resolver, pools.WithNaming(pools.PrefixNaming("p"))},
		`"a.b.c" is not the name`: {pools.WithWorkspaceTable("a.b.c")},
	} {
		if _, err := pools.Open(t.Context(), config(20), opts...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
