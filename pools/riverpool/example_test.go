package riverpool_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/riverpool"
)

type invoice struct {
	Order int `json:"order"`
}

func (invoice) Kind() string { return "invoice" }

type invoicer struct {
	river.WorkerDefaults[invoice]
	sent chan int
}

func (i *invoicer) Work(_ context.Context, job *river.Job[invoice]) error {
	i.sent <- job.Args.Order
	return nil
}

// A workspace with a queue of its own: an order and the job that sends its invoice are
// committed together.
func Example() {
	ctx := context.Background()
	workspace := newWorkspace("customer-42")

	migrator, err := rivermigrate.New(riverpool.New(workspace), &rivermigrate.Config{Logger: silent})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		log.Fatal(err)
	}
	worker := &invoicer{sent: make(chan int)}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(riverpool.New(workspace), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
		Workers: workers,
		Logger:  silent,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer client.Stop(ctx)

	err = pgx.BeginFunc(ctx, workspace, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders VALUES (7, 'tea')`); err != nil {
			return err
		}
		_, err := client.InsertTx(ctx, tx, invoice{Order: 7}, nil)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the invoice for order", <-worker.sent, "is sent")
	// Output: the invoice for order 7 is sent
}

func newWorkspace(id model.WorkspaceID) *pools.Workspace {
	ctx := context.Background()
	if err := manager.CreateWorkspace(ctx, id); err != nil {
		log.Fatal(err)
	}
	if _, err := manager.Workspace(id).Exec(ctx, `CREATE TABLE orders (id int, item text)`); err != nil {
		log.Fatal(err)
	}
	return manager.Workspace(id)
}
