//go:build unix

package pools_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// An idle connection whose other side is silent is found out by its test before
// it is lent. All the tests of one acquire together take no longer than the
// acquire may.
func TestTheTestOfSilentConnectionsIsWithinTheAcquireTimeout(t *testing.T) {
	cfg := config(20)
	cfg.HealthCheckAfter = time.Millisecond
	m := open(t, cfg)
	var held []*pools.Conn
	for range 3 {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		pid := int(conn.Conn().PgConn().PID())
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	}
	for _, conn := range held {
		pid := int(conn.Conn().PgConn().PID())
		conn.Release()
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(5 * cfg.HealthCheckAfter)
	pools.SetAcquireTimeout(m.Manager, 300*time.Millisecond)
	began := time.Now()
	conn, err := m.Acquire(t.Context(), "w0")
	if err == nil {
		t.Error("a silent connection was lent")
		conn.Release()
	}
	// Half a second more for telling the server to stop what it was asked; a test by
	// itself would take as long as a dial may.
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v: %v", took, err)
	}
	if !errors.Is(err, model.ErrAcquireTimeout) {
		t.Errorf("%v", err)
	}
}
