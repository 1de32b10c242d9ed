package pooltest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/pooltest"
)

// orders is a program that is tested.
type orders struct{ *pools.Manager }

func (o orders) count(ctx context.Context, id model.WorkspaceID) (n int, err error) {
	err = o.Workspace(id).QueryRow(ctx, `SELECT count(*) FROM orders WHERE item <> $1`, "tea").Scan(&n)
	return n, err
}

// test stands in for the *testing.T that a test gets, which an example does not.
func test(f func(t testing.TB)) {
	t := &witness{name: "TestOrders"}
	f(t)
	fmt.Print(t.end())
}

// shops is a variable of the package that is tested. It starts with the first test that
// needs it, and migrates once.
var shops = pooltest.NewServer(pooltest.Config{
	Migrate: func(ctx context.Context, w *pools.Workspace) error {
		_, err := w.Exec(ctx, `CREATE TABLE orders (item text); INSERT INTO orders VALUES ('salt')`)
		return err
	},
})

// Each test has a workspace of its own, so that tests may run in parallel.
func ExampleServer() {
	defer shops.Stop()        // in TestMain, or not at all
	test(func(t testing.TB) { // func TestOrders(t *testing.T) {
		ctx := context.Background()
		shop := shops.Workspace(t)
		if _, err := shop.Exec(ctx, `INSERT INTO orders VALUES ('rice')`); err != nil {
			t.Fatal(err)
		}
		n, err := orders{shops.Manager(t)}.count(ctx, shop.ID())
		fmt.Println(n, err)
	})
	test(func(t testing.TB) {
		n, err := orders{shops.Manager(t)}.count(context.Background(), shops.Workspace(t).ID())
		fmt.Println(n, err)
	})
	// Output:
	// 2 <nil>
	// 1 <nil>
}

// The handler answers what the test is about.
func ExampleFake() {
	test(func(t testing.TB) { // func TestOrders(t *testing.T) {
		fake := pooltest.NewFake(t, func(ctx context.Context, q pooltest.Query) (*pooltest.Result, error) {
			switch {
			case q.Workspace == "broken":
				return nil, pooltest.Refuse("42P01", `relation "orders" does not exist`)
			case q.SQL == `SELECT count(*) FROM orders WHERE item <> $1` && q.Args[0] == "tea":
				return pooltest.Rows("count").Row(3), nil
			}
			return nil, nil
		})
		fake.Workspace("acme")
		fake.Workspace("broken")
		shop := orders{fake.Manager()}

		for _, id := range []model.WorkspaceID{"acme", "broken", "unknown"} {
			n, err := shop.count(context.Background(), id)
			fmt.Println(n, err, errors.Is(err, model.ErrNoWorkspace))
		}
	})
	// Output:
	// 3 <nil> false
	// 0 ERROR: relation "orders" does not exist (SQLSTATE 42P01) false
	// 0 connect workspace "unknown": FATAL: database "test_ws_unknown" does not exist (SQLSTATE 3D000); create the database first true
}

// What goes wrong in production is one line each.
func ExampleFake_faults() {
	test(func(t testing.TB) { // func TestOutage(t *testing.T) {
		fake := pooltest.NewFake(t, nil)
		shop := fake.Workspace("acme")
		try := func(what string) {
			ctx, stop := context.WithTimeout(context.Background(), time.Second)
			defer stop()
			conn, err := shop.Acquire(ctx)
			if err == nil {
				_, err = conn.Exec(ctx, `INSERT INTO orders VALUES ('rice')`)
				conn.Release()
			}
			var dial *model.DialError
			switch {
			case errors.As(err, &dial):
				fmt.Println(what+":", dial.Kind)
			case errors.Is(err, model.ErrPaused):
				fmt.Println(what + ": paused")
			case err != nil:
				fmt.Println(what+":", ctx.Err())
			}
		}

		if err := shop.Ping(context.Background()); err != nil {
			t.Fatal(err)
		}
		fake.SetLatency(time.Hour)
		try("slow")
		fake.SetLatency(0)

		if _, err := fake.Manager().Pause(context.Background(), "acme"); err != nil {
			t.Fatal(err)
		}
		try("paused")
		if err := fake.Manager().Resume(context.Background(), "acme"); err != nil {
			t.Fatal(err)
		}

		fake.SetDown(true)
		try("down")
	})
	// Output:
	// slow: context deadline exceeded
	// paused: paused
	// down: server_down
}

// A manager of the test's own, with other limits.
func ExampleFake_Open() {
	test(func(t testing.TB) { // func TestBusy(t *testing.T) {
		ctx := context.Background()
		fake := pooltest.NewFake(t, nil)
		fake.Workspace("acme")
		manager := fake.Open(func(cfg *model.Config) { cfg.MaxConnectionsPerDB, cfg.AcquireTimeout = 1, 0 })

		conn, err := manager.Acquire(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		var limit *model.ConnectionLimitError
		_, err = manager.Acquire(ctx, "acme")
		fmt.Println(errors.As(err, &limit), limit.Limit)
	})
	// Output: true workspace
}
