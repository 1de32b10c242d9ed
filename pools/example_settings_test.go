package pools_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// A function of the application says which workspaces have settings of their own.
func ExampleWithWorkspaceSettings() {
	ctx := context.Background()
	trials := map[model.WorkspaceID]bool{"customer-42": true}
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithLogger(nil),
		pools.WithWorkspaceSettings(func(_ context.Context, id model.WorkspaceID) (pools.WorkspaceSettings, error) {
			if trials[id] {
				return pools.WorkspaceSettings{MaxConnections: 1, StatementTimeout: 2 * time.Second}, nil
			}
			return pools.WorkspaceSettings{}, nil // as the Config says
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	for _, id := range []model.WorkspaceID{"customer-42", "customer-43"} {
		var timeout string
		err := manager.Workspace(id).QueryRow(ctx, `SHOW statement_timeout`).Scan(&timeout)
		fmt.Println(id, timeout, err)
	}
	// Output:
	// customer-42 2s <nil>
	// customer-43 0 <nil>
}

// A table holds the settings of the workspaces that differ; all processes read it.
func ExampleWithSettingsTable() {
	ctx := context.Background()
	setup := exampleManager()
	_, err := setup.System().Exec(ctx, `
		CREATE TABLE IF NOT EXISTS workspace_settings (
			workspace_id         text COLLATE "C" PRIMARY KEY,
			max_connections      integer,
			soft_max_connections integer,
			max_waiters          integer,
			acquire_timeout_ms   bigint,
			role                 text,
			statement_timeout_ms bigint
		)`)
	setup.Close(ctx)
	if err != nil {
		log.Fatal(err)
	}
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithSettingsTable("workspace_settings"), pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	settings := pools.WorkspaceSettings{MaxConnections: 8, SoftMaxConnections: 3, AcquireTimeout: 10 * time.Second}
	if err := manager.SetWorkspaceSettings(ctx, "customer-42", settings); err != nil {
		log.Fatal(err)
	}
	settings, err = manager.WorkspaceSettings(ctx, "customer-42")
	fmt.Println(settings.MaxConnections, settings.SoftMaxConnections, settings.AcquireTimeout, err)
	// Output: 8 3 10s <nil>
}
