// Package otelpgx traces the queries of all workspaces with otelpgx.
package otelpgx

import (
	"context"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantpool/tenantpool/model"
)

// BeforeConnect is for pools.Hooks: each connection gets one tracer, which makes a span
// for each query in the span of the context that the query is run with. Its db.namespace
// is the workspace's database. A query outside of any span has none, and so have dials,
// the Manager's own questions, and Manager.Query.
//
// The wait for a connection is over before the span begins.
func BeforeConnect(provider trace.TracerProvider) func(context.Context, model.WorkspaceID, *pgx.ConnConfig) error {
	tracer := otelpgx.NewTracer(otelpgx.WithTracerProvider(provider))
	return func(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
		config.Tracer = tracer
		return nil
	}
}
