// Package ent keeps orders over ent's driver. With a client that ent has generated, all
// there is to write is
//
//	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, workspace.DB())))
//
// The generated code (3,500 lines for one table, which is why it is not here) runs on the
// same parts as this package: the driver, its transactions and the migration.
package ent

import (
	"context"
	"database/sql"
	"errors"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	"github.com/tenantpool/tenantpool/pools"
)

var (
	id       = &schema.Column{Name: "id", Type: field.TypeInt64, Increment: true}
	item     = &schema.Column{Name: "item", Type: field.TypeString, Unique: true}
	quantity = &schema.Column{Name: "quantity", Type: field.TypeInt}
	orders   = &schema.Table{Name: "orders", Columns: []*schema.Column{id, item, quantity}, PrimaryKey: []*schema.Column{id}}
)

// In is the driver of one workspace. Do not close it, nor a client on it: the *sql.DB
// under it belongs to the Manager. Where something closes it, as enttest does, open it on
// sql.OpenDB(workspace.Connector()).
func In(workspace *pools.Workspace) dialect.Driver {
	return entsql.OpenDB(dialect.Postgres, workspace.DB())
}

// Migrate creates what the workspace lacks of the schema, in one transaction.
func Migrate(ctx context.Context, driver dialect.Driver) error {
	migrate, err := schema.NewMigrate(driver)
	if err != nil {
		return err
	}
	return migrate.Create(ctx, orders)
}

// Place stores orders, all or none.
func Place(ctx context.Context, driver dialect.Driver, quantities map[string]int) (err error) {
	tx, err := driver.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	for name, n := range quantities {
		query, args := entsql.Dialect(dialect.Postgres).Insert(orders.Name).Columns(item.Name, quantity.Name).Values(name, n).Query()
		var result sql.Result
		if err := tx.Exec(ctx, query, args, &result); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Items lists what was ordered more than once.
func Items(ctx context.Context, driver dialect.Driver) (items []string, err error) {
	query, args := entsql.Dialect(dialect.Postgres).Select(item.Name).From(entsql.Table(orders.Name)).
		Where(entsql.GT(quantity.Name, 1)).OrderBy(item.Name).Query()
	rows := &entsql.Rows{}
	if err := driver.Query(ctx, query, args, rows); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	err = entsql.ScanSlice(rows, &items)
	return items, err
}
