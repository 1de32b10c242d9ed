package bun_test

import (
	"context"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/bun"
	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestShop(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	ctx := context.Background()
	db := bun.In(throwaway.Workspace(t, manager))
	for _, model := range []any{(*bun.Order)(nil), (*bun.Line)(nil)} {
		if _, err := db.NewCreateTable().Model(model).Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := bun.Place(ctx, db, &bun.Order{Item: "tea", Lines: []*bun.Line{{Quantity: 2}, {Quantity: 3}}}); err != nil {
		t.Fatal(err)
	}
	// The second statement fails, and the first is undone.
	if err := bun.Place(ctx, db, &bun.Order{Item: "salt", Lines: []*bun.Line{{ID: 1}}}); err == nil {
		t.Error("two lines have one id")
	}
	var orders []bun.Order
	if err := db.NewSelect().Model(&orders).Relation("Lines").Scan(ctx); err != nil {
		t.Fatal(err)
	}
	if len(orders) != 1 || orders[0].Item != "tea" || len(orders[0].Lines) != 2 {
		t.Errorf("%+v", orders)
	}
	throwaway.NothingLent(t, manager)
}
