package web

import (
	"context"
	"io"

	"github.com/tenantpool/tenantpool/model"
)

// Pool is what the server shows and steers. A *pools.Manager is one.
//
// All methods block until they are done or ctx is. Their errors are those of
// package model, and are safe to show to an operator.
type Pool interface {
	// Stats is the state of all connections at one moment.
	Stats(ctx context.Context) (model.Stats, error)
	// Usage is what workspaces have had since the start.
	Usage(ctx context.Context) (model.Usage, error)
	// SharedBudget is the budget that several processes share, and who has what of it. The
	// error wraps errors.ErrUnsupported if the budget is not shared, or model.ErrClosed;
	// else the group cannot be read now.
	SharedBudget(ctx context.Context) (model.SharedBudget, error)
	// Capacity says how many connections the traffic of the last minutes needs. The error
	// wraps errors.ErrUnsupported if the planner is off, or model.ErrClosed.
	Capacity(ctx context.Context) (model.Capacity, error)
	// Ping asks the server something, over the system database.
	Ping(ctx context.Context) error
	// Events tells what happens from now on, until ctx is done or the pool is
	// closed; then the channel is closed. Who does not read loses events, and is
	// told how many by the next one.
	Events(ctx context.Context, buffer int) (<-chan model.Event, error)

	// Evict closes the workspace's idle connections.
	Evict(ctx context.Context, id model.WorkspaceID) (closed int, err error)
	// Renew closes the workspace's idle connections now, and those that are lent when
	// they come home; RenewAll does so for all workspaces and the system database. They
	// wait for the idle ones.
	Renew(ctx context.Context, id model.WorkspaceID) (closed int, err error)
	RenewAll(ctx context.Context) (closed int, err error)
	// Pause lets new acquires of the workspace wait, its leases come home and its
	// connections close. If ctx is done first it stays paused all the same.
	Pause(ctx context.Context, id model.WorkspaceID) (closed int, err error)
	Resume(ctx context.Context, id model.WorkspaceID) error
	// SetLimits changes the budget and the cap of each workspace, and returns how many
	// connections the server grants; 0: it did not say. A shared budget is changed for all
	// of its processes, the cap for this one, and the role's limit is returned. The error is a joined list of
	// *model.ConfigError.
	SetLimits(ctx context.Context, maxConnections, maxConnectionsPerDB int) (granted int, err error)
	// WorkspaceSettings are those of one workspace that are in force, and zero if it has
	// none of its own. SetWorkspaceSettings changes them all; zero deletes them. The error
	// is a *model.SettingsError, and wraps errors.ErrUnsupported if they are kept where the
	// pool cannot write.
	WorkspaceSettings(ctx context.Context, id model.WorkspaceID) (model.WorkspaceSettings, error)
	SetWorkspaceSettings(ctx context.Context, id model.WorkspaceID, own model.WorkspaceSettings) error
	// Dump writes what is needed to find out afterwards what happened, as a zip
	// archive that holds no secret.
	Dump(ctx context.Context, w io.Writer) error
	// Close drains.
	Close(ctx context.Context) error

	// Query runs one statement. The error wraps a *model.SQLError when the server
	// refused it, and model.ErrConnectionLost when it is not known what became of it.
	Query(ctx context.Context, q model.Query) (model.QueryResult, error)

	// CreateWorkspace creates the workspace's database, as a copy of another one if it
	// is told so; model.ErrWorkspaceExists when there is one.
	// DropWorkspace pauses the workspace, closes its connections and drops its
	// database; model.ErrNoWorkspace when there is none. What other processes have open
	// there is refused with a *model.SQLError, or ended with model.Force.
	CreateWorkspace(ctx context.Context, id model.WorkspaceID, opts ...model.CreateOption) error
	DropWorkspace(ctx context.Context, id model.WorkspaceID, opts ...model.DropOption) error
	// RenameWorkspace pauses both and renames the database: model.ErrNoWorkspace when
	// from has none, model.ErrWorkspaceExists when to has one.
	RenameWorkspace(ctx context.Context, from, to model.WorkspaceID) error
	// ListWorkspaces lists a page of the workspaces that have a database, by id. The error
	// is a *model.ListError for bad options.
	ListWorkspaces(ctx context.Context, opts model.ListOptions) ([]model.WorkspaceID, error)
}
