//go:build unix

package localpg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestShutdownAndResumeKeepDataAndPort(t *testing.T) {
	s := shared(t)
	port := s.Port
	execute(t, login(t, s), "DROP TABLE IF EXISTS kept; CREATE TABLE kept (mode text)")
	for i, mode := range []Mode{Fast, Immediate, Kill, Smart} {
		t.Run(mode.String(), func(t *testing.T) {
			if err := s.Resume(deadline(t)); err == nil || !strings.Contains(err.Error(), "call Shutdown first") {
				t.Errorf("Resume of a running server: %v", err)
			}
			first := s.postmaster.process.Pid
			conn, err := s.connect(deadline(t), s.dsn(s.User, s.Password, s.Database))
			if err != nil {
				t.Fatal(err)
			}
			execute(t, conn, "INSERT INTO kept VALUES ('"+mode.String()+"')")
			if mode == Smart {
				HangUp(conn) // it would be waited for
			}
			if err := s.Shutdown(deadline(t), mode); err != nil {
				t.Fatal(err)
			}
			if !gone(first) {
				t.Error("the postmaster is still there")
			}
			if left, err := processes(s.folder); len(left) > 0 || err != nil {
				t.Errorf("processes %v are left, %v", left, err)
			}
			if conn, err := s.connect(deadline(t), s.SuperuserDSN()); err == nil {
				HangUp(conn)
				t.Error("somebody still answers")
			}
			if err := s.Shutdown(deadline(t), mode); err != nil {
				t.Errorf("a second Shutdown: %v", err)
			}

			if err := s.Resume(deadline(t)); err != nil {
				t.Fatal(err)
			}
			if s.Port != port {
				t.Errorf("the port changed from %d to %d", port, s.Port)
			}
			if n := value[int](t, login(t, s), "SELECT count(*) FROM kept"); n != i+1 {
				t.Errorf("%d rows, want %d", n, i+1)
			}
		})
	}
	if err := s.Shutdown(deadline(t), Mode(9)); err == nil || !strings.Contains(err.Error(), "Mode(9)") {
		t.Errorf("a mode that there is not: %v", err)
	}
}

func TestKillTakesBackendsThatComputeAlong(t *testing.T) {
	s := shared(t)
	conn := login(t, s)
	asked := make(chan error, 1)
	ctx := deadline(t)
	go func() {
		_, err := conn.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000000000::bigint)")
		asked <- err
	}()
	admin := opened(t, s, s.SuperuserDSN())
	eventually(t, func() string {
		if value[int](t, admin, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 10%' AND pid <> pg_backend_pid()") == 0 {
			return "the query does not run yet"
		}
		return ""
	})
	if err := s.Shutdown(deadline(t), Kill); err != nil {
		t.Fatal(err)
	}
	if left, err := processes(s.folder); len(left) > 0 || err != nil {
		t.Errorf("processes %v are left, %v", left, err)
	}
	if err := <-asked; err == nil {
		t.Error("the query was answered")
	}
	if err := s.Resume(deadline(t)); err != nil {
		t.Fatal(err)
	}
	login(t, s)
}

func TestSmartWaitsForTheLastClient(t *testing.T) {
	s := shared(t)
	conn := login(t, s)
	short, cancel := context.WithTimeout(t.Context(), 5*pollInterval)
	defer cancel()
	if err := s.Shutdown(short, Smart); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a client there: %v", err)
	}
	if got := value[int](t, conn, "SELECT 1"); got != 1 {
		t.Error("the client was cut off")
	}
	HangUp(conn)
	if err := s.Shutdown(deadline(t), Smart); err != nil {
		t.Fatal(err)
	}
}

func TestStopLeavesNothingAndIsIdempotent(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	conn := login(t, s) // a client does not hold it up
	execute(t, conn, "SELECT 1")
	postmaster, watchdog := s.postmaster.process.Pid, s.watchdog.cmd.Process.Pid
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if left := leftBehind(s.folder); left != "" {
		t.Error(left)
	}
	if !gone(postmaster) {
		t.Error("the postmaster is left")
	}
	if !gone(watchdog) {
		t.Error("the watchdog is left")
	}
	if !strings.Contains(s.LogTail(), "database system is shut down") {
		t.Errorf("LogTail after Stop: %q", s.LogTail())
	}
	if err := s.Resume(deadline(t)); err == nil || !strings.Contains(err.Error(), "Stop has removed") {
		t.Errorf("Resume after Stop: %v", err)
	}
	if err := s.Shutdown(deadline(t), Kill); err != nil {
		t.Errorf("Shutdown after Stop: %v", err)
	}
}

func TestStopOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	s.patience = 50 * pollInterval // waited for three times
	pid := s.postmaster.process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := leftBehind(s.folder); left != "" {
		t.Error(left)
	}
	if !gone(pid) {
		t.Error("the postmaster is left")
	}
}

func TestStopWithoutAWatchdog(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	if err := s.watchdog.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := leftBehind(s.folder); left != "" {
		t.Error(left)
	}
}

func TestStopAfterAKillRemovesTheSharedMemory(t *testing.T) {
	t.Parallel()
	s := started(t, Options{})
	lock, err := os.ReadFile(filepath.Join(s.folder, dataFolder, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(strings.Split(string(lock), "\n")[6])[1]
	exists := func() bool {
		table, err := os.ReadFile("/proc/sysvipc/shm")
		if err != nil {
			t.Skip("no list of the shared memory here")
		}
		for line := range strings.Lines(string(table)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[1] == id {
				return true
			}
		}
		return false
	}
	if !exists() {
		t.Fatalf("segment %s is not there, so this test shows nothing", id)
	}
	if err := s.Shutdown(deadline(t), Kill); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if exists() {
		t.Errorf("segment %s is left", id)
	}
}
