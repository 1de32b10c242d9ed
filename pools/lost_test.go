package pools_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Each way to use a lent connection, while that ends in each way that it can.
func TestAConnectionThatEndsUnderAStatementIsAnErrorOfItsOwn(t *testing.T) {
	watch := superuser(t)
	const sleeps = `SELECT pg_sleep(20)`
	inTx := func(ctx context.Context, w *pools.Workspace, use func(pgx.Tx) error) error {
		tx, err := w.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(ctx) }()
		return use(tx)
	}
	uses := map[string]func(context.Context, *pools.Manager, *pools.Workspace) error{
		"Exec": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			return second(w.Exec(ctx, sleeps))
		},
		"Query": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			rows, err := w.Query(ctx, sleeps)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return rows.Err()
		},
		"a batch": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			batch := &pgx.Batch{}
			batch.Queue(sleeps)
			results := w.SendBatch(ctx, batch)
			return errors.Join(second(results.Exec()), results.Close())
		},
		"a transaction": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			return inTx(ctx, w, func(tx pgx.Tx) error { return second(tx.Exec(ctx, sleeps)) })
		},
		"a commit after it": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			return inTx(ctx, w, func(tx pgx.Tx) error {
				_, _ = tx.Exec(ctx, sleeps)
				return tx.Commit(ctx)
			})
		},
		"a sql.DB": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			return second(w.DB().ExecContext(ctx, sleeps))
		},
		"rows of a sql.DB": func(ctx context.Context, _ *pools.Manager, w *pools.Workspace) error {
			var nothing any
			return w.DB().QueryRowContext(ctx, sleeps).Scan(&nothing)
		},
		"Manager.Query": func(ctx context.Context, m *pools.Manager, w *pools.Workspace) error {
			return second(m.Query(ctx, model.Query{Workspace: w.ID(), SQL: sleeps}))
		},
	}
	proxy := startProxy(t)
	ends := map[string]func(){
		"the server ends it":    func() { terminateSleepers(t, watch) },
		"the network resets it": func() { proxy.resetAll(); terminateSleepers(t, watch) },
	}
	for how, end := range ends {
		for what, use := range uses {
			t.Run(what+", "+how, func(t *testing.T) {
				cfg := config(20)
				if strings.Contains(how, "network") {
					cfg.Host, cfg.Port = "127.0.0.1", proxy.port()
				}
				m := open(t, cfg)
				t.Cleanup(proxy.endBroken)
				failed := make(chan error, 1)
				go func() { failed <- use(t.Context(), m.Manager, m.Workspace("w0")) }()
				eventually(t, "the statement runs", func() bool {
					return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`) == 1
				})
				end()
				err := <-failed
				if !errors.Is(err, model.ErrConnectionLost) || !strings.Contains(err.Error(), "may have been carried out") {
					t.Errorf("%v", err)
				}
				if strings.Count(err.Error(), model.ErrConnectionLost.Error()) > 1 && what != "a batch" { // of which there are two errors
					t.Errorf("it says so twice: %v", err)
				}
				if err := m.Workspace("w0").Ping(t.Context()); err != nil {
					t.Errorf("the next one: %v", err)
				}
			})
		}
	}
}

// The notice of a deferred trigger has the server send what came before it: the
// statement's own end, long before that of its transaction.
func TestAStatementWhoseSessionEndsBeforeItsCommitIsNotAnsweredAsDone(t *testing.T) {
	watch := superuser(t)
	m := open(t, config(20))
	table(t, m, "deferred (a int)")
	for _, sql := range []string{
		`CREATE OR REPLACE FUNCTION checks_slowly() RETURNS trigger LANGUAGE plpgsql AS $$
		 BEGIN RAISE NOTICE 'checking'; PERFORM pg_sleep(20); RETURN NULL; END $$`,
		`CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
		 FOR EACH ROW EXECUTE FUNCTION checks_slowly()`,
	} {
		query(t, m, model.Query{SQL: sql})
	}
	failed := make(chan error, 1)
	go func() { failed <- second(ask(t, m, model.Query{SQL: `INSERT INTO deferred VALUES (1)`})) }()
	eventually(t, "its transaction ends", func() bool {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`) == 1
	})
	terminateSleepers(t, watch)
	if err := <-failed; !errors.Is(err, model.ErrConnectionLost) {
		t.Errorf("%v", err)
	}
	if n := one(t, m, `SELECT count(*) FROM deferred`); n != json.Number("0") {
		t.Errorf("%v rows", n)
	}
}

func terminateSleepers(t *testing.T, watch *sql.DB) {
	t.Helper()
	if _, err := watch.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`); err != nil {
		t.Error(err)
	}
}

func TestOtherFailuresAreNoLostConnection(t *testing.T) {
	m := open(t, config(20))
	w := m.Workspace("w0")
	soon, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	var n int
	for what, err := range map[string]error{
		"a wrong statement":   second(w.Exec(t.Context(), `SELECT no_such_thing`)),
		"no row":              w.QueryRow(t.Context(), `SELECT 1 WHERE false`).Scan(&n),
		"a wrong destination": w.QueryRow(t.Context(), `SELECT 'x'`).Scan(&n),
		"the context's end":   second(w.Exec(soon, `SELECT pg_sleep(300)`)),
		"no database":         m.Workspace("nowhere").Ping(t.Context()),
		"database/sql":        w.DB().QueryRowContext(t.Context(), `SELECT 1 WHERE false`).Scan(&n),
	} {
		if err == nil || errors.Is(err, model.ErrConnectionLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
