package pools_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestExclusiveIsAloneWithTheDatabaseAndLeavesNothingBehind(t *testing.T) {
	m := open(t, config(20))
	w := m.Workspace("w35")
	held, err := m.Acquire(t.Context(), "w35")
	if err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	err = m.Exclusive(short, "w35", func(*pools.Conn) error { t.Error("it ran beside a lease"); return nil })
	if !errors.Is(err, model.ErrInUse) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a lease out: %v", err)
	}

	var pid int
	served, failed := make(chan error, 1), errors.New("of f")
	go func() {
		eventually(t, "the exclusive one waits", func() bool { return stats(t, m).Workspaces.Waiting == 1 })
		go func() { served <- w.Ping(t.Context()) }()
		eventually(t, "another one waits", func() bool { return stats(t, m).Workspaces.Waiting == 2 })
		held.Release()
	}()
	err = m.Exclusive(t.Context(), "w35", func(conn *pools.Conn) error {
		if n := backendsOf(t, "w35"); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
		if st := stats(t, m).Workspaces; st.Waiting != 1 {
			t.Errorf("%d wait, want one", st.Waiting)
		}
		// A session that nobody may get after it.
		_, err := conn.Exec(t.Context(), `SET search_path = pg_catalog; SET statement_timeout = '1h'`)
		if err != nil {
			t.Error(err)
		}
		if err := conn.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			t.Error(err)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("f's error is %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("the waiter: %v", err)
	}
	var now int
	if err := w.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&now); err != nil || now == pid {
		t.Errorf("the session of an Exclusive was lent again: %v", err)
	}
	var bad *model.WorkspaceIDError
	if err := m.Exclusive(t.Context(), "a/b", nil); !errors.As(err, &bad) {
		t.Error(err)
	}
}

func TestExclusiveRunsInAPauseAndAPanicOfItsReleases(t *testing.T) {
	m := open(t, config(20))
	if _, err := m.Pause(t.Context(), "w36"); err != nil {
		t.Fatal(err)
	}
	panicked := func() (reason any) {
		defer func() { reason = recover() }()
		_ = m.Exclusive(t.Context(), "w36", func(*pools.Conn) error { panic("of f") })
		return nil
	}()
	if panicked != "of f" {
		t.Errorf("it panicked with %v", panicked)
	}
	ran := false
	err := m.Exclusive(t.Context(), "w36", func(conn *pools.Conn) error {
		ran = true
		return conn.Ping(t.Context())
	})
	if err != nil || !ran {
		t.Errorf("after the panic: ran %v, %v", ran, err)
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := m.Workspace("w36").Ping(short); !errors.Is(err, model.ErrPaused) {
		t.Errorf("it is still paused: %v", err)
	}
	if err := m.Resume(t.Context(), "w36"); err != nil {
		t.Error(err)
	}
	if err := m.Workspace("w36").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestExclusiveOfAWorkspaceWithoutADatabaseSaysSoAtOnce(t *testing.T) {
	m := open(t, config(20))
	var dial *model.DialError
	err := m.Exclusive(t.Context(), "nowhere-36", func(*pools.Conn) error { t.Error("it ran"); return nil })
	if !errors.As(err, &dial) || dial.Kind != model.Permanent || !errors.Is(err, model.ErrNoWorkspace) {
		t.Error(err)
	}
	if dials := stats(t, m).Workspaces.Counters.Dials; dials != 0 {
		t.Errorf("%d dials: the catalogue says it before a slot is taken for it", dials)
	}
}
