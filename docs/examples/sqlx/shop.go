// Package sqlx keeps orders with sqlx.
package sqlx

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/tenantpool/tenantpool/pools"
)

// Order is a row of orders.
type Order struct {
	ID       int64  `db:"id"`
	Item     string `db:"item"`
	Quantity int    `db:"quantity"`
}

// In is the shop of one workspace. "pgx" tells sqlx to write $1 for a parameter. It
// costs next to nothing, so it may be made for each request, and must not be closed: the
// *sql.DB under it belongs to the Manager.
func In(workspace *pools.Workspace) *sqlx.DB { return sqlx.NewDb(workspace.DB(), "pgx") }

// Place stores orders, all or none.
func Place(ctx context.Context, db *sqlx.DB, orders ...Order) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the Commit it does nothing
	if _, err := tx.NamedExecContext(ctx, `INSERT INTO orders (item, quantity) VALUES (:item, :quantity)`, orders); err != nil {
		return err
	}
	return tx.Commit()
}

// Of finds the orders of some items.
func Of(ctx context.Context, db *sqlx.DB, items ...string) (orders []Order, err error) {
	query, args, err := sqlx.In(`SELECT id, item, quantity FROM orders WHERE item IN (?) ORDER BY id`, items)
	if err != nil {
		return nil, err
	}
	err = db.SelectContext(ctx, &orders, db.Rebind(query), args...)
	return orders, err
}
