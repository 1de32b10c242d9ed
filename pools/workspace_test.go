package pools_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// onePerWorkspace lets a workspace have one connection, so that one that is not
// given back is missed by the next request.
func onePerWorkspace() model.Config {
	cfg := config(20)
	cfg.MaxConnectionsPerDB = 1
	return cfg
}

// backed fails unless every connection is back in the manager.
func backed(t *testing.T, m *manager) {
	t.Helper()
	if st := stats(t, m); st.Workspaces.InUse != 0 || st.System.InUse != 0 {
		t.Errorf("in use are %d of the workspaces' connections and %d of the system's", st.Workspaces.InUse, st.System.InUse)
	}
}

// borrowings are the ways in which a Workspace's methods borrow a connection and
// give it back. Each returns an error when it did not go as it should.
func borrowings(ctx context.Context, w *pools.Workspace) map[string]func() error {
	const three = `SELECT generate_series(1, 3)`
	want := func(err error, target error) error {
		if !errors.Is(err, target) {
			return fmt.Errorf("want %v, got %w", target, err)
		}
		return nil
	}
	refused := func(err error) error {
		if sql := (*pgconn.PgError)(nil); !errors.As(err, &sql) {
			return fmt.Errorf("want the server's error, got %w", err)
		}
		return nil
	}
	boom := errors.New("boom")
	return map[string]func() error{
		"Exec":         func() error { return second(w.Exec(ctx, `SELECT 1`)) },
		"Exec refused": func() error { return refused(second(w.Exec(ctx, `no SQL`))) },
		"Ping":         func() error { return w.Ping(ctx) },
		"Query read to the end": func() error {
			rows, err := w.Query(ctx, three)
			if err != nil {
				return err
			}
			n := 0
			for rows.Next() {
				n++
			}
			if n != 3 {
				return fmt.Errorf("%d rows", n)
			}
			return rows.Err() // and no Close
		},
		"Query closed early": func() error {
			rows, err := w.Query(ctx, `SELECT generate_series(1, 100000)`)
			if err != nil {
				return err
			}
			rows.Next()
			rows.Close()
			rows.Close()
			if rows.Next() {
				return errors.New("a row after Close")
			}
			return rows.Err()
		},
		"Query closed unread": func() error {
			rows, err := w.Query(ctx, three)
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		},
		"Query with a scan error": func() error {
			rows, err := w.Query(ctx, `SELECT 'x'`)
			if err != nil {
				return err
			}
			rows.Next()
			var n int
			if rows.Scan(&n) == nil || rows.Err() == nil {
				return errors.New("x is an int")
			}
			return nil // and no Close
		},
		"Query collected": func() error {
			rows, _ := w.Query(ctx, three)
			got, err := pgx.CollectRows(rows, pgx.RowTo[int])
			if len(got) != 3 {
				return fmt.Errorf("%v", got)
			}
			return err
		},
		"Query collected with an error": func() error {
			rows, _ := w.Query(ctx, three)
			_, err := pgx.CollectRows(rows, func(pgx.CollectableRow) (int, error) { return 0, boom })
			return want(err, boom)
		},
		"Query for each row": func() error {
			rows, _ := w.Query(ctx, three)
			var n, sum int
			tag, err := pgx.ForEachRow(rows, []any{&n}, func() error { sum += n; return nil })
			if sum != 6 || tag.RowsAffected() != 3 {
				return fmt.Errorf("%d %v", sum, tag)
			}
			return err
		},
		"Query refused": func() error {
			rows, err := w.Query(ctx, `no SQL`)
			if err == nil { // some errors come with the rows
				rows.Next()
				err = rows.Err()
			}
			return refused(err)
		},
		"Query failing in the middle": func() error {
			rows, err := w.Query(ctx, `SELECT 1 / (3 - n) FROM generate_series(1, 3) n`)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return refused(rows.Err())
		},
		"QueryRow": func() error { var n int; return w.QueryRow(ctx, three).Scan(&n) },
		"QueryRow without a row": func() error {
			return want(w.QueryRow(ctx, `SELECT 1 WHERE false`).Scan(new(int)), pgx.ErrNoRows)
		},
		"QueryRow refused": func() error { return refused(w.QueryRow(ctx, `no SQL`).Scan(new(int))) },
		"QueryRow with a scan error": func() error {
			if w.QueryRow(ctx, `SELECT 'x'`).Scan(new(int)) == nil {
				return errors.New("x is an int")
			}
			return nil
		},
		"SendBatch": func() error {
			batch, sum := &pgx.Batch{}, 0
			for n := range 3 {
				batch.Queue(`SELECT $1::int`, n).QueryRow(func(row pgx.Row) error {
					var n int
					err := row.Scan(&n)
					sum += n
					return err
				})
			}
			err := w.SendBatch(ctx, batch).Close()
			if sum != 3 {
				return fmt.Errorf("the sum is %d: %w", sum, err)
			}
			return err
		},
		"SendBatch refused, closed twice": func() error {
			batch := &pgx.Batch{}
			batch.Queue(`SELECT 1`)
			batch.Queue(`no SQL`)
			results := w.SendBatch(ctx, batch)
			err := results.Close()
			if results.Close() == nil {
				return errors.New("the second Close forgets the error")
			}
			return refused(err)
		},
		"SendBatch with a transaction": func() error {
			batch := &pgx.Batch{}
			batch.BeginTx(pgx.TxOptions{})
			batch.Queue(`SELECT 1`)
			results := w.SendBatch(ctx, batch)
			if err := results.Close(); err != nil {
				return err
			}
			tx := results.Tx()
			if _, err := tx.Exec(ctx, `SELECT 1`); err != nil {
				return err
			}
			return tx.Commit(ctx)
		},
		"SendBatch whose transaction failed": func() error {
			batch := &pgx.Batch{}
			batch.BeginTx(pgx.TxOptions{})
			batch.Queue(`SELECT 1 / 0`)
			results := w.SendBatch(ctx, batch)
			err := results.Close()
			if err := results.Tx().Rollback(ctx); err != nil {
				return err
			}
			return refused(err)
		},
		"SendBatch whose transaction did not begin": func() error {
			batch := &pgx.Batch{}
			batch.BeginTx(pgx.TxOptions{BeginQuery: `no SQL`})
			results := w.SendBatch(ctx, batch)
			err := results.Close() // and no Rollback
			_ = results.Close()
			return refused(err)
		},
		"CopyFrom": func() error {
			if _, err := w.Exec(ctx, `CREATE TABLE IF NOT EXISTS copied (n int)`); err != nil {
				return err
			}
			n, err := w.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {2}}))
			if n != 2 {
				return fmt.Errorf("%d rows: %w", n, err)
			}
			return err
		},
		"CopyFrom refused": func() error {
			return refused(second(w.CopyFrom(ctx, pgx.Identifier{"no_such_table"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))))
		},
		"Begin and Commit": func() error {
			tx, err := w.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback(ctx)
			return tx.Commit(ctx)
		},
		"Begin and two Rollbacks": func() error {
			tx, err := w.Begin(ctx)
			if err != nil {
				return err
			}
			if err := tx.Rollback(ctx); err != nil {
				return err
			}
			if tx.Conn() != nil {
				return errors.New("the connection is still to be had")
			}
			return want(tx.Rollback(ctx), pgx.ErrTxClosed)
		},
		"Begin and a Commit that fails": func() error {
			tx, err := w.Begin(ctx)
			if err != nil {
				return err
			}
			_, _ = tx.Exec(ctx, `no SQL`)
			return want(tx.Commit(ctx), pgx.ErrTxCommitRollback)
		},
		"Begin refused": func() error {
			return refused(second(w.BeginTx(ctx, pgx.TxOptions{BeginQuery: `no SQL`})))
		},
		"BeginFunc": func() error {
			return want(pgx.BeginFunc(ctx, w, func(tx pgx.Tx) error {
				if err := pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return boom }); !errors.Is(err, boom) {
					return err
				}
				if _, err := tx.Exec(ctx, `SELECT 1`); err != nil {
					return fmt.Errorf("the savepoint's end must not give the connection back: %w", err)
				}
				return boom
			}), boom)
		},
		"AcquireFunc with an error": func() error {
			return want(w.AcquireFunc(ctx, func(*pools.Conn) error { return boom }), boom)
		},
		"AcquireFunc with a panic": func() error {
			defer func() { _ = recover() }()
			_ = w.AcquireFunc(ctx, func(*pools.Conn) error { panic("a bug in a handler") })
			return errors.New("the panic is lost")
		},
	}
}

func TestEveryMethodOfAWorkspaceGivesItsConnectionBackOnEveryPath(t *testing.T) {
	m := open(t, onePerWorkspace())
	watch := superuser(t)
	for name, w := range map[string]*pools.Workspace{"a workspace": m.Workspace("w0"), "the system database": m.System()} {
		for path, borrow := range borrowings(t.Context(), w) {
			passed := t.Run(name+": "+path, func(t *testing.T) {
				if err := borrow(); err != nil {
					t.Error(err)
				}
				backed(t, m)
			})
			if !passed {
				return // the others would wait for the connection in vain
			}
		}
		if err := w.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials: a connection did not come back clean", n)
	}
	if n := count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle'`, server.User); n != 0 {
		t.Errorf("%d sessions are not idle", n)
	}
}

func TestAfterTheManagerClosedEveryMethodOfAWorkspaceSaysSo(t *testing.T) {
	m := open(t, config(20))
	closeManager(t, m.Manager)
	ctx, w := t.Context(), m.Workspace("w0")
	rows, err := w.Query(ctx, "SELECT 1")
	if rows.Next() || !errors.Is(rows.Err(), model.ErrClosed) {
		t.Errorf("rows: %v", rows.Err())
	}
	for what, err := range map[string]error{
		"Acquire":     second(w.Acquire(ctx)),
		"AcquireFunc": w.AcquireFunc(ctx, func(*pools.Conn) error { return nil }),
		"Exec":        second(w.Exec(ctx, "SELECT 1")),
		"Query":       err,
		"QueryRow":    w.QueryRow(ctx, "SELECT 1").Scan(),
		"SendBatch":   w.SendBatch(ctx, &pgx.Batch{}).Close(),
		"CopyFrom":    second(w.CopyFrom(ctx, pgx.Identifier{"t"}, nil, pgx.CopyFromRows(nil))),
		"Begin":       second(w.Begin(ctx)),
		"Ping":        w.Ping(ctx),
	} {
		if !errors.Is(err, model.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// slow are the ways to run a statement that lasts until ctx ends it.
func slow(ctx context.Context, q interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
}) map[string]func() error {
	const sleep = `SELECT pg_sleep(60)`
	batch := func() pgx.BatchResults {
		b := &pgx.Batch{}
		b.Queue(sleep)
		return q.SendBatch(ctx, b)
	}
	return map[string]func() error{
		"Exec":     func() error { return second(q.Exec(ctx, sleep)) },
		"QueryRow": func() error { return q.QueryRow(ctx, sleep).Scan(nil) },
		"Query": func() error {
			rows, err := q.Query(ctx, sleep)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		},
		"Query after the first rows": func() error {
			rows, err := q.Query(ctx, `SELECT 1 FROM generate_series(1, 10000) UNION ALL SELECT 1 FROM pg_sleep(60)`)
			if err != nil {
				return err
			}
			_, err = pgx.CollectRows(rows, pgx.RowTo[int])
			return err
		},
		"SendBatch Close": func() error { return batch().Close() },
		"SendBatch Exec": func() error {
			results := batch()
			defer results.Close()
			return second(results.Exec())
		},
		"SendBatch Query": func() error {
			results := batch()
			defer results.Close()
			rows, err := results.Query()
			if err != nil {
				return err
			}
			_, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		},
		"SendBatch QueryRow": func() error {
			results := batch()
			defer results.Close()
			return results.QueryRow().Scan(nil)
		},
		"CopyFrom": func() error {
			source := pgx.CopyFromFunc(func() ([]any, error) {
				<-ctx.Done()
				return []any{1}, nil // and so on, until the server has had enough
			})
			return second(q.CopyFrom(ctx, pgx.Identifier{"slow"}, []string{"n"}, source))
		},
	}
}

// What the server calls "canceling statement due to user request" is the
// caller's own deadline: the error must say so wherever it comes up, or a
// handler takes it for a failure of the database.
func TestAnErrorWrapsTheContextsWhereverTheContextEndedAQuery(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	err := m.Workspace("w0").AcquireFunc(t.Context(), func(conn *pools.Conn) error {
		if _, err := conn.Exec(t.Context(), `CREATE TEMP TABLE slow (n int)`); err != nil {
			return err
		}
		pid := conn.Conn().PgConn().PID()
		check := func(t *testing.T, ctx context.Context, run func() error) {
			t.Helper()
			if err := run(); !errors.Is(err, ctx.Err()) || ctx.Err() == nil {
				t.Errorf("%v", err)
			}
			if conn.Conn().IsClosed() || conn.Conn().PgConn().PID() != pid {
				t.Fatal("the connection is gone")
			}
		}
		deadline := func(t *testing.T) context.Context {
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
			t.Cleanup(stop)
			return ctx
		}
		for what := range slow(t.Context(), conn) {
			t.Run(what, func(t *testing.T) {
				ctx := deadline(t)
				check(t, ctx, slow(ctx, conn)[what])
			})
			t.Run(what+" in a transaction", func(t *testing.T) {
				tx, err := conn.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if tx.Conn() != conn.Conn() {
					t.Error("tx.Conn is another connection")
				}
				nested, err := tx.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ctx := deadline(t)
				check(t, ctx, slow(ctx, nested)[what])
				if err := nested.Rollback(ctx); err != nil { // with the request's context, as handlers do
					t.Errorf("to the savepoint: %v", err)
				}
				ctx = deadline(t)
				check(t, ctx, slow(ctx, tx)[what])
				if err := tx.Rollback(ctx); err != nil {
					t.Error(err)
				}
				check(t, ctx, func() error { return ctx.Err() })
			})
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestACommitBeginAndSavepointThatTheContextEndsSaySo(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	ended, stop := context.WithCancel(t.Context())
	stop()
	for what, run := range map[string]func(*pools.Conn) error{
		"Begin": func(c *pools.Conn) error { return second(c.Begin(ended)) },
		"Commit": func(c *pools.Conn) error {
			tx, err := c.Begin(t.Context())
			if err != nil {
				return err
			}
			return tx.Commit(ended)
		},
		"a slow Commit": func(c *pools.Conn) error {
			tx, err := c.BeginTx(t.Context(), pgx.TxOptions{CommitQuery: `SELECT pg_sleep(60)`})
			if err != nil {
				return err
			}
			ctx, stop := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, stop)
			return tx.Commit(ctx)
		},
		"a slow Begin": func(c *pools.Conn) error {
			ctx, stop := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, stop)
			return second(c.BeginTx(ctx, pgx.TxOptions{BeginQuery: `SELECT pg_sleep(60)`}))
		},
		"a savepoint": func(c *pools.Conn) error {
			tx, err := c.Begin(t.Context())
			if err != nil {
				return err
			}
			return second(tx.Begin(ended))
		},
		"Prepare": func(c *pools.Conn) error {
			tx, err := c.Begin(t.Context())
			if err != nil {
				return err
			}
			return second(tx.Prepare(ended, "s", `SELECT 1`))
		},
		"a batch's transaction": func(c *pools.Conn) error {
			batch := &pgx.Batch{}
			batch.BeginTx(pgx.TxOptions{})
			results := c.SendBatch(t.Context(), batch)
			if err := results.Close(); err != nil {
				return err
			}
			ctx, stop := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, stop)
			return second(results.Tx().Exec(ctx, `SELECT pg_sleep(60)`))
		},
	} {
		t.Run(what, func(t *testing.T) {
			err := m.Workspace("w0").AcquireFunc(t.Context(), run)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A rollback is mostly deferred with the context of the request. If it were not
// sent, each cancelled request would cost a connection.
func TestACancelledTransactionIsRolledBackAndItsConnectionLives(t *testing.T) {
	m := open(t, onePerWorkspace())
	w := m.Workspace("w0")
	if _, err := w.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS rolled_back (n int)`); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ctx, stop := context.WithCancel(t.Context())
		err := pgx.BeginFunc(ctx, w, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO rolled_back VALUES (1)`); err != nil {
				return err
			}
			stop() // the client goes away
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	var n int
	if err := w.QueryRow(t.Context(), `SELECT count(*) FROM rolled_back`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows are left, %v", n, err)
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials for five cancelled transactions", n)
	}
	backed(t, m)
}

func TestAPrintedManagerDoesNotShowThePassword(t *testing.T) {
	m := open(t, config(20))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		text := fmt.Sprintf(verb, m.Manager)
		if strings.Contains(text, server.Password) || !strings.HasPrefix(text, "tenantpool manager of ") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}
