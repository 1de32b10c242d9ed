package pools

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// Workspace is a handle on one workspace's database. It may be used from any
// goroutine. Each of its methods borrows a connection, uses it and gives it back;
// they block and fail as [Manager.Acquire] does, and then as the method of the
// same name of [Conn]; ctx is for both.
//
// Results that outlive the call (rows, a row, a batch, a transaction) hold their
// connection until their end; one that is forgotten holds it for ever. While one
// is open, another call borrows a second connection, which the cap may not
// allow: use Acquire for what belongs together.
type Workspace struct {
	id        model.WorkspaceID
	key       string // of its *sql.DB
	acquire   func(context.Context, model.WorkspaceID) (*Conn, error)
	databases *databases
}

// ID is the workspace's id (of the system database: its name).
func (w *Workspace) ID() model.WorkspaceID { return w.id }

// Acquire lends a connection, which the caller owns until its Release; see
// [Manager.Acquire].
func (w *Workspace) Acquire(ctx context.Context) (*Conn, error) { return w.acquire(ctx, w.id) }

// AcquireFunc lends a connection to f for as long as it runs, also when it
// panics, and returns f's error.
func (w *Workspace) AcquireFunc(ctx context.Context, f func(*Conn) error) error {
	conn, err := w.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(conn)
}

// queries are of a connection that is borrowed for one of them.
func (w *Workspace) queries(ctx context.Context) queries {
	conn, err := w.Acquire(ctx)
	if err != nil {
		return queries{err: err}
	}
	return queries{loan: loan{conn, true}, to: conn.backend.pgx}
}

// Exec runs one statement.
func (w *Workspace) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return w.queries(ctx).Exec(ctx, sql, args...)
}

// Query runs a query. The connection is given back when the rows are closed or
// read to the end.
func (w *Workspace) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return w.queries(ctx).Query(ctx, sql, args...)
}

// QueryRow runs a query of at most one row. The connection is given back by the
// row's Scan, which must be called.
func (w *Workspace) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return w.queries(ctx).QueryRow(ctx, sql, args...)
}

// SendBatch sends the queries of a batch at once. The results must be closed;
// that gives the connection back, or, if the batch began a transaction, its
// Commit or Rollback does.
func (w *Workspace) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return w.queries(ctx).SendBatch(ctx, batch)
}

// CopyFrom copies rows into a table.
func (w *Workspace) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return w.queries(ctx).CopyFrom(ctx, table, columns, rows)
}

// Begin starts a transaction. The connection is given back by its Commit or
// Rollback, one of which must be called.
func (w *Workspace) Begin(ctx context.Context) (pgx.Tx, error) {
	return w.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (w *Workspace) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	return w.queries(ctx).begin(ctx, opts)
}

// Ping makes a round trip to the server.
func (w *Workspace) Ping(ctx context.Context) error { return w.queries(ctx).ping(ctx) }

// DB returns a *sql.DB over the workspace's connections, so that code written for
// database/sql runs unchanged. All callers share it: the same one is returned each
// time, and it belongs to the Manager. Do not close it; for a tool that closes what it
// is given, as goose and golang-migrate do, see [Workspace.Connector].
//
// DB never blocks. A connection is acquired by the first use of a database/sql
// connection and released after it (a *sql.Conn or *sql.Tx: at its end), so the
// errors are those of [Manager.Acquire] and of the methods of [Conn]; where ctx ended
// a query they wrap ctx.Err(). The *sql.DB holds no connection that is not in use,
// whatever SetMaxIdleConns says.
//
// Until its first success it is one of at most 1,024: asking for more closes the one
// that was least recently asked for and is not in use, whose holder then gets
// database/sql's "database is closed". After a success it stays open. Each costs a
// goroutine and 3 KiB.
//
// After Manager.Close its errors wrap model.ErrClosed. Its goroutine ends when it is
// closed, which its holder may do then, or when the Manager is garbage collected.
//
// A statement of Prepare is prepared anew for each use outside of a transaction, which
// costs two more round trips; connections cache the statements of plain queries, which
// are therefore faster.
//
// In Raw, the driver connection is no *stdlib.Conn; it has the method
// Conn() *pgx.Conn. If that is the first use of the *sql.Conn it acquires, bounded by
// Config.AcquireTimeout only, and returns nil if that fails.
func (w *Workspace) DB() *sql.DB { return w.databases.get(w) }

// Connector returns a connector for a *sql.DB of one's own over the workspace's
// connections:
//
//	db := sql.OpenDB(workspace.Connector())
//	defer db.Close()
//
// Its owner may close it at any time, which closes no connection of the Manager and
// harms nobody else; otherwise it is as that of [Workspace.DB]. It costs a goroutine
// until it is closed, so do not open one for each request.
func (w *Workspace) Connector() driver.Connector { return connector{w.Acquire} }
