package ent_test

import (
	"context"
	"slices"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/ent"
	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestShop(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	ctx := context.Background()
	driver := ent.In(throwaway.Workspace(t, manager))
	for range 2 { // the second one finds the table
		if err := ent.Migrate(ctx, driver); err != nil {
			t.Fatal(err)
		}
	}
	if err := ent.Place(ctx, driver, map[string]int{"tea": 2, "salt": 1}); err != nil {
		t.Fatal(err)
	}
	if err := ent.Place(ctx, driver, map[string]int{"sugar": 3, "tea": 4}); err == nil {
		t.Error("tea is ordered twice")
	}
	if items, err := ent.Items(ctx, driver); err != nil || !slices.Equal(items, []string{"tea"}) {
		t.Errorf("%v, %v", items, err)
	}
	throwaway.NothingLent(t, manager)
}
