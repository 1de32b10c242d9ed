package pools

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// driverConn is a database/sql connection. Its first use acquires a connection, and
// its Close gives that back; its errors know of the context. database/sql uses it from
// one goroutine at a time.
type driverConn struct {
	acquire func(context.Context) (*Conn, error)
	lent    *Conn        // nil before the first use
	pgx     *stdlib.Conn // of lent
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
	driver.Validator
	Conn() *pgx.Conn
} = (*driverConn)(nil)

// use makes sure that there is a connection. After an error the next use tries again.
func (c *driverConn) use(ctx context.Context) error {
	if c.lent != nil {
		return nil
	}
	lent, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	c.lent, c.pgx = lent, lent.backend.driver
	return nil
}

// because is that of the connection. database/sql repeats a statement that fails with
// driver.ErrBadConn, and pgx says that also of one that was sent and never answered
// (its "conn closed" hides what reading met), which must not be repeated.
func (c *driverConn) because(ctx context.Context, err error) error {
	if errors.Is(err, driver.ErrBadConn) && !c.lent.backend.network.last().answered.Load() {
		err = io.ErrUnexpectedEOF
	}
	return c.lent.backend.because(ctx, err)
}

func (c *driverConn) Close() error {
	if c.lent != nil {
		c.lent.Release()
	}
	return nil
}

// IsValid is asked after each use. No: then database/sql closes the connection,
// whatever SetMaxIdleConns says and whoever waits in the *sql.DB, and the
// manager decides who is next.
func (c *driverConn) IsValid() bool { return false }

// CheckNamedValue leaves all values to pgx.
func (c *driverConn) CheckNamedValue(*driver.NamedValue) error { return nil }

// Conn is for Raw, which has no context: if it is the first use, only
// Config.AcquireTimeout bounds it. It is nil if no connection could be acquired.
func (c *driverConn) Conn() *pgx.Conn {
	if c.use(context.Background()) != nil {
		return nil
	}
	return c.pgx.Conn()
}

// Ping returns the error itself. pgx's returns driver.ErrBadConn for all of them,
// also for the context's, and closes the connection; database/sql does not
// repeat a Ping.
func (c *driverConn) Ping(ctx context.Context) error {
	if err := c.use(ctx); err != nil {
		return err
	}
	return c.lent.Ping(ctx)
}

// Prepare and Begin are of the interface, but database/sql uses those with a context.

func (c *driverConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *driverConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *driverConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.use(ctx); err != nil {
		return nil, err
	}
	result, err := c.pgx.ExecContext(ctx, query, args)
	return result, c.because(ctx, err)
}

func (c *driverConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.use(ctx); err != nil {
		return nil, err
	}
	rows, err := c.pgx.QueryContext(ctx, query, args)
	return c.rows(ctx, rows, err)
}

func (c *driverConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.use(ctx); err != nil {
		return nil, err
	}
	s, err := c.pgx.PrepareContext(ctx, query)
	if err != nil {
		return nil, c.because(ctx, err)
	}
	return driverStmt{s.(*stdlib.Stmt), c}, nil
}

func (c *driverConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.use(ctx); err != nil {
		return nil, err
	}
	tx, err := c.pgx.BeginTx(ctx, opts)
	if err != nil {
		return nil, c.because(ctx, err)
	}
	return driverTx{tx, ctx, c}, nil
}

type driverStmt struct {
	*stdlib.Stmt
	conn *driverConn
}

func (s driverStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	result, err := s.Stmt.ExecContext(ctx, args)
	return result, s.conn.because(ctx, err)
}

func (s driverStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.Stmt.QueryContext(ctx, args)
	return s.conn.rows(ctx, rows, err)
}

// driverTx has the transaction's context, which database/sql gives to BeginTx
// only.
type driverTx struct {
	driver.Tx
	ctx  context.Context
	conn *driverConn
}

func (t driverTx) Commit() error { return t.conn.because(t.ctx, t.Tx.Commit()) }

// Rollback is how database/sql ends a transaction whose context is done. pgx's
// own would send nothing then, and close the connection.
func (t driverTx) Rollback() error {
	ctx, stop := rollbackContext(t.ctx)
	defer stop()
	_, err := t.conn.pgx.Conn().Exec(ctx, "rollback")
	return err
}

type driverRows struct {
	*stdlib.Rows // with all that it tells of its columns
	ctx          context.Context
	conn         *driverConn
}

// rows takes what pgx's query returned.
func (c *driverConn) rows(ctx context.Context, rows driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, c.because(ctx, err)
	}
	return &driverRows{rows.(*stdlib.Rows), ctx, c}, nil
}

// Next knows of the context, too: database/sql often asks for its error before it
// has noticed itself that the context is done.
func (r *driverRows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err == io.EOF { //nolint:errorlint // the last row was read; that of a network has more words
		return err
	}
	return r.conn.because(r.ctx, err)
}

// Close's error may be that of rows not yet read.
func (r *driverRows) Close() error { return r.conn.because(r.ctx, r.Rows.Close()) }
