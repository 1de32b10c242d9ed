// Package riverpool runs River (github.com/riverqueue/river) on the connections of a
// workspace, with River's own driver for pgx and without a pgxpool:
//
//	client, err := river.NewClient(riverpool.New(manager.Workspace("customer-42")), &river.Config{
//		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
//		Workers: workers,
//	})
//
// A job joins a transaction of the workspace, a pgx.Tx, with InsertTx.
//
// # What it holds
//
// Each of River's queries borrows a connection for as long as it runs, so a client that
// has nothing to do holds nothing, with one exception: its listener keeps one connection,
// and with it one slot of the budget and one of the workspace's cap, from Start to Stop.
// With a client for each of many workspaces set river.Config.PollOnly, which does without
// the listener: a job then begins up to FetchPollInterval after its insertion, and each
// poll is a query that may have to dial. A client that only inserts is not started and
// holds nothing.
//
// Workers that query the workspace borrow their own connections; MaxWorkers beyond
// DB_MAX_CONNECTIONS_PER_DB wait for each other there. With a cap of 1 the listener
// leaves nothing for the queries: set PollOnly, or raise the cap.
//
// # What to know
//
// River calls the interface that this package implements unstable, so take the version of
// River that this module requires. If a hook changes pgx's DefaultQueryExecMode to one of
// the text modes (exec, simple_protocol), River does not see that, and its JSON arguments
// fail; leave the mode of such workspaces as it is.
package riverpool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/tenantpool/tenantpool/pools"
)

// Driver is riverpgxv5's driver on a workspace. It has nothing to close.
type Driver struct {
	*riverpgxv5.Driver
	workspace *pools.Workspace
}

var _ riverdriver.Driver[pgx.Tx] = (*Driver)(nil)

// New returns a driver for river.NewClient and rivermigrate.New. It does not block.
func New(workspace *pools.Workspace) *Driver {
	return &Driver{riverpgxv5.New(nil), workspace}
}

// GetExecutor is River's.
func (d *Driver) GetExecutor() riverdriver.Executor {
	return d.UnwrapExecutor(executor{d.workspace})
}

// GetListener is River's.
func (d *Driver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return newListener(d.workspace, params.Schema)
}

// PoolIsSet is River's.
func (d *Driver) PoolIsSet() bool { return true }

// executor is a Workspace in the place of a pgx.Tx: riverpgxv5 makes an executor of
// nothing else that comes from outside. The executor calls what a Workspace has, Begin
// among it; what follows here ends or prepares a transaction, and it does neither.
type executor struct{ *pools.Workspace }

var errNoTransaction = errors.New("riverpool: River used a workspace's executor as a transaction, which it is not: take the version of River that riverpool requires")

func (executor) Commit(context.Context) error   { return errNoTransaction }
func (executor) Rollback(context.Context) error { return errNoTransaction }
func (executor) Conn() *pgx.Conn                { return nil }
func (executor) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }
func (executor) Prepare(context.Context, string, string) (*pgconn.StatementDescription, error) {
	return nil, errNoTransaction
}
