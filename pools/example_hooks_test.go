package pools_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

type userKey struct{}

// What connections begin with, what sessions begin with, and what each request is told
// apart by: row level security, for example, can ask for app.user.
func ExampleHooks() {
	hooks := pools.Hooks{
		BeforeConnect: func(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
			config.RuntimeParams["statement_timeout"] = "30s"
			return nil
		},
		AfterConnect: func(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `SELECT set_config('app.customer', $1, false)`, id)
			return err
		},
		PrepareConn: func(ctx context.Context, _ model.WorkspaceID, conn *pgx.Conn) (bool, error) {
			user, _ := ctx.Value(userKey{}).(string) // of the acquire's context
			_, err := conn.Exec(ctx, `SELECT set_config('app.user', $1, false)`, user)
			return err == nil, err
		},
	}
	ctx := context.Background()
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithHooks(hooks), exampleLogger())
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	for _, user := range []string{"ann", "bob"} {
		var timeout, customer, who string
		err := manager.Workspace("customer-42").QueryRow(context.WithValue(ctx, userKey{}, user),
			`SELECT current_setting('statement_timeout'), current_setting('app.customer'), current_setting('app.user')`).Scan(&timeout, &customer, &who)
		fmt.Println(timeout, customer, who, err)
	}
	// Output:
	// 30s customer-42 ann <nil>
	// 30s customer-42 bob <nil>
}

// printer is told of acquires, dials and releases.
type printer struct{}

func (printer) TraceAcquireStart(ctx context.Context, data pools.TraceAcquireStartData) context.Context {
	fmt.Println("acquire", data.Workspace)
	return ctx
}

func (printer) TraceAcquireEnd(_ context.Context, data pools.TraceAcquireEndData) {
	fmt.Println("acquired", data.Workspace, data.Err)
}

func (printer) TraceDialStart(ctx context.Context, _ pools.TraceDialStartData) context.Context {
	return ctx
}

func (printer) TraceDialEnd(_ context.Context, data pools.TraceDialEndData) {
	if data.Workspace != "" { // and not the system database
		fmt.Println("dialed", data.Workspace, data.Err)
	}
}

func (printer) TraceRelease(data pools.TraceReleaseData) { fmt.Println("released", data.Workspace) }

// A tracer has the methods of what it wants to be told of. For OpenTelemetry there is
// pools/otelpool.
func ExampleWithTracer() {
	ctx := context.Background()
	manager, err := pools.Open(ctx, exampleConfig(), pools.WithTracer(printer{}), exampleLogger())
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)

	for range 2 {
		if err := manager.Workspace("customer-42").Ping(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// acquire customer-42
	// dialed customer-42 <nil>
	// acquired customer-42 <nil>
	// released customer-42
	// acquire customer-42
	// acquired customer-42 <nil>
	// released customer-42
}

func exampleLogger() pools.Option {
	return pools.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
}
