package goose_test

import (
	"context"
	"sync"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/goose"
	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestUp(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 4 // two for each of those who migrate at once
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
			if err := goose.Up(ctx, w); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	throwaway.NothingLent(t, manager)

	var version int
	if err := shared.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&version); err != nil || version != 2 {
		t.Errorf("the *sql.DB that others have sees version %d (%v)", version, err)
	}
	if _, err := w.Exec(ctx, `INSERT INTO orders (item) VALUES ('tea')`); err != nil {
		t.Error(err)
	}
	var locks int
	if err := manager.System().QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks are left (%v)", locks, err)
	}
}
