package pooltest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/pooltest"
)

// code is the SQLSTATE of an error, or "".
func code(err error) string {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return said.Code
	}
	return ""
}

func TestAHandlerAnswersStatements(t *testing.T) {
	t.Parallel()
	born := time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC)
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		switch q.SQL {
		case `SELECT * FROM customers WHERE id = $1 AND town = $2`:
			var id int
			var town *string
			if err := q.Scan(&id, &town); err != nil {
				return nil, err
			}
			if q.Workspace != "acme" || q.Database != "test_ws_acme" || id != 7 || town != nil || q.Args[0] != "7" || q.Args[1] != nil {
				return nil, fmt.Errorf("asked by %+v", q)
			}
			return pooltest.Rows("id", "name", "born", "likes", "profile", "note").
				Row(8, "Bob", nil, nil, nil, nil).
				Row(7, "Ada", born, []string{"math", "steam"}, map[string]any{"vip": true}, nil), nil
		case `UPDATE customers SET profile = $1::jsonb`:
			if q.Args[0] != `{"vip":true}` {
				return nil, fmt.Errorf("asked by %+v", q)
			}
			return pooltest.Tag("UPDATE 3"), nil
		case `INSERT INTO customers VALUES ('Ada')`:
			return nil, pooltest.Refuse("23505", "duplicate key")
		case `SELECT fails`:
			return nil, errors.New("by itself")
		}
		return nil, nil
	})
	w := fake.Workspace("acme")
	type customer struct {
		ID      int
		Name    string
		Born    *time.Time
		Likes   []string
		Profile map[string]any
		Note    *string
	}
	for range 2 { // the second time it is prepared already
		rows, err := w.Query(t.Context(), `SELECT * FROM customers WHERE id = $1 AND town = $2`, 7, nil)
		if err != nil {
			t.Fatal(err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[customer])
		if err != nil || len(found) != 2 {
			t.Fatal(found, err)
		}
		if ada := found[1]; ada.ID != 7 || ada.Name != "Ada" || !ada.Born.Equal(born) || !slices.Equal(ada.Likes, []string{"math", "steam"}) ||
			ada.Profile["vip"] != true || ada.Note != nil {
			t.Errorf("%+v", ada)
		}
		if bob := found[0]; bob.ID != 8 || bob.Born != nil || bob.Likes != nil {
			t.Errorf("%+v", bob)
		}
	}
	tag, err := w.Exec(t.Context(), `UPDATE customers SET profile = $1::jsonb`, map[string]any{"vip": true})
	if err != nil || tag.RowsAffected() != 3 {
		t.Error(tag, err)
	}
	if _, err := w.Exec(t.Context(), `INSERT INTO customers VALUES ('Ada')`); code(err) != "23505" {
		t.Error(err)
	}
	if _, err := w.Exec(t.Context(), `SELECT fails`); code(err) != "XX000" || !strings.Contains(err.Error(), "by itself") {
		t.Error(err)
	}
	// What the handler has no answer to succeeds.
	if tag, err := w.Exec(t.Context(), `DELETE FROM orders WHERE id = $1`, 1); err != nil || tag.String() != "DELETE 1" {
		t.Error(tag, err)
	}
	if err := w.QueryRow(t.Context(), `SELECT name FROM orders`).Scan(new(string)); !errors.Is(err, pgx.ErrNoRows) {
		t.Error(err)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheFakeHasTransactions(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		switch {
		case q.SQL == "SELECT fails":
			return nil, pooltest.Refuse("40001", "serialize")
		case strings.EqualFold(q.SQL, "commit") && q.Workspace == "unlucky":
			return nil, pooltest.Refuse("40P01", "deadlock")
		}
		return nil, nil
	})
	tx, err := fake.Workspace("acme").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT fails"); code(err) != "40001" {
		t.Error(err)
	}
	if _, err := tx.Exec(t.Context(), "UPDATE t SET a = $1", 1); code(err) != "25P02" {
		t.Error(err)
	}
	if err := tx.Commit(t.Context()); !errors.Is(err, pgx.ErrTxCommitRollback) {
		t.Error(err)
	}
	tx, err = fake.Workspace("acme").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inner, err := tx.Begin(t.Context()) // a savepoint
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inner.Exec(t.Context(), "SELECT fails"); code(err) != "40001" {
		t.Error(err)
	}
	if err := errors.Join(inner.Rollback(t.Context()), tx.Commit(t.Context())); err != nil {
		t.Error(err)
	}
	tx, err = fake.Workspace("unlucky").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); code(err) != "40P01" {
		t.Error(err)
	}
}

func TestTheFakeTakesBatchesAndDatabaseSQL(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		if strings.HasPrefix(q.SQL, "SELECT") {
			return pooltest.Rows("n").Row(fmt.Sprint(q.Args[0], "!")), nil
		}
		return nil, nil
	})
	w := fake.Workspace("acme")
	batch := &pgx.Batch{}
	batch.Queue(`INSERT INTO t VALUES ($1)`, 1)
	batch.Queue(`SELECT $1`, "two")
	results := w.SendBatch(t.Context(), batch)
	tag, err := results.Exec()
	if err != nil || tag.RowsAffected() != 1 {
		t.Error(tag, err)
	}
	var said string
	if err := results.QueryRow().Scan(&said); err != nil || said != "two!" {
		t.Error(said, err)
	}
	if err := results.Close(); err != nil {
		t.Error(err)
	}
	if err := w.DB().QueryRowContext(t.Context(), `SELECT $1`, "three").Scan(&said); err != nil || said != "three!" {
		t.Error(said, err)
	}
	prepared, err := w.DB().PrepareContext(t.Context(), `SELECT $1`)
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	if err := prepared.QueryRowContext(t.Context(), "four").Scan(&said); err != nil || said != "four!" {
		t.Error(said, err)
	}
	db := sql.OpenDB(w.Connector())
	defer db.Close()
	if err := db.PingContext(t.Context()); err != nil {
		t.Error(err)
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeCacheDescribe} {
		_, err := w.Exec(t.Context(), `INSERT INTO t VALUES ($1)`, mode, 5)
		if err != nil {
			t.Errorf("%v: %v", mode, err)
		}
	}
}

// A statement of a file, or of a tool.
func TestSeveralStatementsComeOneByOne(t *testing.T) {
	t.Parallel()
	var came []string
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		came = append(came, q.SQL) // of one session
		return nil, nil
	})
	_, err := fake.Workspace("acme").Exec(t.Context(), `
		-- the schema; of everything
		CREATE TABLE "a;b" (c text DEFAULT ';$1'); ;
		/* and; /* more; */ so; */
		CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $a$ BEGIN RETURN $$;$$; END $a$;
		INSERT INTO t VALUES (E'it\'s; so'), ('it''s; so') -- done;
	`)
	if err != nil {
		t.Fatal(err)
	}
	if len(came) != 3 || !strings.Contains(came[0], `"a;b"`) || !strings.HasSuffix(came[1], "END $a$") || !strings.Contains(came[2], "it''s; so") {
		t.Errorf("%d: %q", len(came), came)
	}
}

func TestWhatIsNoParameterIsNone(t *testing.T) {
	t.Parallel()
	w := pooltest.NewFake(t, nil).Workspace("acme")
	if _, err := w.Exec(t.Context(), `INSERT INTO t VALUES ($2, '$3', "$4", $1, a$6, $$ $7 $$) -- $5`, 1, 2); err != nil {
		t.Error(err)
	}
	if _, err := w.Exec(t.Context(), `INSERT INTO t VALUES ($1, $2)`, 1); err == nil || !strings.Contains(err.Error(), "argument") {
		t.Error(err)
	}
}

func TestEachWorkspaceOfTheFakeIsThereOnlyIfCreated(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, nil)
	m := fake.Manager()
	if _, err := m.Acquire(t.Context(), "nobody"); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("acquire: %v", err)
	}
	// A login without the catalogue's question.
	cfg := fake.Config()
	_, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=x dbname=test_ws_nobody sslmode=prefer", cfg.Host, cfg.Port))
	if code(err) != "3D000" {
		t.Errorf("connect: %v", err)
	}
	if err := m.CreateWorkspace(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if err := m.CreateWorkspace(t.Context(), "acme"); !errors.Is(err, model.ErrWorkspaceExists) {
		t.Errorf("created again: %v", err)
	}
	if err := fake.Workspace("acme").Ping(t.Context()); err != nil {
		t.Error(err)
	}
	fake.Workspace("globex")
	if ids, err := m.Workspaces(t.Context()); err != nil || !slices.Equal(ids, []model.WorkspaceID{"acme", "globex"}) {
		t.Errorf("%v %v", ids, err)
	}
	// Somebody else has a connection.
	other := fake.Open(nil)
	if err := other.Workspace("acme").Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.DropWorkspace(t.Context(), "acme"); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("deleted: %v", err)
	}
	if err := m.DropWorkspace(t.Context(), "acme", model.Force); err != nil {
		t.Errorf("drop with force: %v", err)
	}
	if err := m.DropWorkspace(t.Context(), "acme"); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("deleted again: %v", err)
	}
	if _, err := m.Acquire(t.Context(), "acme"); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("acquire: %v", err)
	}
}

// What the manager asks besides.
func TestTheFakeKnowsWhatAManagerAsks(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		if q.SQL == "SELECT n" {
			return pooltest.Rows("n").Row(1).Row(2).Row(3).Row(4), nil
		}
		if q.Workspace == "" {
			return nil, fmt.Errorf("the handler is asked: %s", q.SQL)
		}
		return nil, nil
	})
	m := fake.Open(nil, pools.WithInstance("here"))
	fake.Workspace("acme")
	answer, err := m.Query(t.Context(), model.Query{Workspace: "acme", SQL: "SELECT n", MaxRows: 2})
	if err != nil || len(answer.Rows) != 2 || !answer.Truncated || answer.Command != "" { // it has not ended
		t.Errorf("%+v %v", answer, err)
	}
	fake.SetMaxConnections(40)
	if granted, err := m.SetLimits(t.Context(), 50, 5); err != nil || granted != 40 {
		t.Errorf("%d %v", granted, err)
	}
	if closed, err := m.Renew(t.Context(), "acme"); err != nil || closed != 1 {
		t.Errorf("%d %v", closed, err)
	}
	if err := errors.Join(m.Ping(t.Context()), m.Resume(t.Context(), "acme")); err != nil {
		t.Error(err)
	}
	if err := m.Exclusive(t.Context(), "acme", func(c *pools.Conn) error { return c.Ping(t.Context()) }); err != nil {
		t.Error(err)
	}
	if _, err := m.Evict(t.Context(), "nobody"); !errors.Is(err, model.ErrNoWorkspace) {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, nil)
	fake.Workspace("acme")
	m := fake.Open(func(cfg *model.Config) { cfg.MaxConnectionsPerDB, cfg.AcquireTimeout = 1, 0 })
	conn, err := m.Acquire(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	var limit *model.ConnectionLimitError
	if _, err := m.Acquire(t.Context(), "acme"); !errors.As(err, &limit) || limit.Limit != model.WorkspaceLimit {
		t.Errorf("acquire: %v", err)
	}
	conn.Release()
	if err := m.Workspace("acme").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAPausedWorkspace(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, nil)
	w := fake.Workspace("acme")
	if _, err := fake.Manager().Pause(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := w.Ping(ctx); !errors.Is(err, model.ErrPaused) {
		t.Errorf("ping: %v", err)
	}
	if err := fake.Manager().Resume(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// pingBriefly gives up soon.
func pingBriefly(t *testing.T, w *pools.Workspace) error {
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	return w.Ping(ctx)
}

func TestAServerThatIsDown(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, nil)
	w := fake.Workspace("acme")
	fake.SetDown(true)
	eventually(t, "an acquire says so", func() bool {
		var dial *model.DialError
		err := pingBriefly(t, w)
		return errors.As(err, &dial) && dial.Kind == model.ServerDown && code(err) == "57P03"
	})
	fake.SetDown(false)
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	conn, err := w.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	fake.SetDown(true)
	if err := conn.Ping(t.Context()); !errors.Is(err, model.ErrConnectionLost) || code(err) != "57P01" {
		t.Errorf("ping: %v", err)
	}
}

func TestAServerThatIsFull(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, nil)
	w := fake.Workspace("acme")
	fake.SetMaxConnections(0)
	eventually(t, "a login is refused", func() bool {
		if pingBriefly(t, w) == nil {
			t.Fatal("it has let somebody in")
		}
		st, err := fake.Manager().Stats(t.Context())
		return err == nil && st.Workspaces.Counters.ServerRefusals > 0
	})
	fake.SetMaxConnections(100)
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestASlowServer(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, nil)
	w := fake.Workspace("acme")
	if err := w.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	fake.SetLatency(time.Hour)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, err := w.Exec(ctx, "UPDATE t SET a = 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec: %v", err)
	}
	fake.SetLatency(0)
	before := time.Now()
	fake.SetLatency(5 * time.Millisecond)
	if _, err := w.Exec(t.Context(), "UPDATE t SET a = 1"); err != nil || time.Since(before) < 5*time.Millisecond {
		t.Errorf("exec: %v after %v", err, time.Since(before))
	}
	// The statement was cancelled, so its connection is the one that there was.
	if st, err := fake.Manager().Stats(t.Context()); err != nil || st.Workspaces.Counters.Dials != 1 {
		t.Errorf("%d dials, %v", st.Workspaces.Counters.Dials, err)
	}
}

func TestACancelledStatementIsToldToTheHandler(t *testing.T) {
	t.Parallel()
	began, told := make(chan struct{}), make(chan error, 1)
	fake := pooltest.NewFake(t, func(ctx context.Context, q pooltest.Query) (*pooltest.Result, error) {
		if q.SQL == "SELECT long" {
			close(began)
			<-ctx.Done()
			told <- ctx.Err()
			return nil, ctx.Err()
		}
		return nil, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-began
		stop()
	}()
	if _, err := fake.Workspace("acme").Exec(ctx, "SELECT long"); !errors.Is(err, context.Canceled) || code(err) != "57014" {
		t.Errorf("exec: %v", err)
	}
	if err := <-told; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestALostConnection(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		if q.SQL == "UPDATE cut" {
			return nil, pooltest.ErrHangUp
		}
		return nil, nil
	})
	w, other := fake.Workspace("acme"), fake.Workspace("globex")
	if _, err := w.Exec(t.Context(), "UPDATE cut"); !errors.Is(err, model.ErrConnectionLost) {
		t.Errorf("exec: %v", err)
	}
	conn, err := w.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := other.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := fake.Disconnect("acme"); n != 1 {
		t.Errorf("%d disconnected", n)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE t SET a = 1"); !errors.Is(err, model.ErrConnectionLost) || code(err) != "57P01" {
		t.Errorf("exec: %v", err)
	}
	if n := fake.Disconnect(); n < 2 { // globex and the manager's own
		t.Errorf("%d disconnected", n)
	}
}

// A leaked lease does not keep the test, and is told.
func TestALeakOnTheFakeFailsTheTest(t *testing.T) {
	t.Parallel()
	w := &witness{name: "TestLeak"}
	fake := pooltest.NewFake(w, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		return pooltest.Rows("n").Row(1), nil
	})
	rows := leakRows(t, fake.Workspace("acme"))
	if said := w.end(); !strings.Contains(said, "was not released") || !strings.Contains(said, "leakRows") {
		t.Errorf("it said %q", said)
	}
	rows.Close()
	w = &witness{name: "TestNoLeak"}
	leakRows(t, pooltest.NewFake(w, nil).Workspace("acme")).Close()
	if said := w.end(); w.failed {
		t.Errorf("it said %q", said)
	}
}

func TestAResultThatCannotBeIsAnError(t *testing.T) {
	t.Parallel()
	fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
		if q.SQL == "SELECT wide" {
			return pooltest.Rows("a", "b").Row(1), nil
		}
		return pooltest.Rows("a").Row(func() {}), nil
	})
	for sql, want := range map[string]string{"SELECT wide": "1 values, and there are 2 columns", "SELECT odd": `column "a"`} {
		err := fake.Workspace("acme").QueryRow(t.Context(), sql).Scan(new(any))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
