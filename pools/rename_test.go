package pools_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

func TestARenamedWorkspaceIsServedUnderItsNewIDOnly(t *testing.T) {
	m := open(t, config(20))
	watch := create(t, m, "before")
	dropLater(t, "test_ws_after")
	if _, err := m.Workspace("before").Exec(t.Context(), `CREATE TABLE here AS SELECT 42 AS n`); err != nil {
		t.Fatal(err)
	}
	old := m.Workspace("before").DB()
	held, err := m.Acquire(t.Context(), "before")
	if err != nil {
		t.Fatal(err)
	}
	renamed := make(chan error, 1)
	go func() { renamed <- m.RenameWorkspace(t.Context(), "before", "after") }()
	eventually(t, "it is paused", func() bool { return isPaused(t, m, "before") })
	waiters := map[model.WorkspaceID]chan error{"before": make(chan error, 1), "after": make(chan error, 1)}
	for id, told := range waiters {
		go func() { told <- m.Workspace(id).Ping(t.Context()) }()
	}
	eventually(t, "both wait", func() bool { return stats(t, m).Workspaces.Waiting == 2 })
	held.Release()
	if err := <-renamed; err != nil {
		t.Fatal(err)
	}
	if err := <-waiters["before"]; !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("who waits for the old id: %v", err)
	}
	if err := <-waiters["after"]; err != nil {
		t.Errorf("who waits for the new id: %v", err)
	}
	var n int
	if err := m.Workspace("after").DB().QueryRow(`SELECT n FROM here`).Scan(&n); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	if err := old.PingContext(t.Context()); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("the *sql.DB of the old id: %v", err)
	}
	// Another workspace may have the old id now.
	create(t, m, "before")
	if err := old.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
	if n := count(t, watch, `SELECT count(*) FROM pg_database WHERE datname IN ('test_ws_before', 'test_ws_after')`); n != 2 {
		t.Errorf("%d databases", n)
	}
	fillBudget(t, m, 10)
}

func TestARenameThatCannotBeDisturbsNobody(t *testing.T) {
	m := open(t, config(20))
	create(t, m, "taken")
	create(t, m, "mine")
	held, err := m.Acquire(t.Context(), "taken")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	for what, test := range map[string]struct {
		from, to model.WorkspaceID
		want     error
	}{
		"a taken id": {"mine", "taken", model.ErrWorkspaceExists},
		"itself":     {"mine", "mine", model.ErrWorkspaceExists},
		"a stranger": {"nobody", "new", model.ErrNoWorkspace},
	} {
		if err := m.RenameWorkspace(t.Context(), test.from, test.to); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var bad *model.WorkspaceIDError
	for _, ids := range [][2]model.WorkspaceID{{"a/b", "new"}, {"mine", "a/b"}, {"mine", ""}} {
		if err := m.RenameWorkspace(t.Context(), ids[0], ids[1]); !errors.As(err, &bad) {
			t.Errorf("%q: %v", ids, err)
		}
	}
	guest := visitor(t, "test_ws_mine")
	var refused *model.SQLError
	if err := m.RenameWorkspace(t.Context(), "mine", "new"); !errors.As(err, &refused) || refused.Code != "55006" || !strings.Contains(err.Error(), "application_name") {
		t.Errorf("%v", err)
	}
	_ = guest.Close()
	if isPaused(t, m, "mine") || isPaused(t, m, "new") || isPaused(t, m, "taken") {
		t.Error("somebody is paused")
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := m.RenameWorkspace(ctx, "taken", "new"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := m.Workspace("taken").Ping(t.Context()); err != nil {
		t.Errorf("it is served again: %v", err)
	}
}

// Whatever callers do at once, each database is there or not, and the manager serves
// exactly those that are.
func TestManyWhoCreateDropAndRenameTheSameWorkspacesAgreeWithTheServer(t *testing.T) {
	m := open(t, config(20))
	ids := []model.WorkspaceID{"many1", "many2", "many3", "many4"}
	watch := dropLater(t, "test_ws_many1", "test_ws_many2", "test_ws_many3", "test_ws_many4")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var callers sync.WaitGroup
	for caller := range 16 {
		random := rand.New(rand.NewPCG(seed, uint64(caller)))
		callers.Go(func() {
			for range times(2, 20) {
				a, b := ids[random.IntN(4)], ids[random.IntN(4)]
				var err error
				switch random.IntN(4) {
				case 0:
					err = m.CreateWorkspace(t.Context(), a)
				case 1:
					err = m.DropWorkspace(t.Context(), a)
				case 2:
					err = m.RenameWorkspace(t.Context(), a, b)
				case 3:
					var is string
					err = m.Workspace(a).QueryRow(t.Context(), `SELECT current_database()`).Scan(&is)
					if err == nil && is != "test_ws_"+string(a) {
						t.Errorf("%s was served %s", a, is)
					}
				}
				var limit *model.ConnectionLimitError
				if err != nil && !errors.Is(err, model.ErrWorkspaceExists) && !errors.Is(err, model.ErrNoWorkspace) &&
					!errors.Is(err, model.ErrPaused) && !errors.As(err, &limit) {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	listed, err := m.Workspaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		there := count(t, watch, `SELECT count(*) FROM pg_database WHERE datname = 'test_ws_`+string(id)+`'`) == 1
		if err := m.Workspace(id).Ping(t.Context()); (err == nil) != there || slices.Contains(listed, id) != there {
			t.Errorf("%s: on the server %v, listed %v, served: %v", id, there, slices.Contains(listed, id), err)
		}
		if isPaused(t, m, id) {
			t.Errorf("%s is still paused", id)
		}
	}
	fillBudget(t, m, 10)
}

const killedAt = "TENANTPOOL_TEST_KILLED_AT"

// TestHelperWhoIsKilled is the process that the next test kills.
func TestHelperWhoIsKilled(t *testing.T) {
	at, of, _ := strings.Cut(os.Getenv(killedAt), " ")
	if at == "" {
		return // it is not that process
	}
	var parents localpg.Server
	if _, err := fmt.Sscan(of, &parents.Host, &parents.Port, &parents.User, &parents.Password, &parents.Database); err != nil {
		t.Fatal(err)
	}
	m := open(t, configOf(&parents, 20))
	reached := func() {
		fmt.Println("reached")
		select {} // until it is killed
	}
	var err error
	switch at {
	case "init":
		err = m.CreateWorkspace(t.Context(), "killed", pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
			if _, err := conn.Exec(ctx, `CREATE TABLE half ()`); err != nil {
				return err
			}
			reached()
			return nil
		}))
	case "rename", "drop":
		// Its lease is out: the operation has paused, and goes no further.
		held, acquired := m.Acquire(t.Context(), "killed")
		if acquired != nil {
			t.Fatal(acquired)
		}
		defer held.Release()
		go func() {
			if at == "drop" {
				_ = m.DropWorkspace(t.Context(), "killed")
			} else {
				_ = m.RenameWorkspace(t.Context(), "killed", "killed2")
			}
		}()
		eventually(t, "it is paused", func() bool { return isPaused(t, m, "killed") })
		reached()
	}
	t.Error(err)
}

func TestAfterAKillTheStateIsSane(t *testing.T) {
	m := open(t, config(20))
	watch := dropLater(t, "test_ws_killed", "test_ws_killed2")
	kill := func(at string) {
		t.Helper()
		child := exec.Command(os.Args[0], "-test.run=^TestHelperWhoIsKilled$") //nolint:gosec // this test itself
		child.Env = append(os.Environ(), fmt.Sprint(killedAt, "=", at, " ", server.Host, " ", server.Port, " ", server.User, " ", server.Password, " ", server.Database))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "reached" {
			t.Log(lines.Text())
		}
		if lines.Text() != "reached" {
			t.Errorf("%s was not reached", at)
		}
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	kill("init")
	if err := m.Workspace("killed").Ping(t.Context()); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("half an init is served: %v", err)
	}
	if ids, err := m.Workspaces(t.Context()); err != nil || slices.ContainsFunc(ids, func(id model.WorkspaceID) bool { return strings.HasPrefix(string(id), "killed") }) {
		t.Errorf("%q, %v", ids, err)
	}
	var left string
	if err := watch.QueryRow(`SELECT datname FROM pg_database WHERE starts_with(datname, 'test_new_')`).Scan(&left); err != nil {
		t.Fatalf("what the killed process has left: %v", err)
	}
	dropLater(t, left)
	if err := m.CreateWorkspace(t.Context(), "killed", pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
		_, err := conn.Exec(ctx, `CREATE TABLE half (whole int)`)
		return err
	})); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"rename", "drop"} {
		kill(at)
		eventually(t, "the server has let go", func() bool {
			return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE datname = 'test_ws_killed'`) == 0
		})
		if _, err := m.Workspace("killed").Exec(t.Context(), `SELECT whole FROM half`); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		if _, err := m.Evict(t.Context(), "killed"); err != nil {
			t.Error(err)
		}
	}
	if err := m.RenameWorkspace(t.Context(), "killed", "killed2"); err != nil {
		t.Error(err)
	}
	if err := m.DropWorkspace(t.Context(), "killed2"); err != nil {
		t.Error(err)
	}
}
