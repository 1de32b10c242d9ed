package pools_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// countLoads counts the queries that load types.
type countLoads struct{ n *atomic.Int64 }

func (c countLoads) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "pg_range") {
		c.n.Add(1)
	}
	return ctx
}

func (countLoads) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func openWithTypes(t *testing.T, loads *atomic.Int64) *manager {
	t.Helper()
	return open(t, config(20), pools.WithTypes("pair_of_types", "pair_of_types[]"), pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
			config.Tracer = countLoads{loads}
			return nil
		},
	}))
}

const makePair = `DROP TYPE IF EXISTS pair_of_types CASCADE; CREATE TYPE pair_of_types AS (x int, y text)`

func scanPair(ctx context.Context, w *pools.Workspace) (bool, error) {
	var p []struct {
		X int
		Y string
	}
	err := w.QueryRow(ctx, `SELECT ARRAY[row(1, 'a')::pair_of_types]`).Scan(&p)
	return err == nil && len(p) == 1 && p[0].X == 1 && p[0].Y == "a", err
}

func TestTypesAreLoadedOnceForAWorkspace(t *testing.T) {
	const workspaces, requests = 20, 200
	maker := open(t, config(20))
	for i := range workspaces {
		if _, err := maker.Workspace(workspaceID(i)).Exec(t.Context(), makePair); err != nil {
			t.Fatal(err)
		}
	}
	closeManager(t, maker.Manager)
	var loads atomic.Int64
	m := openWithTypes(t, &loads)
	const at = 10
	results := make(chan error, at)
	for worker := range at {
		go func() {
			for i := worker; i < requests; i += at {
				if ok, err := scanPair(t.Context(), m.Workspace(workspaceID(i%workspaces))); !ok {
					t.Errorf("request %d: %v", i, err)
				}
			}
			results <- nil
		}()
	}
	for range at {
		<-results
	}
	dials := stats(t, m).Workspaces.Counters.Dials
	t.Logf("%d dials, types loaded %d times", dials, loads.Load())
	if n := loads.Load(); n > workspaces {
		t.Errorf("types were loaded %d times for %d workspaces", n, workspaces)
	}
}

func TestATypeThatIsNotThereYetIsAskedForAgain(t *testing.T) {
	var loads atomic.Int64
	maker := open(t, config(20)).Workspace("w3")
	if _, err := maker.Exec(t.Context(), `DROP TYPE IF EXISTS pair_of_types CASCADE`); err != nil {
		t.Fatal(err)
	}
	m := openWithTypes(t, &loads)
	w := m.Workspace("w3")
	if err := w.Ping(t.Context()); err != nil {
		t.Fatal("it cannot be reached:", err)
	}
	for range 2 { // it is made, and then made anew with another OID
		if _, err := maker.Exec(t.Context(), makePair); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Renew(t.Context(), "w3"); err != nil {
			t.Fatal(err)
		}
		if ok, err := scanPair(t.Context(), w); !ok {
			t.Error(err)
		}
	}
	if loads.Load() != 2 {
		t.Errorf("loaded %d times", loads.Load())
	}
}

func TestTwoDialsOfAWorkspaceLoadItsTypesOnce(t *testing.T) {
	if _, err := open(t, config(20)).Workspace("w4").Exec(t.Context(), makePair); err != nil {
		t.Fatal(err)
	}
	var loads, logins atomic.Int64
	leave := make(chan struct{})
	m := open(t, config(20), pools.WithTypes("pair_of_types"), pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			config.Tracer = holdLoads{countLoads{&loads}, leave}
			config.ValidateConnect = func(context.Context, *pgconn.PgConn) error {
				if id != "" {
					logins.Add(1)
				}
				return nil
			}
			return nil
		},
	}))
	const at = 3
	lent := make(chan error, at)
	var conns [at]*pools.Conn
	for i := range conns {
		go func() {
			conn, err := m.Acquire(t.Context(), "w4")
			conns[i] = conn
			lent <- err
		}()
	}
	eventually(t, "all are connected, and one loads", func() bool { return logins.Load() == at && loads.Load() > 0 })
	close(leave)
	for range at {
		if err := <-lent; err != nil {
			t.Error(err)
		}
	}
	for _, conn := range conns {
		if conn == nil {
			continue
		}
		if _, known := conn.Conn().TypeMap().TypeForName("pair_of_types"); !known {
			t.Error("a connection does not know the type")
		}
		conn.Release()
	}
	if n := loads.Load(); n != 1 {
		t.Errorf("the types were loaded %d times", n)
	}
}

// holdLoads has each load wait.
type holdLoads struct {
	countLoads
	leave chan struct{}
}

func (h holdLoads) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ctx = h.countLoads.TraceQueryStart(ctx, conn, data)
	if strings.Contains(data.SQL, "pg_range") {
		<-h.leave
	}
	return ctx
}

func TestTheTypesOfADroppedWorkspaceAreForgotten(t *testing.T) {
	var loads atomic.Int64
	m := openWithTypes(t, &loads)
	for i := range int64(2) {
		if err := m.CreateWorkspace(t.Context(), "with-types", pools.WithInit(func(ctx context.Context, conn *pools.Conn) error {
			_, err := conn.Exec(ctx, makePair)
			return err
		})); err != nil {
			t.Fatal(err)
		}
		if ok, err := scanPair(t.Context(), m.Workspace("with-types")); !ok {
			t.Error(err)
		}
		if n := loads.Load(); n != i+1 {
			t.Errorf("types were loaded %d times for %d databases", n, i+1)
		}
		if err := m.DropWorkspace(t.Context(), "with-types"); err != nil {
			t.Fatal(err)
		}
	}
}
