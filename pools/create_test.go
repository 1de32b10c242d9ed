package pools_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// unfinished is how many databases there are of workspaces that are being created.
const unfinished = `SELECT count(*) FROM pg_database WHERE starts_with(datname, 'test_new_')`

func TestAWorkspaceIsACopyOfATemplateOrAnother(t *testing.T) {
	m := open(t, config(20))
	watch := dropLater(t, "test_ws_copy", "test_ws_copy2")
	create(t, m, "golden")
	if _, err := m.Workspace("golden").Exec(t.Context(), `CREATE TABLE here AS SELECT 42 AS n`); err != nil {
		t.Fatal(err)
	}
	// The source's idle connection closes, and its pause ends, for a copy.
	if err := m.CreateWorkspace(t.Context(), "copy", model.FromWorkspace("golden")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Pause(t.Context(), "golden"); err != nil {
		t.Fatal(err)
	}
	if err := m.CreateWorkspace(t.Context(), "copy2", model.FromTemplate("test_ws_golden")); err != nil {
		t.Fatal(err)
	}
	if err := m.CreateWorkspace(t.Context(), "copy2", model.FromWorkspace("golden")); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Errorf("%v", err)
	}
	if !isPaused(t, m, "golden") {
		t.Error("the pause of before has ended")
	}
	if err := m.Resume(t.Context(), "golden"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []model.WorkspaceID{"golden", "copy", "copy2"} {
		var n int
		if err := m.Workspace(id).QueryRow(t.Context(), `SELECT n FROM here`).Scan(&n); err != nil || n != 42 {
			t.Errorf("%s: %d, %v", id, n, err)
		}
	}
	if n := count(t, watch, unfinished); n != 0 {
		t.Errorf("%d databases are left", n)
	}
}

func isPaused(t *testing.T, m *manager, id model.WorkspaceID) bool {
	t.Helper()
	for _, w := range stats(t, m).Workspaces.Active {
		if w.ID == id {
			return w.Paused
		}
	}
	return false
}

func TestATemplateThatCannotBeCopiedIsRefused(t *testing.T) {
	m := open(t, config(20))
	watch := dropLater(t, "test_ws_refused")
	for _, test := range []struct {
		opt  model.CreateOption
		want string
	}{
		{model.FromTemplate("nowhere"), "SQLSTATE 3D000"},
		{model.FromTemplate(""), "has 0 bytes"},
		{model.FromTemplate(strings.Repeat("t", 64)), "has 64 bytes"},
		{model.FromTemplate(m.System().ID()), "the system database (DB_NAME)"},
		{model.FromWorkspace("nobody"), `the workspace to copy, "nobody": the workspace has no database`},
		{model.FromWorkspace("a/b"), "a/b"},
		{pools.WithInit(nil), "not nil"},
		{nil, "is not an option"},
	} {
		err := m.CreateWorkspace(t.Context(), "refused", test.opt)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%T %v: %v", test.opt, test.opt, err)
		}
	}
	err := m.CreateWorkspace(t.Context(), "refused", model.FromTemplate("template1"), model.FromTemplate("template0"))
	if err == nil || !strings.Contains(err.Error(), "two are given") {
		t.Errorf("%v", err)
	}
	if n := count(t, watch, `SELECT count(*) FROM pg_database WHERE datname = 'test_ws_refused'`); n != 0 {
		t.Error("it was created")
	}
}

func TestNobodyGetsAWorkspaceBeforeItsInitHasSucceeded(t *testing.T) {
	connected := make(chan model.WorkspaceID, 100)
	m := open(t, config(20), pools.WithHooks(pools.Hooks{AfterConnect: func(_ context.Context, id model.WorkspaceID, _ *pgx.Conn) error {
		if id != "" && len(connected) == 0 {
			connected <- id
		}
		return nil
	}}))
	watch := dropLater(t, "test_ws_made")
	began, goOn := make(chan struct{}), make(chan struct{})
	created := make(chan error, 1)
	go func() {
		created <- m.CreateWorkspace(t.Context(), "made", pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
			close(began)
			<-goOn
			_, err := conn.Exec(ctx, `CREATE TABLE here AS SELECT 42 AS n`)
			return err
		}))
	}()
	<-began
	if id := <-connected; id != "made" {
		t.Errorf("the hooks are told of %q", id)
	}
	if err := m.Workspace("made").Ping(t.Context()); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("before its init has ended: %v", err)
	}
	st := stats(t, m).Workspaces
	if st.InUse != 1 || len(st.Active) != 0 {
		t.Errorf("its connection counts and is of no workspace yet: %+v", st)
	}
	if n := count(t, watch, unfinished); n != 1 {
		t.Errorf("%d databases are unfinished", n)
	}
	close(goOn)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	var n int
	if err := m.Workspace("made").QueryRow(t.Context(), `SELECT n FROM here`).Scan(&n); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	ran := false
	err := m.CreateWorkspace(t.Context(), "made", pools.WithInit(func(context.Context, *pools.Conn) error { ran = true; return nil }))
	if !errors.Is(err, model.ErrWorkspaceExists) || ran {
		t.Errorf("again: %v, ran %v", err, ran)
	}
	fillBudget(t, m, 10)
}

func TestAnInitThatFailsLeavesNothing(t *testing.T) {
	m := open(t, config(20))
	watch := dropLater(t, "test_ws_unmade")
	broken := errors.New("broken")
	for what, init := range map[string]func(context.Context, *pools.Conn) error{
		"fails": func(context.Context, *pools.Conn) error { return broken },
		"fails in transaction": func(ctx context.Context, c *pools.Conn) error {
			_, err := c.Exec(ctx, `BEGIN`)
			return errors.Join(err, broken)
		},
		"panics": func(context.Context, *pools.Conn) error { panic(broken) },
	} {
		func() {
			defer func() {
				if r := recover(); r != nil && r != broken { //nolint:errorlint // what was panicked with
					t.Errorf("%v", r)
				}
			}()
			if err := m.CreateWorkspace(t.Context(), "unmade", pools.WithInit(init)); !errors.Is(err, broken) {
				t.Errorf("%s: %v", what, err)
			}
		}()
		if n := count(t, watch, unfinished+` OR datname = 'test_ws_unmade'`); n != 0 {
			t.Errorf("%s: %d databases are left", what, n)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	err := m.CreateWorkspace(ctx, "unmade", pools.WithInit(func(ctx context.Context, _ *pools.Conn) error { stop(); return ctx.Err() }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := count(t, watch, unfinished+` OR datname = 'test_ws_unmade'`); n != 0 {
		t.Errorf("cancelled: %d databases are left", n)
	}
	create(t, m, "unmade")
	fillBudget(t, m, 10)
}

// Two processes cannot know of each other before the server decides.
func TestOfTwoManagersWhoseInitsRunAtOnceOneWins(t *testing.T) {
	const each = 2
	watch := dropLater(t, "test_ws_contended")
	arrived, results := make(chan struct{}, each), make(chan error, each)
	together := make(chan struct{})
	for i := range each {
		m := open(t, config(20))
		go func() {
			results <- m.CreateWorkspace(t.Context(), "contended", pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
				arrived <- struct{}{}
				<-together
				_, err := conn.Exec(ctx, fmt.Sprintf(`CREATE TABLE made_by_%d ()`, i))
				return err
			}))
		}()
	}
	for range each {
		<-arrived
	}
	close(together)
	won := 0
	for range each {
		if err := <-results; err == nil {
			won++
		} else if !errors.Is(err, model.ErrWorkspaceExists) {
			t.Errorf("%v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
	if n := count(t, watch, unfinished); n != 0 {
		t.Errorf("%d databases are left", n)
	}
	m := open(t, config(20))
	var tables int
	if err := m.Workspace("contended").QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE tablename LIKE 'made\_by\_%'`).Scan(&tables); err != nil || tables != 1 {
		t.Errorf("%d tables, %v", tables, err)
	}
}

func TestWhatAKilledCreateHasLeftIsDroppedOnceItIsOld(t *testing.T) {
	m := open(t, config(20))
	old, fresh := time.Now().Add(-2*time.Hour).Unix(), time.Now().Unix()
	names := map[string]bool{
		fmt.Sprintf("test_new_%d_abcdefgh", old):   false,
		fmt.Sprintf("test_new_%d_abcdefgh", fresh): true,
		fmt.Sprintf("test_new_%d_mine", old):       true, // not the form
		fmt.Sprintf("test_new_%d_abcdefg2", old):   true, // somebody is connected
	}
	watch := dropLater(t, "test_ws_swept")
	for name := range names {
		dropLater(t, name)
		statements(t, watch, `CREATE DATABASE "`+name+`" OWNER "`+server.User+`"`)
	}
	visitor(t, fmt.Sprintf("test_new_%d_abcdefg2", old))
	if err := m.CreateWorkspace(t.Context(), "swept", pools.WithInit(func(context.Context, *pools.Conn) error { return nil })); err != nil {
		t.Fatal(err)
	}
	for name, stays := range names {
		if n := count(t, watch, `SELECT count(*) FROM pg_database WHERE datname = '`+name+`'`); (n == 1) != stays {
			t.Errorf("%s: %d", name, n)
		}
	}
}
