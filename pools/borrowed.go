package pools

import "github.com/jackc/pgx/v5"

// What follows are the results of a Workspace's methods that outlive the call;
// each gives its connection back at its end (as does a transaction). After that
// they must not touch the connection, which may be another holder's.

type borrowedRows struct {
	pgx.Rows
	conn *Conn
}

func (r *borrowedRows) Close() {
	r.Rows.Close()
	r.conn.Release()
}

func (r *borrowedRows) Next() bool {
	more := r.Rows.Next()
	if !more {
		r.Close()
	}
	return more
}

func (r *borrowedRows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close() // as pgx does
	}
	return err
}

func (r *borrowedRows) Values() ([]any, error) {
	values, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return values, err
}

type borrowedRow struct {
	row  pgx.Row
	conn *Conn
}

func (r borrowedRow) Scan(dest ...any) error {
	defer r.conn.Release()
	return r.row.Scan(dest...)
}

type borrowedBatch struct {
	pgx.BatchResults
	conn *Conn
}

func (b *borrowedBatch) Close() error {
	defer b.conn.Release()
	return b.BatchResults.Close()
}
