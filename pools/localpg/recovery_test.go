//go:build unix

package localpg

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestAServerInRecoveryLetsNobodyInUntilItIsPromoted(t *testing.T) {
	s := shared(t)
	execute(t, login(t, s), "DROP TABLE IF EXISTS recovered; CREATE TABLE recovered ()")
	if err := s.ResumeInRecovery(deadline(t)); err == nil || !strings.Contains(err.Error(), "call Shutdown first") {
		t.Errorf("of a running server: %v", err)
	}
	if err := s.Promote(deadline(t)); err == nil || !strings.Contains(err.Error(), "not in recovery") {
		t.Errorf("promoting a server that is not in recovery: %v", err)
	}
	for range 2 { // the second time after a shutdown in the midst of the recovery
		if err := s.Shutdown(deadline(t), Fast); err != nil {
			t.Fatal(err)
		}
		if err := s.ResumeInRecovery(deadline(t)); err != nil {
			t.Fatal(err)
		}
		_, err := s.connect(deadline(t), s.dsn(s.User, s.Password, s.Database))
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "57P03" {
			t.Errorf("a login in recovery: %v", err)
		}
	}
	if err := s.Promote(deadline(t)); err != nil {
		t.Fatal(err)
	}
	execute(t, login(t, s), "INSERT INTO recovered DEFAULT VALUES")
}

func TestAResumeAfterARecoveryThatWasShutDownIsOrdinary(t *testing.T) {
	s := shared(t)
	for _, start := range []func() error{
		func() error { return s.ResumeInRecovery(deadline(t)) },
		func() error { return s.Resume(deadline(t)) },
	} {
		if err := s.Shutdown(deadline(t), Fast); err != nil {
			t.Fatal(err)
		}
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, login(t, s), "DROP TABLE IF EXISTS written; CREATE TABLE written ()")
}

func TestProcessesAreThePostmasterAndItsBackends(t *testing.T) {
	s := shared(t)
	conn := login(t, s)
	pids, err := s.Processes()
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, pid := range pids {
		found[pid] = true
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("process %d: %v", pid, err)
		}
	}
	if backend := int(conn.PgConn().PID()); !found[backend] || !found[s.postmaster.process.Pid] {
		t.Errorf("the postmaster is %d, a backend %d, but the processes are %v", s.postmaster.process.Pid, backend, pids)
	}
}
