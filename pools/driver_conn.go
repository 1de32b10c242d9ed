package pools

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgxConn has a name of its own so that, embedded, it does not hide its method
// Conn.
type pgxConn = stdlib.Conn

// driverConn is pgx's driver connection, but its Close is Release, and its
// errors know of the context.
type driverConn struct {
	*pgxConn
	lent *Conn
}

// What database/sql looks for in a driver connection.
var _ interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	Conn() *pgx.Conn
} = (*driverConn)(nil)

func (c *driverConn) Close() error {
	c.lent.Release()
	return nil
}

// IsValid is asked after each use. No: then database/sql closes the connection,
// whatever SetMaxIdleConns says and whoever waits in the *sql.DB, and the
// manager decides who is next.
func (c *driverConn) IsValid() bool { return false }

// Ping returns the error itself. pgx's returns driver.ErrBadConn for all of them,
// also for the context's, and closes the connection; database/sql does not
// repeat a Ping.
func (c *driverConn) Ping(ctx context.Context) error { return c.lent.Ping(ctx) }

func (c *driverConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.pgxConn.ExecContext(ctx, query, args)
	return result, because(ctx, err)
}

func (c *driverConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.pgxConn.QueryContext(ctx, query, args)
	return newDriverRows(ctx, rows, err)
}

func (c *driverConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.pgxConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, because(ctx, err)
	}
	return driverStmt{s.(*stdlib.Stmt)}, nil
}

func (c *driverConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.pgxConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, because(ctx, err)
	}
	return driverTx{tx, ctx, c}, nil
}

type driverStmt struct{ *stdlib.Stmt }

func (s driverStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	result, err := s.Stmt.ExecContext(ctx, args)
	return result, because(ctx, err)
}

func (s driverStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.Stmt.QueryContext(ctx, args)
	return newDriverRows(ctx, rows, err)
}

// driverTx has the transaction's context, which database/sql gives to BeginTx
// only.
type driverTx struct {
	driver.Tx
	ctx  context.Context
	conn *driverConn
}

func (t driverTx) Commit() error { return because(t.ctx, t.Tx.Commit()) }

// Rollback is how database/sql ends a transaction whose context is done. pgx's
// own would send nothing then, and close the connection.
func (t driverTx) Rollback() error {
	ctx, stop := rollbackContext(t.ctx)
	defer stop()
	_, err := t.conn.pgxConn.Conn().Exec(ctx, "rollback")
	return err
}

type driverRows struct {
	*stdlib.Rows // with all that it tells of its columns
	ctx          context.Context
}

// newDriverRows takes what pgx's query returned.
func newDriverRows(ctx context.Context, rows driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, because(ctx, err)
	}
	return &driverRows{rows.(*stdlib.Rows), ctx}, nil
}

// Close's error may be that of rows not yet read. (What Next returns is known to
// database/sql itself as the context's.)
func (r *driverRows) Close() error { return because(r.ctx, r.Rows.Close()) }
