package pools_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// ForEach works on many workspaces, as many at once as batch work may have connections.
// The first one goes alone: if it fails, the others stay as they are.
func ExampleManager_ForEach() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)
	ids := []model.WorkspaceID{"customer-42", "customer-43"}

	addTable := func(ctx context.Context, w *pools.Workspace) error {
		_, err := w.Exec(ctx, "CREATE TABLE IF NOT EXISTS notes (id int, note text)")
		return err
	}
	err := manager.ForEach(ctx, ids, addTable, pools.ForEachOptions{
		Canary: 1,
		Done:   func(r pools.WorkspaceResult) { fmt.Println(r.ID, r.Err) },
	})
	fmt.Println(err)
	// Output:
	// customer-42 <nil>
	// customer-43 <nil>
	// <nil>
}

// One that fails does not keep the others from it. The error tells them apart.
func ExampleForEachError() {
	ctx := context.Background()
	manager := exampleManager()
	defer manager.Close(ctx)
	ids := []model.WorkspaceID{"customer-42", "nobody", "customer-43"}

	err := manager.ForEach(ctx, ids, func(ctx context.Context, w *pools.Workspace) error {
		return w.Ping(ctx)
	}, pools.ForEachOptions{})
	var notAll *pools.ForEachError
	if !errors.As(err, &notAll) {
		log.Fatal("it must have failed: ", err)
	}
	for _, failed := range notAll.Failed {
		fmt.Println(failed.ID, errors.Is(failed.Err, model.ErrNoWorkspace))
	}
	// Output: nobody true
}
