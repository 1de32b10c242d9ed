package pools_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestAWorkspaceHasOneDBWhoeverAsksAndHoweverMany(t *testing.T) {
	m := open(t, config(20))
	var wg sync.WaitGroup
	dbs := make([]*sql.DB, 32)
	for i := range dbs {
		wg.Go(func() { dbs[i] = m.Workspace("w0").DB() })
	}
	wg.Wait()
	for _, db := range dbs {
		if db == nil || db != dbs[0] {
			t.Fatal("there are several")
		}
	}
	system := m.System().DB()
	if m.Workspace("w1").DB() == dbs[0] || system == dbs[0] || system != m.System().DB() {
		t.Error("it is another database's, too")
	}
	// The system database's name may also be a workspace's id.
	if m.Workspace(model.WorkspaceID(server.Database)).DB() == m.System().DB() {
		t.Error("a workspace got the system database")
	}
}

// item has what an application's types have: names, NULLs, Scanner and Valuer.
type (
	colour string
	point  struct{ x, y int }
)

func (p point) Value() (driver.Value, error) { return fmt.Sprintf("%d:%d", p.x, p.y), nil }

func (p *point) Scan(v any) error {
	_, err := fmt.Sscanf(v.(string), "%d:%d", &p.x, &p.y)
	return err
}

func TestCodeForDatabaseSQLRunsUnchanged(t *testing.T) {
	m := open(t, onePerWorkspace())
	ctx, db := t.Context(), m.Workspace("w0").DB()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	exec := func(query string, args ...any) sql.Result {
		t.Helper()
		result, err := db.ExecContext(ctx, query, args...)
		must(err)
		return result
	}
	exec(`DROP TABLE IF EXISTS items`)
	exec(`CREATE TABLE items (id int PRIMARY KEY, colour text, place text, price numeric(10,2), made timestamptz, data bytea, sold bool)`)

	made := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	if n, err := exec(`INSERT INTO items VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		1, colour("red"), point{3, 4}, "12.50", made, []byte{0, 1}, true).RowsAffected(); err != nil || n != 1 {
		t.Errorf("%d rows affected, %v", n, err)
	}
	exec(`INSERT INTO items (id, colour) VALUES ($1, $2)`, 2, sql.NullString{})

	var (
		c     colour
		p     point
		price float64
		at    time.Time
		data  []byte
		sold  sql.Null[bool]
		none  *string
	)
	must(db.QueryRowContext(ctx, `SELECT colour, place, price, made, data, sold FROM items WHERE id = $1`, 1).Scan(&c, &p, &price, &at, &data, &sold))
	if c != "red" || p != (point{3, 4}) || price != 12.5 || !at.Equal(made) || string(data) != "\x00\x01" || !sold.V {
		t.Error(c, p, price, at, data, sold)
	}
	must(db.QueryRow(`SELECT colour, sold FROM items WHERE id = 2`).Scan(&none, &sold))
	if none != nil || sold.Valid {
		t.Error(none, sold)
	}
	if err := db.QueryRow(`SELECT colour FROM items WHERE id = 3`).Scan(&c); !errors.Is(err, sql.ErrNoRows) {
		t.Error(err)
	}
	backed(t, m)

	rows, err := db.Query(`SELECT id, price FROM items ORDER BY id`)
	must(err)
	types, err := rows.ColumnTypes()
	must(err)
	if precision, scale, ok := types[1].DecimalSize(); types[0].DatabaseTypeName() != "INT4" || precision != 10 || scale != 2 || !ok {
		t.Error(types[0].DatabaseTypeName(), precision, scale)
	}
	if st := stats(t, m).Workspaces; st.InUse != 1 {
		t.Errorf("%d connections in use while rows are read", st.InUse)
	}
	n := 0
	for rows.Next() {
		n++
	}
	must(rows.Err())
	if n != 2 {
		t.Errorf("%d rows", n)
	}
	backed(t, m)

	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
	must(err)
	var level, readOnly string
	must(tx.QueryRow(`SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')`).Scan(&level, &readOnly))
	if level != "serializable" || readOnly != "on" {
		t.Error(level, readOnly)
	}
	must(tx.Rollback())
	for _, end := range []struct {
		how  func(*sql.Tx) error
		left int
	}{{(*sql.Tx).Rollback, 2}, {(*sql.Tx).Commit, 3}} {
		tx, err := db.Begin()
		must(err)
		if _, err := tx.Exec(`INSERT INTO items (id) VALUES (3)`); err != nil {
			t.Error(err)
		}
		must(end.how(tx))
		if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("a second end: %v", err)
		}
		if n := count(t, db, `SELECT count(*) FROM items`); n != end.left {
			t.Errorf("%d rows, want %d", n, end.left)
		}
		backed(t, m)
	}
	var refused *pgconn.PgError
	if _, err := db.Exec(`INSERT INTO items (id) VALUES (3)`); !errors.As(err, &refused) || refused.Code != "23505" {
		t.Errorf("a duplicate key: %v", err)
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials: a connection did not come back clean", n)
	}
	backed(t, m)
}

func TestAPreparedStatementSurvivesTheEvictionOfItsConnection(t *testing.T) {
	m := open(t, config(20))
	db := m.Workspace("w0").DB()
	stmt, err := db.Prepare(`SELECT $1::int + 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	for i := range 4 {
		var n int
		if err := stmt.QueryRow(i).Scan(&n); err != nil || n != i+1 {
			t.Errorf("%d %v", n, err)
		}
		backed(t, m)
		if closed, err := m.Evict(t.Context(), "w0"); err != nil || closed != 1 {
			t.Errorf("evicted %d, %v", closed, err)
		}
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 4 {
		t.Errorf("%d dials", n)
	}
	if _, err := db.Prepare(`no SQL`); err == nil {
		t.Error("no SQL was prepared")
	}
	// The session keeps no statements that nobody will use again.
	for i := range 10 {
		stmt, err := db.Prepare(fmt.Sprintf(`SELECT %d`, i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stmt.Exec(); err != nil {
			t.Error(err)
		}
		stmt.Close()
	}
	if n := count(t, db, `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT _'`); n != 0 {
		t.Errorf("%d statements are left", n)
	}
}

func TestRawGivesThePgxConnection(t *testing.T) {
	m := open(t, onePerWorkspace())
	db := m.Workspace("w0").DB()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := conn.QueryRowContext(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := conn.Raw(func(driverConn any) error {
			raw := driverConn.(interface{ Conn() *pgx.Conn }).Conn()
			if int(raw.PgConn().PID()) != pid {
				t.Error("it is another connection")
			}
			_, err := raw.Exec(t.Context(), `SELECT 1`)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	func() {
		defer func() { _ = recover() }()
		_ = conn.Raw(func(any) error { panic("a bug") })
	}()
	_ = conn.Close()
	backed(t, m)
}

// A *sql.DB must not be a second pool, whatever the application sets at its
// start: what it kept would be missing from everybody else.
func TestADBKeepsNoConnection(t *testing.T) {
	for name, set := range map[string]func(*sql.DB){
		"as it comes":             func(*sql.DB) {},
		"told to keep idle ones":  func(db *sql.DB) { db.SetMaxIdleConns(10) },
		"told to open a few only": func(db *sql.DB) { db.SetMaxOpenConns(2); db.SetMaxIdleConns(2) },
		"told to keep them young": func(db *sql.DB) { db.SetConnMaxLifetime(time.Hour); db.SetConnMaxIdleTime(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, config(20))
			db := m.Workspace("w0").DB()
			set(db)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						if _, err := db.Exec(`SELECT 1`); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			backed(t, m)
			if n := stats(t, m).Workspaces.Open(); n > 3 {
				t.Errorf("%d connections, the cap is 3", n)
			}
		})
	}
}

func TestTheDBsOfManyWorkspacesShareTheBudget(t *testing.T) {
	const budget, workspaces = 20, 60
	grant(t, budget)
	m := open(t, config(budget))
	watch := superuser(t)
	peak := sampleBackends(t, watch)
	var wg sync.WaitGroup
	rounds := times(6, 20)
	for worker := range 30 {
		wg.Go(func() {
			for i := range rounds {
				id := (worker*7 + i*11) % workspaces
				var name string
				err := m.Workspace(workspaceID(id)).DB().QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name)
				if err != nil || name != fmt.Sprintf("test_ws_w%d", id) {
					t.Errorf("workspace %d is in %q (%v)", id, name, err)
				}
			}
		})
	}
	wg.Wait()
	most := peak()
	st := stats(t, m).Workspaces
	if st.Counters.ServerRefusals != 0 || most > budget {
		t.Errorf("%d refusals, at most %d backends", st.Counters.ServerRefusals, most)
	}
	if st.Counters.Acquires != uint64(30*rounds) || st.Counters.Evictions() == 0 {
		t.Errorf("the manager saw %d acquires and %d evictions", st.Counters.Acquires, st.Counters.Evictions())
	}
	backed(t, m)
	if n, err := m.Evict(t.Context(), "w0"); err != nil {
		t.Error(n, err)
	}
	if err := m.Workspace("w0").DB().Ping(); err != nil {
		t.Errorf("after an eviction: %v", err)
	}
}

// ends runs f with a context that ends while f's query runs.
func endsSoon(f func(context.Context) error) error {
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	return f(ctx)
}

func TestAQueryOfADBThatItsContextEndsSaysSo(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, onePerWorkspace())
	db := m.Workspace("w0").DB()
	const sleep = `SELECT pg_sleep(60)`
	type queries interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}
	drain := func(rows *sql.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	ways := map[string]func(context.Context, queries) error{
		"Exec":     func(ctx context.Context, q queries) error { return second(q.ExecContext(ctx, sleep)) },
		"Query":    func(ctx context.Context, q queries) error { return drain(q.QueryContext(ctx, sleep)) },
		"QueryRow": func(ctx context.Context, q queries) error { return q.QueryRowContext(ctx, sleep).Scan(new(string)) },
		"QueryRow with more to come": func(ctx context.Context, q queries) error {
			return q.QueryRowContext(ctx, `SELECT 1 FROM generate_series(1, 10000) UNION ALL SELECT 1 FROM pg_sleep(60)`).Scan(new(int))
		},
		"Rows.Close": func(ctx context.Context, q queries) error {
			rows, err := q.QueryContext(ctx, `SELECT 1 FROM generate_series(1, 10000) UNION ALL SELECT 1 FROM pg_sleep(60)`)
			if err != nil {
				return err
			}
			rows.Next()
			return errors.Join(rows.Close(), rows.Err())
		},
		"Rows.Next": func(ctx context.Context, q queries) error {
			return drain(q.QueryContext(ctx, `SELECT 1 FROM generate_series(1, 10000) UNION ALL SELECT 1 FROM pg_sleep(60)`))
		},
		"Stmt.Exec": func(ctx context.Context, q queries) error {
			s, err := q.PrepareContext(t.Context(), sleep)
			if err != nil {
				return err
			}
			defer s.Close()
			return second(s.ExecContext(ctx))
		},
		"Stmt.Query": func(ctx context.Context, q queries) error {
			s, err := q.PrepareContext(t.Context(), sleep)
			if err != nil {
				return err
			}
			defer s.Close()
			return drain(s.QueryContext(ctx))
		},
	}
	for what, run := range ways {
		t.Run(what, func(t *testing.T) {
			if err := endsSoon(func(ctx context.Context) error { return run(ctx, db) }); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
		t.Run(what+" in a transaction", func(t *testing.T) {
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if err := endsSoon(func(ctx context.Context) error { return run(ctx, tx) }); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
		t.Run(what+" in a transaction that ends", func(t *testing.T) {
			err := endsSoon(func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				return run(ctx, tx)
			})
			// If the end came before the statement, database/sql itself says ErrTxDone.
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, sql.ErrTxDone) {
				t.Errorf("%v", err)
			}
		})
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	for what, err := range map[string]error{
		"Exec":    second(db.ExecContext(cancelled, `SELECT 1`)),
		"Ping":    db.PingContext(cancelled),
		"Prepare": second(db.PrepareContext(cancelled, `SELECT 1`)),
		"BeginTx": second(db.BeginTx(cancelled, nil)),
		"Conn":    second(db.Conn(cancelled)),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// database/sql rolls back on a goroutine of its own.
	eventually(t, "the connection is back", func() bool { return stats(t, m).Workspaces.InUse == 0 })
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials: a cancelled query cost its connection", n)
	}
}

func TestATransactionWhoseContextEndsIsRolledBackAndItsConnectionLives(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, onePerWorkspace())
	db := m.Workspace("w0").DB()
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS rolled_back (n int)`); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ctx, stop := context.WithCancel(t.Context())
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(`INSERT INTO rolled_back VALUES (1)`); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := tx.Commit(); !errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("Commit: %v", err)
		}
		_ = tx.Rollback()
		eventually(t, "it is rolled back", func() bool { return stats(t, m).Workspaces.InUse == 0 })
	}
	if n := count(t, db, `SELECT count(*) FROM rolled_back`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials for five cancelled transactions", n)
	}
}

func TestAHandlerThatPanicsWithADeferredRollbackGivesItsConnectionBack(t *testing.T) {
	m := open(t, onePerWorkspace())
	db := m.Workspace("w0").DB()
	handler := func() {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		rows, err := tx.Query(`SELECT generate_series(1, 3)`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		rows.Next()
		panic("a bug in a handler")
	}
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			handler()
		}()
		backed(t, m)
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials", n)
	}
}

// database/sql repeats what failed with driver.ErrBadConn: up to three times.
func TestADBOfAWorkspaceWithoutADatabaseDialsNothing(t *testing.T) {
	m := open(t, config(20))
	db := m.Workspace("nowhere").DB()
	for i := range 3 {
		var dial *model.DialError
		if err := db.Ping(); !errors.As(err, &dial) || dial.Kind != model.Permanent || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%v", err)
		}
		if st := stats(t, m).Workspaces.Counters; st.Dials != 0 {
			t.Errorf("%d dials for %d queries", st.Dials, i+1)
		}
	}
}

func TestADBOfAFullBudgetAsksOnceAndGetsTheLimitError(t *testing.T) {
	m := open(t, onePerWorkspace())
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	pools.SetAcquireTimeout(m.Manager, 100*time.Millisecond)
	var limit *model.ConnectionLimitError
	if _, err := m.Workspace("w0").DB().Exec(`SELECT 1`); !errors.As(err, &limit) {
		t.Errorf("%v", err)
	}
	if n := stats(t, m).Workspaces.Counters.Acquires; n != 2 {
		t.Errorf("%d acquires", n)
	}
}

// A connection that the server ended while it was idle is replaced before it is lent,
// unless it was used within the last few milliseconds. Then database/sql repeats what
// surely did not reach the server; of the rest the caller gets the server's word.
func TestAConnectionThatTheServerEndedCostsADBAtMostOneClearError(t *testing.T) {
	m := open(t, onePerWorkspace())
	watch := superuser(t)
	db := m.Workspace("w0").DB()
	for what, use := range map[string]func() error{
		"Ping":    func() error { return db.Ping() },
		"Exec":    func() error { return second(db.Exec(`SELECT 1`)) },
		"Prepare": func() error { return second(db.Prepare(`SELECT 1`)) },
		"Begin": func() error {
			tx, err := db.Begin()
			if err != nil {
				return err
			}
			return tx.Rollback()
		},
	} {
		t.Run(what, func(t *testing.T) {
			pid := count(t, db, `SELECT pg_backend_pid()`)
			if _, err := watch.Exec(`SELECT pg_terminate_backend($1)`, pid); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is gone", func() bool { return backendCount(t, watch, pid) == 0 })
			before := stats(t, m).Workspaces.Counters
			err := use()
			if err != nil && !strings.Contains(err.Error(), "57P01") && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
				t.Errorf("not a clear error: %v", err)
			}
			t.Logf("the first use: %v", err)
			if err := use(); err != nil {
				t.Errorf("the second use: %v", err)
			}
			if n := stats(t, m).Workspaces.Counters.Dials - before.Dials; n != 1 {
				t.Errorf("%d dials", n)
			}
			backed(t, m)
		})
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`); err == nil {
		t.Error("it lives on")
	}
	if err := conn.PingContext(t.Context()); err == nil {
		t.Error("a dead connection answers")
	}
	_ = conn.Close()
	if err := db.Ping(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestClosingADBAgainstTheRuleHarmsNobodyWhoAsksLater(t *testing.T) {
	m := open(t, config(20))
	first := m.Workspace("w0").DB()
	if err := first.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Ping(); err == nil {
		t.Error("it is not closed")
	}
	m.log.line(t, "was closed", "workspace.Connector()", `"workspace_id":"w0"`)
	if err := m.Workspace("w0").DB().Ping(); err != nil {
		t.Errorf("the next to ask: %v", err)
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials: closing it closed a connection of the manager's", n)
	}
	closeManager(t, m.Manager)
	_ = first.Close()
}

func TestADBAndAnAcquireAndAnEvictInAWildMixLoseNothing(t *testing.T) {
	m := open(t, config(20))
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(worker)))
			for range times(12, 40) {
				w := m.Workspace(workspaceID(rng.IntN(20)))
				var err error
				switch rng.IntN(5) {
				case 0:
					err = second(m.Evict(t.Context(), w.ID()))
				case 1:
					err = w.Ping(t.Context())
				case 2:
					err = endsSoon(func(ctx context.Context) error { return second(w.DB().ExecContext(ctx, `SELECT pg_sleep(60)`)) })
					if errors.Is(err, context.DeadlineExceeded) {
						err = nil
					}
				case 3:
					err = w.AcquireFunc(t.Context(), func(c *pools.Conn) error { return c.Ping(t.Context()) })
				default:
					err = second(w.DB().Exec(`SELECT 1`))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	backed(t, m)
	fillBudget(t, m, 10)
}

// With a bound on open connections database/sql opens them on a goroutine of its
// own. When the request that it was for has gone, it keeps the connection.
func TestAConnectionThatADBOpenedInVainHoldsNoLease(t *testing.T) {
	cfg := config(20)
	cfg.MaxConnectionsPerDB = 1
	m := open(t, cfg)
	db := m.Workspace("w0").DB()
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(time.Hour)
	first, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := db.ExecContext(ctx, `SELECT 1`)
		gaveUp <- err
	}()
	eventually(t, "a request waits in the *sql.DB", func() bool { return db.Stats().WaitCount == 1 })
	lent := make(chan *pools.Conn, 1)
	go func() {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Error(err)
		}
		lent <- conn
	}()
	eventually(t, "another waits for the connection", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
	if err := first.Close(); err != nil { // the other has it; the *sql.DB opens its own
		t.Fatal(err)
	}
	conn := <-lent
	eventually(t, "the *sql.DB waits, too", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
	stop()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	conn.Release()
	eventually(t, "nothing is lent, and nobody waits", func() bool {
		st := stats(t, m).Workspaces
		return st.Waiting == 0 && st.InUse == 0
	})
}

func TestABurstOfShortDeadlinesStrandsNoConnectionWhateverADBIsTold(t *testing.T) {
	m := open(t, config(20))
	db := m.Workspace("w0").DB()
	db.SetMaxOpenConns(25)
	db.SetMaxIdleConns(25)
	db.SetConnMaxIdleTime(time.Hour)
	db.SetConnMaxLifetime(time.Hour)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for j := range 5 {
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+(i+j)%7)*time.Millisecond)
				_, _ = db.ExecContext(ctx, `SELECT pg_sleep(0.002)`)
				stop()
			}
		})
	}
	wg.Wait()
	// A request that gave up is not waited for by what database/sql does for it.
	eventually(t, "nothing is lent", func() bool { return stats(t, m).Workspaces.InUse == 0 })
	if err := db.Ping(); err != nil {
		t.Error(err)
	}
}

func TestADBAcquiresAtTheFirstUseAndTriesAgainAfterAnError(t *testing.T) {
	cfg := onePerWorkspace()
	cfg.AcquireTimeout = 0 // at the cap it is refused at once
	m := open(t, cfg)
	db := m.Workspace("w0").DB()
	for what, use := range map[string]func(*sql.Conn) error{
		"Ping": func(c *sql.Conn) error { return c.PingContext(t.Context()) },
		"Exec": func(c *sql.Conn) error { return second(c.ExecContext(t.Context(), `SELECT $1::text`, colour("red"))) },
		"QueryRow": func(c *sql.Conn) error {
			return c.QueryRowContext(t.Context(), `SELECT $1::text`, colour("red")).Scan(new(string))
		},
		"Prepare": func(c *sql.Conn) error {
			stmt, err := c.PrepareContext(t.Context(), `SELECT 1`)
			if err != nil {
				return err
			}
			return errors.Join(second(stmt.Exec()), stmt.Close())
		},
		"BeginTx": func(c *sql.Conn) error {
			tx, err := c.BeginTx(t.Context(), nil)
			if err != nil {
				return err
			}
			return tx.Commit()
		},
		"Raw": func(c *sql.Conn) error {
			return c.Raw(func(driverConn any) error {
				raw := driverConn.(interface{ Conn() *pgx.Conn }).Conn()
				if raw == nil {
					return &model.ConnectionLimitError{}
				}
				return raw.Ping(t.Context())
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			backed(t, m)
			other, err := m.Acquire(t.Context(), "w0")
			if err != nil {
				t.Fatal(err)
			}
			var limit *model.ConnectionLimitError
			if err := use(conn); !errors.As(err, &limit) {
				t.Errorf("the first use: %v", err)
			}
			other.Release()
			if err := use(conn); err != nil {
				t.Errorf("the next: %v", err)
			}
			if n := stats(t, m).Workspaces.InUse; n != 1 {
				t.Errorf("the *sql.Conn has %d connections", n)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			backed(t, m)
		})
	}
}

func TestAStatementThatReachedTheServerIsNotRepeated(t *testing.T) {
	m := open(t, onePerWorkspace())
	db := m.Workspace("w0").DB()
	if _, err := db.Exec(`DROP SEQUENCE IF EXISTS tries; CREATE SEQUENCE tries`); err != nil {
		t.Fatal(err)
	}
	const dies = `SELECT nextval('tries'), pg_terminate_backend(pg_backend_pid())`
	for i, run := range []func() error{
		func() error { return second(db.Exec(dies)) },
		func() error { return db.QueryRow(dies).Scan(new(int), new(bool)) },
		func() error {
			stmt, err := db.Prepare(dies)
			if err != nil {
				return err
			}
			defer stmt.Close()
			return second(stmt.Exec())
		},
	} {
		if err := run(); err == nil || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%d: %v", i, err)
		}
		if n := count(t, db, `SELECT last_value FROM tries`); n != i+1 {
			t.Errorf("%d: it ran %d times", i, n-i)
		}
	}
}

// database/sql hands out the driver's error if that comes before it has noticed itself
// that the context is done.
func TestTheDriversRowsSayThatTheirContextEndedThem(t *testing.T) {
	m := open(t, onePerWorkspace())
	conn, err := m.Workspace("w0").DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = conn.Raw(func(driverConn any) error {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		rows, err := driverConn.(driver.QueryerContext).QueryContext(ctx,
			`SELECT 1 FROM generate_series(1, 10000) UNION ALL SELECT 1 FROM pg_sleep(60)`, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		stop()
		for dest := make([]driver.Value, 1); err == nil; {
			err = rows.Next(dest)
		}
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestTheDBsOfIDsThatNeverConnectAreBounded(t *testing.T) {
	m := open(t, config(20))
	used := m.Workspace("w0").DB()
	if err := used.Ping(); err != nil {
		t.Fatal(err)
	}
	unused := m.Workspace("w1").DB()
	before := goroutines()
	for i := range 3 * pools.MaxUnconnected {
		m.Workspace(model.WorkspaceID(fmt.Sprintf("stranger%d", i))).DB()
	}
	long := strings.Repeat("x", 10_000)
	for i := range 100 {
		var bad *model.WorkspaceIDError
		err := m.Workspace(model.WorkspaceID(fmt.Sprintf("../%s%d", long, i))).DB().Ping()
		if !errors.As(err, &bad) || len(bad.ID) > 200 {
			t.Fatalf("an impossible id: %v", err)
		}
	}
	// The goroutines of those that were closed are about to end.
	eventually(t, "the oldest are closed", func() bool { return goroutines() <= before+pools.MaxUnconnected })
	if strings.Contains(m.log.String(), "was closed") {
		t.Error("the manager warns of itself")
	}
	if err := used.Ping(); err != nil {
		t.Errorf("one that was used: %v", err)
	}
	if used != m.Workspace("w0").DB() {
		t.Error("there are two of one workspace")
	}
	if err := unused.Ping(); err == nil {
		t.Error("one that was not used is still open")
	}
	if err := m.Workspace("w1").DB().Ping(); err != nil {
		t.Errorf("asked anew: %v", err)
	}
}

func TestADBInUseIsNotClosedForStrangers(t *testing.T) {
	m := open(t, onePerWorkspace())
	held, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	db := m.Workspace("w0").DB()
	answer := make(chan error, 1)
	go func() { answer <- db.Ping() }()
	eventually(t, "its first use waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
	for i := range 2 * pools.MaxUnconnected {
		m.Workspace(model.WorkspaceID(fmt.Sprintf("stranger%d", i))).DB()
	}
	held.Release()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if db != m.Workspace("w0").DB() {
		t.Error("it was replaced")
	}
}

func TestTheDBOfADeletedWorkspaceIsAStrangersAgain(t *testing.T) {
	m := open(t, config(20))
	strangersAsk := func() {
		for i := range 2 * pools.MaxUnconnected {
			m.Workspace(model.WorkspaceID(fmt.Sprintf("stranger%d", i))).DB()
		}
	}
	for who, drop := range map[string]func() error{
		"by this manager": func() error { return m.DropWorkspace(t.Context(), "brief") },
		"by somebody else": func() error {
			if _, err := m.Evict(t.Context(), "brief"); err != nil {
				return err
			}
			if _, err := superuser(t).Exec(`DROP DATABASE test_ws_brief`); err != nil {
				return err
			}
			if err := m.Workspace("brief").DB().Ping(); !errors.Is(err, model.ErrNoWorkspace) {
				return fmt.Errorf("the dropped database: %w", err)
			}
			return nil
		},
	} {
		t.Run(who, func(t *testing.T) {
			if err := m.CreateWorkspace(t.Context(), "brief"); err != nil {
				t.Fatal(err)
			}
			db := m.Workspace("brief").DB()
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			strangersAsk()
			if db != m.Workspace("brief").DB() {
				t.Error("it was closed while the workspace was there")
			}
			if err := drop(); err != nil {
				t.Fatal(err)
			}
			strangersAsk()
			if db == m.Workspace("brief").DB() {
				t.Error("it is kept for ever")
			}
		})
	}
}

func TestADBOfOnesOwnIsClosedWithoutHarm(t *testing.T) {
	m := open(t, onePerWorkspace())
	app := m.Workspace("w0").DB()
	if err := app.Ping(); err != nil {
		t.Fatal(err)
	}
	tool := sql.OpenDB(m.Workspace("w0").Connector())
	if err := tool.Ping(); err != nil {
		t.Error(err)
	}
	tx, err := tool.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := tool.Close(); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Errorf("a transaction that was open: %v", err)
	}
	if err := app.Ping(); err != nil {
		t.Errorf("the application's: %v", err)
	}
	if app != m.Workspace("w0").DB() {
		t.Error("the application's was replaced")
	}
	if n := stats(t, m).Workspaces.Counters.Dials; n != 1 {
		t.Errorf("%d dials", n)
	}
}

func TestAfterCloseEveryDBSaysThatTheManagerIsClosed(t *testing.T) {
	m := open(t, config(20))
	own := sql.OpenDB(m.Workspace("w0").Connector())
	defer own.Close()
	dbs := map[string]*sql.DB{
		"one that was used":  m.Workspace("w0").DB(),
		"one that was not":   m.Workspace("w1").DB(),
		"the system's":       m.System().DB(),
		"one of one's own":   own,
		"one with few conns": m.Workspace("w2").DB(),
	}
	dbs["one with few conns"].SetMaxOpenConns(1)
	for _, db := range []*sql.DB{dbs["one that was used"], own} {
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
	}
	closeManager(t, m.Manager)
	dbs["one asked for again"] = m.Workspace("w0").DB()
	dbs["one asked for afterwards"] = m.Workspace("w3").DB()
	for what, db := range dbs {
		for use, err := range map[string]error{
			"Ping":  db.Ping(),
			"Exec":  second(db.Exec(`SELECT 1`)),
			"Begin": second(db.Begin()),
		} {
			if !errors.Is(err, model.ErrClosed) {
				t.Errorf("%s, %s: %v", what, use, err)
			}
		}
	}
	if dbs["one asked for again"] != dbs["one that was used"] {
		t.Error("there are two of one workspace")
	}
	dbs["one asked for afterwards"].Close()
}

func TestAClosedManagerThatNobodyHasLeavesNoDB(t *testing.T) {
	before := goroutines()
	func() {
		m, err := pools.Open(t.Context(), config(20), pools.WithLogger((&logBuffer{}).logger()))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if err := m.Workspace(workspaceID(i % 2)).DB().Ping(); err != nil {
				t.Error(err)
			}
			m.Workspace(workspaceID(i)).DB()
		}
		closeManager(t, m)
	}()
	eventually(t, "the goroutines end", func() bool {
		runtime.GC()
		return goroutines() <= before
	})
}
