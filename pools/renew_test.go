package pools_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// A table that a migration has changed: the plan that a connection has prepared
// before does not fit any more (SQLSTATE 0A000).
func TestAfterARenewNobodyGetsAPlanFromBeforeTheMigration(t *testing.T) {
	m := open(t, config(20))
	w := m.Workspace("w31")
	exec := func(sql string) {
		t.Helper()
		if _, err := w.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	read := func(conn *pools.Conn) error {
		rows, err := conn.Query(t.Context(), `SELECT * FROM renewed`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	exec(`DROP TABLE IF EXISTS renewed; CREATE TABLE renewed (i int); INSERT INTO renewed VALUES (1)`)
	held, err := m.Acquire(t.Context(), "w31")
	if err != nil {
		t.Fatal(err)
	}
	idle, err := m.Acquire(t.Context(), "w31")
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*pools.Conn{held, idle} {
		if err := read(conn); err != nil {
			t.Fatal(err)
		}
	}
	idle.Release()
	exec(`ALTER TABLE renewed ADD COLUMN b text`)

	if closed, err := m.Renew(t.Context(), "w31"); closed != 1 || err != nil {
		t.Errorf("%d closed, %v", closed, err)
	}
	if n := backendsOf(t, "w31"); n != 1 {
		t.Errorf("%d connections are left, want the lent one only", n)
	}
	for range 3 {
		if err := w.AcquireFunc(t.Context(), read); err != nil {
			t.Errorf("with a lease of an old connection out: %v", err)
		}
	}
	held.Release()
	for range 3 {
		if err := w.AcquireFunc(t.Context(), read); err != nil {
			t.Errorf("after the old connection was given back: %v", err)
		}
	}
	if n := stats(t, m).Workspaces.Counters.Closes[model.Renewed]; n != 2 {
		t.Errorf("%d connections were closed by the renewal, want 2", n)
	}
}

// backendsOf is how many connections the server has to the workspace's database.
func backendsOf(t *testing.T, id model.WorkspaceID) int {
	t.Helper()
	return count(t, superuser(t), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1`, "test_ws_"+string(id))
}

func TestARenewOfAllIncludesTheSystemDatabase(t *testing.T) {
	m := open(t, config(20))
	pid := func(w *pools.Workspace) (pid int) {
		t.Helper()
		if err := w.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	databases := []*pools.Workspace{m.Workspace("w32"), m.Workspace("w33"), m.System()}
	var before []int
	for _, w := range databases {
		before = append(before, pid(w))
	}
	// The manager's own connection to the system database may be one more.
	if closed, err := m.RenewAll(t.Context()); closed < 3 || closed > 4 || err != nil {
		t.Errorf("%d closed, %v", closed, err)
	}
	watch := superuser(t)
	for i, w := range databases {
		if n := backendCount(t, watch, before[i]); n != 0 {
			t.Errorf("the connection of %d is still there", i)
		}
		if pid(w) == before[i] {
			t.Errorf("%d has its old connection", i)
		}
	}
}

func TestARenewOfABadIDOrAfterCloseIsAnError(t *testing.T) {
	m := open(t, config(20))
	var bad *model.WorkspaceIDError
	if _, err := m.Renew(t.Context(), "a/b"); !errors.As(err, &bad) {
		t.Error(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := m.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Renew(t.Context(), "w34"); !errors.Is(err, model.ErrClosed) {
		t.Error(err)
	}
	if _, err := m.RenewAll(t.Context()); !errors.Is(err, model.ErrClosed) {
		t.Error(err)
	}
}
