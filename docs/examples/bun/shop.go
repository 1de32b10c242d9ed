// Package bun keeps orders with bun.
package bun

import (
	"context"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/tenantpool/tenantpool/pools"
)

// Order is a row of orders.
type Order struct {
	ID    int64 `bun:",pk,autoincrement"`
	Item  string
	Lines []*Line `bun:"rel:has-many,join:id=order_id"`
}

// Line is a row of lines.
type Line struct {
	ID       int64 `bun:",pk,autoincrement"`
	OrderID  int64
	Quantity int
}

// In is the shop of one workspace. Do not close it: the *sql.DB under it belongs to the
// Manager. Keep it rather than make one for each request, as it reads its models once.
func In(workspace *pools.Workspace) *bun.DB {
	return bun.NewDB(workspace.DB(), pgdialect.New())
}

// Place stores an order and its lines, in one transaction.
func Place(ctx context.Context, db *bun.DB, order *Order) error {
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(order).Exec(ctx); err != nil {
			return err
		}
		for _, line := range order.Lines {
			line.OrderID = order.ID
		}
		_, err := tx.NewInsert().Model(&order.Lines).Exec(ctx)
		return err
	})
}
