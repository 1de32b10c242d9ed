package pools_test

import (
	"context"
	"fmt"

	"github.com/tenantpool/tenantpool/pools"
)

// Who uses how much of the budget.
func ExampleManager_Usage() {
	ctx := context.Background()
	m, err := pools.Open(ctx, config(20), pools.WithLogger(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close(ctx)
	for range 3 {
		if _, err := m.Workspace("w0").Exec(ctx, "SELECT pg_sleep(0.01)"); err != nil {
			fmt.Println(err)
		}
	}
	usage, err := m.Usage(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, w := range usage.Workspaces {
		fmt.Println(w.ID, w.Acquires, w.Dials, w.Lent.Milliseconds() >= 30)
	}
	// Output:
	// w0 3 1 true
}
