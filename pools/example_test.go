package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// A program opens one Manager when it starts and closes it after its server.
func ExampleOpen() {
	ctx := context.Background()
	cfg := exampleConfig() // in a program: pools.ConfigFromEnv()

	manager, err := pools.Open(ctx, cfg)
	if err != nil {
		log.Fatal(err) // the server is down or refuses the login
	}
	defer manager.Close(ctx)

	fmt.Println(manager.Ping(ctx))
	// Output: <nil>
}

// The error names each variable that is wrong, and what it accepts.
func ExampleConfigFromEnv() {
	os.Setenv("DB_MAX_CONNECTIONS", "2")
	defer os.Unsetenv("DB_MAX_CONNECTIONS")

	_, err := pools.ConfigFromEnv()
	fmt.Println(err)
	// Output: configuration: DB_MAX_CONNECTIONS is 2: it must be from 3 to 10000
}

// A request that makes several calls borrows one connection for all of them.
func ExampleManager_Acquire() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	conn, err := manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Release()

	if _, err := conn.Exec(ctx, `CREATE TEMPORARY TABLE basket (item text)`); err != nil {
		log.Fatal(err)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO basket VALUES ($1), ($2)`, "tea", "salt")
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	var database string
	var items int
	err = conn.QueryRow(ctx, `SELECT current_database(), count(*) FROM basket`).Scan(&database, &items)
	fmt.Println(database, items, err)
	// Output: shop_ws_customer-42 2 <nil>
}

// An acquire that a limit turns away says which limit it was and how full it is.
func ExampleManager_Acquire_limit() {
	ctx := context.Background()
	manager := exampleManager(func(cfg *model.Config) {
		cfg.MaxConnectionsPerDB = 1
		cfg.AcquireTimeout = 0 // wait for a dial, but for nobody's lease
	})
	defer manager.Close(ctx)

	conn, err := manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Release()

	_, err = manager.Acquire(ctx, "customer-42")
	var limit *model.ConnectionLimitError
	if errors.As(err, &limit) {
		fmt.Println(limit.Limit, limit.CurrentWorkspace, "of", limit.MaxPerWorkspace) // for HTTP, a 503 with Retry-After
	}
	// Output: workspace 1 of 1
}

// A workspace without a database is refused at once, and costs nobody a connection.
func ExampleManager_Acquire_noWorkspace() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	_, err := manager.Acquire(ctx, "customer-404")
	fmt.Println(errors.Is(err, model.ErrNoWorkspace))

	var dial *model.DialError
	if errors.As(err, &dial) {
		fmt.Println(dial.WorkspaceID, dial.Kind, dial.Attempts)
	}
	// Output:
	// true
	// customer-404 permanent 0
}

// System lends connections to the system database, out of a share of their own.
func ExampleManager_System() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	var tenants int
	err := manager.System().QueryRow(ctx, `SELECT count(*) FROM pg_database WHERE datname LIKE 'shop\_ws\_%'`).Scan(&tenants)
	fmt.Println(tenants, err)
	// Output: 2 <nil>
}

// Close waits for the leases that are out. When its context ends first, it says what
// is still open, and can be called again.
func ExampleManager_Close() {
	ctx := context.Background()
	manager := exampleManager()
	conn, err := manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}

	soon, stop := context.WithTimeout(ctx, 10*time.Millisecond)
	defer stop()
	err = manager.Close(soon)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))

	conn.Release()
	fmt.Println(manager.Close(ctx))

	_, err = manager.Acquire(ctx, "customer-42")
	fmt.Println(errors.Is(err, model.ErrClosed))
	// Output:
	// true
	// <nil>
	// true
}

// With WithLateServer the program can start before its database: it opens the Manager,
// serves what needs none, and waits.
func ExampleWithLateServer() {
	ctx := context.Background()
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithLateServer(), pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	fmt.Println(manager.WaitForServer(ctx))
	// Output: <nil>
}

// Databases that have names already keep them. Two workspaces must never share one.
func ExampleWithNaming() {
	ctx := context.Background()
	naming := func(id model.WorkspaceID) (string, error) {
		if id == "acme" { // the first customer, from before there was a scheme
			return "shop_ws_customer-42", nil
		}
		return "", fmt.Errorf("there is no customer %q", id)
	}
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithNaming(naming), pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	var database string
	err = manager.Workspace("acme").QueryRow(ctx, `SELECT current_database()`).Scan(&database)
	fmt.Println(database, err)
	// Output: shop_ws_customer-42 <nil>
}

// A table of the system database says which database is whose.
func ExampleWithWorkspaceTable() {
	ctx := context.Background()
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithWorkspaceTable("customers"), pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)
	_, err = manager.System().Exec(ctx, `
		CREATE TABLE IF NOT EXISTS customers (workspace_id text COLLATE "C" PRIMARY KEY, database text NOT NULL UNIQUE);
		INSERT INTO customers VALUES ('acme', 'shop_ws_customer-42') ON CONFLICT DO NOTHING`)
	if err != nil {
		log.Fatal(err)
	}

	var database string
	err = manager.Workspace("acme").QueryRow(ctx, `SELECT current_database()`).Scan(&database)
	fmt.Println(database, err)
	err = manager.Workspace("globex").Ping(ctx)
	fmt.Println(errors.Is(err, model.ErrNoWorkspace))
	// Output:
	// shop_ws_customer-42 <nil>
	// true
}

// A function says which database is whose, for example because another service knows.
func ExampleWithResolver() {
	ctx := context.Background()
	known := map[model.WorkspaceID]string{"acme": "shop_ws_customer-42"} // somewhere else
	resolver := func(_ context.Context, id model.WorkspaceID) (string, error) {
		database, ok := known[id]
		if !ok {
			return "", fmt.Errorf("customer %q: %w", id, model.ErrNoWorkspace)
		}
		return database, nil
	}
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithResolver(resolver), pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	var database string
	err = manager.Workspace("acme").QueryRow(ctx, `SELECT current_database()`).Scan(&database)
	fmt.Println(database, err)
	// Output: shop_ws_customer-42 <nil>
}

// exampleConfig is the configuration of the examples: a server of the tests, on which
// customer-42 and customer-43 have a database.
func exampleConfig() model.Config {
	cfg := config(20)
	cfg.Prefix = "shop"
	if !exampleDatabases {
		if err := server.CreateDatabases(context.Background(), "shop_ws_customer-42", "shop_ws_customer-43"); err != nil {
			log.Fatal(err)
		}
		exampleDatabases = true
	}
	return cfg
}

// exampleDatabases: the databases of the examples, which run after all tests, are there.
var exampleDatabases bool

// exampleManager opens a Manager with the configuration of the examples.
func exampleManager(changes ...func(*model.Config)) *pools.Manager {
	cfg := exampleConfig()
	for _, change := range changes {
		change(&cfg)
	}
	manager, err := pools.Open(context.Background(), cfg, pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	return manager
}
