package pools

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// Began is between which moments the connection's process is known to have begun.
func Began(c *Conn) (from, to time.Time) { return c.backend.began.from, c.backend.began.to }

// TerminateBackend is the closers' question to the server.
func TerminateBackend(ctx context.Context, m *Manager, c *Conn, from, to time.Time) (gone bool, err error) {
	return m.terminateBackend(ctx, &backend{pgx: c.backend.pgx, began: span{from, to}})
}

// SortRefusal is what follows from what the server said to a login.
func SortRefusal(said *pgconn.PgError) (model.FailureKind, error) {
	f := newRefusal(said)
	return f.kind, f
}

// CloseDBs closes the *sql.DBs that the manager's Close leaves to their holders.
func CloseDBs(m *Manager) { m.databases.closeAll() }

// MaxUnconnected bounds the *sql.DBs of workspaces to which no connection has succeeded.
const MaxUnconnected = maxUnconnected
