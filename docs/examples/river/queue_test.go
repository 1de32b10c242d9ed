package river_test

import (
	"context"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/river"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

const orders = `CREATE TABLE orders (id bigserial, item text)`

func TestOverPgx(t *testing.T) {
	ctx := context.Background()
	manager := throwaway.Open(t)
	w := throwaway.Workspace(t, manager, orders)
	sent := make(chan int64, 10)
	queue, err := river.OverPgx(ctx, w, sendTo(sent))
	if err != nil {
		t.Fatal(err)
	}
	check(t, manager, sent, 1, func() error { return river.Order(ctx, w, queue, "tea") }, queue.Stop)
}

func TestOverDatabaseSQL(t *testing.T) {
	ctx := context.Background()
	manager := throwaway.Open(t)
	w := throwaway.Workspace(t, manager, orders)
	sent := make(chan int64, 10)
	queue, err := river.OverDatabaseSQL(ctx, w, sendTo(sent))
	if err != nil {
		t.Fatal(err)
	}
	check(t, manager, sent, 0, func() error { return river.OrderSQL(ctx, w, queue, "tea") }, queue.Stop)
}

func sendTo(sent chan int64) *river.Invoicer {
	return &river.Invoicer{Send: func(_ context.Context, order int64) error { sent <- order; return nil }}
}

// check places orders, waits for their invoices, and until no more connections than
// atRest are lent.
func check(t *testing.T, manager *pools.Manager, sent chan int64, atRest int, order func() error, stop func(context.Context) error) {
	t.Helper()
	for range 3 {
		if err := order(); err != nil {
			t.Fatal(err)
		}
	}
	invoices := map[int64]bool{}
	timeout := time.After(throwaway.Patience)
	for len(invoices) < 3 {
		select {
		case id := <-sent:
			invoices[id] = true
		case <-timeout:
			t.Fatalf("only the orders %v have an invoice", invoices)
		}
	}
	throwaway.Eventually(t, "the queue is at rest", func() bool { return throwaway.Lent(t, manager) == atRest })
	if err := stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	throwaway.NothingLent(t, manager)
}
