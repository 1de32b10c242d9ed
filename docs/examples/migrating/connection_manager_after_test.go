package migrating_test

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

type Adapter struct{ manager *pools.Manager }

var _ ConnectionManager = Adapter{}

func (a Adapter) GetSystemConnection() *sql.DB { return a.manager.System().DB() }

func (a Adapter) GetWorkspaceConnection(ctx context.Context, workspaceID string) (*sql.DB, error) {
	id, err := model.ParseWorkspaceID(workspaceID)
	if err != nil {
		return nil, err
	}
	return a.manager.Workspace(id).DB(), nil // nothing is dialed yet
}

func (a Adapter) CloseWorkspaceConnection(workspaceID string) error {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	_, err := a.manager.Evict(ctx, model.WorkspaceID(workspaceID)) // what is idle
	if errors.Is(err, model.ErrNoWorkspace) {
		return nil
	}
	return err
}

func (a Adapter) GetStats() ConnectionStats {
	stats, err := a.manager.Stats(context.Background())
	if err != nil { // the manager is closed
		return ConnectionStats{}
	}
	all := ConnectionStats{
		MaxConnections:       stats.Workspaces.Budget,
		OpenConnections:      stats.Workspaces.Open(),
		InUse:                stats.Workspaces.InUse,
		WorkspaceConnections: map[string]int{},
	}
	for _, w := range stats.Workspaces.Active {
		all.WorkspaceConnections[string(w.ID)] = w.Open()
	}
	return all
}

func (a Adapter) Close() error {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	return a.manager.Close(ctx)
}
