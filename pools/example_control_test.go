package pools_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Evict closes what is idle; the next acquire dials again.
func ExampleManager_Evict() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)
	if err := manager.Workspace("customer-42").Ping(ctx); err != nil {
		log.Fatal(err)
	}

	closed, err := manager.Evict(ctx, "customer-42")
	fmt.Println(closed, err)
	// Output: 1 <nil>
}

// After a migration, Renew replaces the workspace's connections, with their cached
// plans, while its traffic goes on: a lent one closes when it is released.
func ExampleManager_Renew() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)
	conn, err := manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}
	before := conn.Conn().PgConn().PID()

	closed, err := manager.Renew(ctx, "customer-42")
	fmt.Println(closed, err) // none was idle
	conn.Release()

	conn, err = manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Release()
	fmt.Println(conn.Conn().PgConn().PID() != before)
	// Output:
	// 0 <nil>
	// true
}

// While a workspace is paused, for a restore of its database say, acquires wait; or
// fail, as here, where they do not wait for anything but a dial.
func ExampleManager_Pause() {
	ctx := context.Background()
	manager := exampleManager(func(cfg *model.Config) { cfg.AcquireTimeout = 0 })
	defer manager.Close(ctx)
	customer := manager.Workspace("customer-42")

	if _, err := manager.Pause(ctx, "customer-42"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(errors.Is(customer.Ping(ctx), model.ErrPaused))

	if err := manager.Resume(ctx, "customer-42"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(customer.Ping(ctx))
	// Output:
	// true
	// <nil>
}

// A migration that must be alone with its database; other acquires wait meanwhile.
func ExampleManager_Exclusive() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	err := manager.Exclusive(ctx, "customer-42", func(conn *pools.Conn) error {
		var sessions int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'`).Scan(&sessions)
		fmt.Println(sessions)
		return err
	})
	fmt.Println(err)
	// Output:
	// 1
	// <nil>
}

// Limits change for everybody at one moment, without a restart.
func ExampleManager_SetLimits() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	if _, err := manager.SetLimits(ctx, 40, 5); err != nil {
		log.Fatal(err)
	}
	stats, err := manager.Stats(ctx)
	fmt.Println(stats.MaxConnections, stats.MaxConnectionsPerDB, err)
	// Output: 40 5 <nil>
}

// Stats are of one moment: in use, idle, dialing and closing add up to what is taken.
func ExampleManager_Stats() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)
	conn, err := manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Release()

	stats, err := manager.Stats(ctx)
	if err != nil {
		log.Fatal(err)
	}
	share := stats.Workspaces
	fmt.Printf("%d of %d slots: %d in use, %d idle\n", share.Open(), share.Budget, share.InUse, share.Idle)
	for _, workspace := range share.Active {
		fmt.Println(workspace.ID, workspace.InUse)
	}
	// Output:
	// 1 of 15 slots: 1 in use, 0 idle
	// customer-42 1
}

// Who has what, and which line of the program acquired it.
func ExampleManager_Leases() {
	ctx := context.Background()
	manager := exampleManager(func(cfg *model.Config) { cfg.LeaseTracing = true })
	defer manager.Close(ctx)
	conn, err := manager.Acquire(ctx, "customer-42")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Release()

	leases, err := manager.Leases(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, lease := range leases {
		where, _, _ := strings.Cut(lease.AcquiredAt, " ")
		fmt.Println(lease.Workspace, where)
	}
	// Output: customer-42 github.com/tenantpool/tenantpool/pools_test.ExampleManager_Leases
}

func ExampleManager_Events() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	manager := exampleManager()
	defer manager.Close(context.Background())

	events, err := manager.Events(ctx, 100)
	if err != nil {
		log.Fatal(err)
	}
	if err := manager.Workspace("customer-42").Ping(ctx); err != nil {
		log.Fatal(err)
	}
	for event := range events {
		if event.Workspace == "customer-42" {
			fmt.Println(event.Kind, event.Took > 0)
			stop() // closes the channel
		}
	}
	// Output: dialed true
}

// A dump explains waits afterwards: tenantpool replay reads it.
func ExampleManager_Dump() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	var dump bytes.Buffer
	if err := manager.Dump(ctx, &dump); err != nil {
		log.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(dump.Bytes()), int64(dump.Len()))
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range archive.File {
		fmt.Println(file.Name)
	}
	// Output:
	// messages.json
	// traffic
	// about.json
}

func ExampleManager_CreateWorkspace() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	fmt.Println(manager.CreateWorkspace(ctx, "customer-44"))
	err := manager.CreateWorkspace(ctx, "customer-44")
	fmt.Println(errors.Is(err, model.ErrWorkspaceExists))

	fmt.Println(manager.Workspaces(ctx))
	fmt.Println(manager.DropWorkspace(ctx, "customer-44")) // pauses, closes, drops
	// Output:
	// <nil>
	// true
	// [customer-42 customer-43 customer-44] <nil>
	// <nil>
}

// The database keeps its content, and whoever waits for the new name gets it.
func ExampleManager_RenameWorkspace() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	if err := manager.CreateWorkspace(ctx, "trial-7"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(manager.RenameWorkspace(ctx, "trial-7", "customer-46"))

	var database string
	err := manager.Workspace("customer-46").QueryRow(ctx, `SELECT current_database()`).Scan(&database)
	fmt.Println(database, err)
	err = manager.Workspace("trial-7").Ping(ctx)
	fmt.Println(errors.Is(err, model.ErrNoWorkspace))

	fmt.Println(manager.DropWorkspace(ctx, "customer-46"))
	// Output:
	// <nil>
	// shop_ws_customer-46 <nil>
	// true
	// <nil>
}

// Nobody gets the workspace before its tables are there.
func ExampleWithInit() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	err := manager.CreateWorkspace(ctx, "customer-45", model.FromTemplate("template1"),
		pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
			_, err := conn.Exec(ctx, `CREATE TABLE orders (item text); INSERT INTO orders VALUES ('tea')`)
			return err
		}))
	if err != nil {
		log.Fatal(err)
	}
	var item string
	err = manager.Workspace("customer-45").QueryRow(ctx, `SELECT item FROM orders`).Scan(&item)
	fmt.Println(item, err)

	fmt.Println(manager.DropWorkspace(ctx, "customer-45"))
	// Output:
	// tea <nil>
	// <nil>
}

// Query runs one statement for a program that speaks JSON.
func ExampleManager_Query() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	result, err := manager.Query(ctx, model.Query{
		Workspace: "customer-42",
		SQL:       `SELECT $1::text AS item, 3::int4 AS amount`,
		Args:      []any{"tea"},
		ReadOnly:  true,
		MaxRows:   100,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Columns, result.Rows)
	// Output: [{item text} {amount int4}] [[tea 3]]
}

// New credentials are tried first: wrong ones change nothing.
func ExampleManager_SetCredentials() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	err := manager.SetCredentials(ctx, exampleConfig().User, "wrong")
	var dial *model.DialError
	fmt.Println(errors.As(err, &dial))

	fmt.Println(manager.Workspace("customer-42").Ping(ctx))
	// Output:
	// true
	// <nil>
}

// However many workspaces there are, a page of them is in memory at a time.
func ExampleManager_AllWorkspaces() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	for id, err := range manager.AllWorkspaces(ctx, "customer-") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(id)
	}
	// Output:
	// customer-42
	// customer-43
}

func ExampleManager_ListWorkspaces() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)

	page, err := manager.ListWorkspaces(ctx, model.ListOptions{Prefix: "customer-", Limit: 1})
	fmt.Println(page, err)
	page, err = manager.ListWorkspaces(ctx, model.ListOptions{Prefix: "customer-", Limit: 1, After: page[0]})
	fmt.Println(page, err)
	// Output:
	// [customer-42] <nil>
	// [customer-43] <nil>
}
