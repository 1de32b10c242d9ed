package sqlc_test

import (
	"context"
	_ "embed"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/sqlc"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

//go:embed schema.sql
var schema string

func TestQueries(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	ctx := context.Background()
	w := throwaway.Workspace(t, manager, schema)

	use(t, "a workspace", sqlc.New(w))
	if err := w.AcquireFunc(ctx, func(conn *pools.Conn) error { use(t, "a connection", sqlc.New(conn)); return nil }); err != nil {
		t.Error(err)
	}
	changedMind := errors.New("changed my mind")
	err := pgx.BeginFunc(ctx, w, func(tx pgx.Tx) error {
		use(t, "a transaction", sqlc.New(w).WithTx(tx))
		return changedMind
	})
	if !errors.Is(err, changedMind) {
		t.Error(err)
	}
	orders, err := sqlc.New(w).Orders(ctx)
	if err != nil || len(orders) != 4 { // two of each of the first two
		t.Errorf("%d orders (%v)", len(orders), err)
	}
	throwaway.NothingLent(t, manager)
}

// use leaves two orders, of tea and of salt.
func use(t *testing.T, through string, q *sqlc.Queries) {
	ctx := context.Background()
	order, err := q.PlaceOrder(ctx, sqlc.PlaceOrderParams{Item: through, Quantity: 2})
	if err != nil || order.Item != through || order.Note.Valid || order.Placed.Time.IsZero() {
		t.Fatalf("through %s: %v, %v", through, order, err)
	}
	if n, err := q.CancelOrder(ctx, order.ID); n != 1 || err != nil {
		t.Errorf("through %s: %d cancelled (%v)", through, n, err)
	}
	tea := "tea through " + through
	if n, err := q.ImportOrders(ctx, []sqlc.ImportOrdersParams{{Item: tea, Quantity: 5}, {Item: "salt", Quantity: 1}}); n != 2 || err != nil {
		t.Errorf("through %s: %d imported (%v)", through, n, err)
	}
	var answers int
	q.Quantities(ctx, []string{tea, tea}).QueryRow(func(_ int, quantity int64, err error) {
		answers++
		if quantity != 5 || err != nil {
			t.Errorf("through %s: %d ordered (%v)", through, quantity, err)
		}
	})
	if answers != 2 {
		t.Errorf("through %s: %d answers to a batch of two", through, answers)
	}
	// A batch that nobody reads gives its connection back, too.
	if err := q.Quantities(ctx, []string{tea}).Close(); err != nil {
		t.Errorf("through %s: %v", through, err)
	}
}
