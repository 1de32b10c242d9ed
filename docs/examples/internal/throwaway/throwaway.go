// Package throwaway gives the tests of the examples a PostgreSQL of their own, and
// workspaces on it.
package throwaway

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// Server is the PostgreSQL of the package's tests.
var Server *localpg.Server

// Patience bounds every wait; the machine may be busy.
const Patience = time.Minute

// Main is a package's TestMain.
func Main(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	Server, err = localpg.Start(context.Background(), localpg.Options{MaxConnections: 60, InMemory: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	defer func() { _ = Server.Stop() }()
	return m.Run()
}

// Config is for a Manager with 20 connections for workspaces.
func Config() model.Config {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port, cfg.User, cfg.Password = Server.Host, Server.Port, Server.User, Server.Password
	cfg.SSLMode, cfg.SystemDatabase = "disable", Server.Database
	cfg.MaxConnections, cfg.AcquireTimeout = 25, Patience
	return cfg
}

// Open returns a Manager, which at the end of the test must be able to close: it cannot
// while something that the example has left holds a connection.
func Open(t testing.TB, options ...pools.Option) *pools.Manager {
	t.Helper()
	return OpenConfig(t, Config(), options...)
}

// OpenConfig is Open with a configuration of one's own.
func OpenConfig(t testing.TB, cfg model.Config, options ...pools.Option) *pools.Manager {
	t.Helper()
	manager, err := pools.Open(context.Background(), cfg, append([]pools.Option{pools.WithLogger(nil)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), Patience)
		defer stop()
		if err := manager.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return manager
}

// Workspace creates a workspace that is named after the test, and runs the statements
// in it.
func Workspace(t testing.TB, manager *pools.Manager, statements ...string) *pools.Workspace {
	t.Helper()
	ctx := context.Background()
	w := manager.Workspace(model.WorkspaceID(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())))
	if err := manager.CreateWorkspace(ctx, w.ID()); err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := w.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// Lent is how many connections of workspaces are lent.
func Lent(t testing.TB, manager *pools.Manager) int {
	t.Helper()
	stats, err := manager.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return stats.Workspaces.InUse
}

// NothingLent fails the test if a connection of a workspace is lent.
func NothingLent(t testing.TB, manager *pools.Manager) {
	t.Helper()
	if n := Lent(t, manager); n != 0 {
		t.Errorf("%d connections are still lent", n)
	}
}

// Eventually waits until the condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", Patience, what)
		}
	}
}
