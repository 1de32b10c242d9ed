package pools_test

import (
	"context"
	"fmt"

	"github.com/tenantpool/tenantpool/pools"
)

// A connection string says where to connect, and what it likes of the pool.
func ExampleParseConfig() {
	cfg, err := pools.ParseConfig("postgres://app:s3cret@db1,db2:5433/shop?target_session_attrs=read-write&search_path=app&pool_max_conns=40&pool_min_conns=4")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Host, cfg.SystemDatabase, cfg.TargetSessionAttrs, cfg.MaxConnections)
	fmt.Println(cfg.Parameters)
	fmt.Println(cfg.Unused)

	_, err = pools.ParseConfig("postgres://app:s3:cret@db1:port/shop")
	fmt.Println(err)
	// Output:
	// db1:5432,db2:5433 shop read-write 40
	// search_path=app
	// pool_min_conns: no connection is kept for a workspace that nobody uses
	// connection string: a port must be a number from 1 to 65535; in a password of a URL escape : and @, as %3A and %40
}

// Each dial asks for the credentials, so a password may change while the program runs.
func ExampleWithCredentials() {
	ctx := context.Background()
	cfg := exampleConfig()
	password := cfg.Password
	cfg.Password = ""
	secret := func(context.Context) (pools.Credentials, error) { // ask a secret manager
		return pools.Credentials{User: cfg.User, Password: password}, nil
	}
	manager, err := pools.Open(ctx, cfg, pools.WithCredentials(secret))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer manager.Close(ctx)
	fmt.Println(manager.Workspace("customer-42").Ping(ctx))
	// Output:
	// <nil>
}
