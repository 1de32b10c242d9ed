package migrate_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/migrate"
	"github.com/tenantpool/tenantpool/model"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestUp(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 2 // one for each of those who migrate at once
	manager := throwaway.OpenConfig(t, cfg)
	ctx := context.Background()
	w := throwaway.Workspace(t, manager)
	shared := w.DB()
	if err := shared.PingContext(ctx); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := migrate.Up(w); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	throwaway.NothingLent(t, manager)

	if _, err := shared.ExecContext(ctx, `INSERT INTO orders (item, quantity) VALUES ('tea', 2)`); err != nil {
		t.Error("the *sql.DB that others have:", err)
	}
	var locks int
	if err := manager.System().QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks are left (%v)", locks, err)
	}
	if err := migrate.Up(manager.Workspace("none")); !errors.Is(err, model.ErrNoWorkspace) {
		t.Error(err)
	}
}
