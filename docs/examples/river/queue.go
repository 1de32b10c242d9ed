// Package river has a job queue in each workspace, over database/sql or over pgx.
package river

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/riverpool"
)

// Invoice is a job.
type Invoice struct {
	Order int64 `json:"order"`
}

// Kind is River's.
func (Invoice) Kind() string { return "invoice" }

// Invoicer sends invoices.
type Invoicer struct {
	river.WorkerDefaults[Invoice]
	Send func(ctx context.Context, order int64) error
}

// Work is River's.
func (i *Invoicer) Work(ctx context.Context, job *river.Job[Invoice]) error {
	return i.Send(ctx, job.Args.Order)
}

// OverPgx is a workspace's queue on River's pgx driver: jobs begin as soon as they are
// committed, and the listener for that holds one connection.
func OverPgx(ctx context.Context, workspace *pools.Workspace, invoicer *Invoicer) (*river.Client[pgx.Tx], error) {
	return client(ctx, riverpool.New(workspace), invoicer)
}

// OverDatabaseSQL is a workspace's queue on River's driver for database/sql, which has no
// listener: it polls, and holds nothing between two polls.
func OverDatabaseSQL(ctx context.Context, workspace *pools.Workspace, invoicer *Invoicer) (*river.Client[*sql.Tx], error) {
	return client(ctx, riverdatabasesql.New(workspace.DB()), invoicer)
}

func client[TTx any](ctx context.Context, driver riverdriver.Driver[TTx], invoicer *Invoicer) (*river.Client[TTx], error) {
	logger := slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, invoicer)
	client, err := river.NewClient(driver, &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
		Workers: workers,
		Logger:  logger,
	})
	if err != nil {
		return nil, err
	}
	return client, client.Start(ctx)
}

// Order stores an order, and the job that sends its invoice, in one transaction.
func Order(ctx context.Context, workspace *pools.Workspace, queue *river.Client[pgx.Tx], item string) error {
	return pgx.BeginFunc(ctx, workspace, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, `INSERT INTO orders (item) VALUES ($1) RETURNING id`, item).Scan(&id); err != nil {
			return err
		}
		_, err := queue.InsertTx(ctx, tx, Invoice{id}, nil)
		return err
	})
}

// OrderSQL is Order for a queue over database/sql.
func OrderSQL(ctx context.Context, workspace *pools.Workspace, queue *river.Client[*sql.Tx], item string) (err error) {
	tx, err := workspace.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	var id int64
	if err := tx.QueryRowContext(ctx, `INSERT INTO orders (item) VALUES ($1) RETURNING id`, item).Scan(&id); err != nil {
		return err
	}
	if _, err := queue.InsertTx(ctx, tx, Invoice{id}, nil); err != nil {
		return err
	}
	return tx.Commit()
}
