package pools_test

import (
	"context"
	"fmt"

	"github.com/tenantpool/tenantpool/pools"
)

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
