package pgxpool_test

import (
	"context"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/pgxpool"
	"github.com/tenantpool/tenantpool/pools/door"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestShop(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	workspace := throwaway.Workspace(t, manager, `CREATE TABLE orders (id bigserial, item text)`)
	ctx := context.Background()
	d, err := door.New(manager, door.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	pool, err := d.Pool(ctx, workspace.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	shop := pgxpool.NewShop(pool)
	for want := range int64(20) {
		if id, err := shop.Order(ctx, "tea"); err != nil || id != want+1 {
			t.Fatalf("order %d: %d, %v", want+1, id, err)
		}
	}
}
