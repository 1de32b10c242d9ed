package pools_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools"
)

// A handle borrows a connection for one call and gives it back; it costs nothing and
// needs no closing.
func ExampleManager_Workspace() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	var database string
	err := manager.Workspace("customer-42").QueryRow(ctx, `SELECT current_database()`).Scan(&database)
	fmt.Println(database, err)
	// Output: shop_ws_customer-42 <nil>
}

func ExampleWorkspace_Exec() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	tag, err := manager.Workspace("customer-42").Exec(ctx, `CREATE TABLE IF NOT EXISTS orders (item text)`)
	fmt.Println(tag, err)
	// Output: CREATE TABLE <nil>
}

// The connection goes back when the rows are closed, as CollectRows does.
func ExampleWorkspace_Query() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	rows, err := manager.Workspace("customer-42").Query(ctx, `SELECT n * $1 FROM generate_series(1, 3) AS n`, 2)
	if err != nil {
		log.Fatal(err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int])
	fmt.Println(numbers, err)
	// Output: [2 4 6] <nil>
}

// The connection goes back with Commit or Rollback.
func ExampleWorkspace_Begin() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	tx, err := manager.Workspace("customer-42").Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback(ctx) // after a Commit it does nothing

	if _, err := tx.Exec(ctx, `CREATE TEMPORARY TABLE basket (item text) ON COMMIT DROP`); err != nil {
		log.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO basket VALUES ('tea')`); err != nil {
		log.Fatal(err)
	}
	fmt.Println(tx.Commit(ctx))
	// Output: <nil>
}

// AcquireFunc gives the connection back also when the function panics.
func ExampleWorkspace_AcquireFunc() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	err := manager.Workspace("customer-42").AcquireFunc(ctx, func(conn *pools.Conn) error {
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(42)`); err != nil {
			return err
		}
		fmt.Println("alone")
		_, err := conn.Exec(ctx, `SELECT pg_advisory_unlock(42)`)
		return err
	})
	fmt.Println(err)
	// Output:
	// alone
	// <nil>
}

// Code written for database/sql runs on the same connections.
func ExampleWorkspace_DB() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	db := manager.Workspace("customer-42").DB() // shared: do not close it

	var database string
	err := db.QueryRowContext(ctx, `SELECT current_database()`).Scan(&database)
	fmt.Println(database, err)
	// Output: shop_ws_customer-42 <nil>
}

// A library that closes the *sql.DB it is given, as migration tools do, gets its own.
func ExampleWorkspace_Connector() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	db := sql.OpenDB(manager.Workspace("customer-42").Connector())
	fmt.Println(db.PingContext(ctx), db.Close())
	// Output: <nil> <nil>
}

// The pgx connection beneath one of database/sql, for what only pgx can do.
func ExampleWorkspace_DB_raw() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	conn, err := manager.Workspace("customer-42").DB().Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `CREATE TEMPORARY TABLE basket (item text)`); err != nil {
		log.Fatal(err)
	}
	err = conn.Raw(func(driverConn any) error {
		pgxConn := driverConn.(interface{ Conn() *pgx.Conn }).Conn()
		n, err := pgxConn.CopyFrom(ctx, pgx.Identifier{"basket"}, []string{"item"}, pgx.CopyFromRows([][]any{{"tea"}, {"salt"}}))
		fmt.Println(n, "rows")
		return err
	})
	fmt.Println(err)
	// Output:
	// 2 rows
	// <nil>
}
