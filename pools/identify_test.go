package pools_test

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

func TestAProcessBeganWhileItWasDialed(t *testing.T) {
	m := open(t, config(20))
	before := time.Now()
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	took := time.Since(before)
	var began time.Time
	if err := conn.QueryRow(t.Context(), `SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&began); err != nil {
		t.Fatal(err)
	}
	from, to := pools.Began(conn)
	if began.Before(from) || began.After(to) {
		t.Errorf("it began at %v, not between %v and %v", began, from, to)
	}
	if wide := to.Sub(from); wide > took+2*time.Second {
		t.Errorf("the dial took %v, and the process began within %v", took, wide)
	}
}

// Process ids are used again.
func TestAProcessThatBeganAtAnotherTimeIsLeftAlone(t *testing.T) {
	m := open(t, config(20))
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	from, to := pools.Began(conn)
	// It would be ours if ours had begun a minute earlier or later.
	for _, shift := range []time.Duration{-time.Minute, time.Minute} {
		gone, err := pools.TerminateBackend(t.Context(), m.Manager, conn, from.Add(shift), to.Add(shift))
		if err != nil || !gone {
			t.Errorf("shifted by %v: gone %v (%v)", shift, gone, err)
		}
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatalf("shifted by %v: it was terminated: %v", shift, err)
		}
	}
	if gone, err := pools.TerminateBackend(t.Context(), m.Manager, conn, from, to); err != nil || gone {
		t.Errorf("gone %v (%v)", gone, err)
	}
	eventually(t, "it is gone", func() bool {
		gone, err := pools.TerminateBackend(t.Context(), m.Manager, conn, from, to)
		return gone && err == nil
	})
}

// As text, the time would be as the database wants it.
func TestADatabaseMayHaveAnyDateStyle(t *testing.T) {
	admin := superuser(t)
	statements(t, admin, `ALTER DATABASE test_ws_w7 SET DateStyle = 'German'`)
	t.Cleanup(func() { statements(t, admin, `ALTER DATABASE test_ws_w7 RESET DateStyle`) })
	m := open(t, config(20))
	if err := m.Workspace("w7").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
