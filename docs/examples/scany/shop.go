// Package scany reads orders with scany.
package scany

import (
	"context"

	"github.com/georgysavva/scany/v2/pgxscan"

	"github.com/tenantpool/tenantpool/pools"
)

// Order is a row of orders with its customer's name.
type Order struct {
	ID       int64
	Item     string
	Customer struct{ Name string }
}

// Orders reads all orders. A *pools.Workspace, a *pools.Conn and a pgx.Tx are all
// queriers to scany; the workspace's connection goes back when the last row is read.
func Orders(ctx context.Context, db pgxscan.Querier) (orders []*Order, err error) {
	err = pgxscan.Select(ctx, db, &orders, `SELECT o.id, o.item, c.name AS "customer.name"
		FROM orders o JOIN customers c ON c.id = o.customer ORDER BY o.id`)
	return orders, err
}

// Find reads one order; none is an error for which pgxscan.NotFound holds.
func Find(ctx context.Context, workspace *pools.Workspace, id int64) (order Order, err error) {
	err = pgxscan.Get(ctx, workspace, &order, `SELECT id, item FROM orders WHERE id = $1`, id)
	return order, err
}
