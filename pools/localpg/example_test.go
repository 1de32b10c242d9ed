//go:build unix

package localpg_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// A test's TestMain starts one server for the whole package; a crash of the program
// stops it, too.
func ExampleStart() {
	ctx := context.Background()
	server, err := localpg.Start(ctx, localpg.Options{
		MaxConnections: 20,
		Settings:       map[string]string{"work_mem": "8MB"},
		InMemory:       true,
	})
	if err != nil {
		log.Fatal(err) // wraps localpg.ErrNoBinaries where there is no PostgreSQL
	}
	defer server.Stop()

	if err := server.CreateDatabases(ctx, "shop"); err != nil {
		log.Fatal(err)
	}
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	config.Host, config.Port, config.Database = server.Host, uint16(server.Port), "shop"
	config.User, config.Password = server.User, server.Password
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	var database, memory string
	err = conn.QueryRow(ctx, `SELECT current_database(), current_setting('work_mem')`).Scan(&database, &memory)
	fmt.Println(database, memory, err)
	// Output: shop 8MB <nil>
}

// A crash and a recovery, to see how a program takes them. The port stays the same.
func ExampleServer_Shutdown() {
	ctx := context.Background()
	server, err := localpg.Start(ctx, localpg.Options{InMemory: true})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop()
	port := server.Port

	fmt.Println(server.Shutdown(ctx, localpg.Kill))
	fmt.Println(server.Resume(ctx), server.Port == port)
	// Output:
	// <nil>
	// <nil> true
}
