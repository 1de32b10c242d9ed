// Package otelsql traces the statements of a workspace with otelsql.
package otelsql

import (
	"database/sql"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantpool/tenantpool/pools"
)

// Open returns a *sql.DB of one's own over the workspace's connections, with a span for
// each statement. Keep one for each workspace, and close it when the workspace is not
// needed any more; it costs a goroutine. The time that a statement waits for its
// connection is part of its span.
func Open(workspace *pools.Workspace, provider trace.TracerProvider) *sql.DB {
	return otelsql.OpenDB(workspace.Connector(),
		otelsql.WithTracerProvider(provider),
		otelsql.WithAttributes(attribute.String("workspace.id", string(workspace.ID()))),
		// Connecting costs nothing here: the first statement acquires.
		otelsql.WithSpanOptions(otelsql.SpanOptions{OmitConnectorConnect: true, OmitConnResetSession: true, OmitRows: true}),
	)
}
