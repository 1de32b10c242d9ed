package sqlx_test

import (
	"context"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/sqlx"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestShop(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	ctx := context.Background()
	db := sqlx.In(throwaway.Workspace(t, manager, `CREATE TABLE orders (id bigserial, item text, quantity int CHECK (quantity > 0))`))
	if err := sqlx.Place(ctx, db, sqlx.Order{Item: "tea", Quantity: 2}, sqlx.Order{Item: "salt", Quantity: 1}); err != nil {
		t.Fatal(err)
	}
	if err := sqlx.Place(ctx, db, sqlx.Order{Item: "tea", Quantity: 3}, sqlx.Order{Item: "salt", Quantity: 0}); err == nil {
		t.Error("an order of nothing is stored")
	}
	orders, err := sqlx.Of(ctx, db, "tea", "sugar")
	if err != nil || len(orders) != 1 || orders[0].Quantity != 2 {
		t.Errorf("%v, %v", orders, err)
	}
	var n int
	if err := db.GetContext(ctx, &n, `SELECT count(*) FROM orders`); err != nil || n != 2 {
		t.Errorf("%d orders (%v)", n, err)
	}
	throwaway.NothingLent(t, manager)
}
