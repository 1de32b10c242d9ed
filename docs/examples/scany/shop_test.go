package scany_test

import (
	"context"
	"testing"

	"github.com/georgysavva/scany/v2/pgxscan"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/scany"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestOrders(t *testing.T) {
	manager := throwaway.Open(t)
	ctx := context.Background()
	w := throwaway.Workspace(t, manager,
		`CREATE TABLE customers (id int PRIMARY KEY, name text); CREATE TABLE orders (id bigint, item text, customer int)`,
		`INSERT INTO customers VALUES (1, 'ann'), (2, 'bob')`,
		`INSERT INTO orders VALUES (7, 'tea', 2), (8, 'salt', 1)`)
	check := func(how string, db pgxscan.Querier) {
		orders, err := scany.Orders(ctx, db)
		if err != nil || len(orders) != 2 || orders[0].Item != "tea" || orders[0].Customer.Name != "bob" {
			t.Errorf("%s: %v, %v", how, orders, err)
		}
	}
	check("a workspace", w)
	if err := w.AcquireFunc(ctx, func(conn *pools.Conn) error { check("a connection", conn); return nil }); err != nil {
		t.Error(err)
	}
	if err := pgx.BeginFunc(ctx, w, func(tx pgx.Tx) error { check("a transaction", tx); return nil }); err != nil {
		t.Error(err)
	}
	if order, err := scany.Find(ctx, w, 8); err != nil || order.Item != "salt" {
		t.Errorf("%v, %v", order, err)
	}
	if _, err := scany.Find(ctx, w, 9); !pgxscan.NotFound(err) {
		t.Error(err)
	}
	if _, err := scany.Orders(ctx, manager.Workspace("none")); err == nil {
		t.Error("a workspace without a database has orders")
	}
	throwaway.NothingLent(t, manager)
}
