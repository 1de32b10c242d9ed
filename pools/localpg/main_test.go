//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// patience bounds every wait of these tests; the machine may be busy.
const patience = time.Minute

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		runChild(mode) // death_test.go
		return
	}
	goleak.VerifyTestMain(m)
}

// started is a server that the test's end stops.
func started(t *testing.T, options Options) *Server {
	t.Helper()
	options.InMemory = true
	server, err := Start(deadline(t), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until there is no complaint left.
func eventually(t *testing.T, complaint func() string) {
	t.Helper()
	ctx := deadline(t)
	for {
		last := complaint()
		if last == "" {
			return
		}
		if pause(ctx) != nil {
			t.Fatalf("after %v still: %s", patience, last)
		}
	}
}

// leftBehind says what is left of a server.
func leftBehind(folder string) string {
	left, err := processes(folder)
	if err != nil {
		return err.Error()
	}
	if len(left) > 0 {
		return fmt.Sprintf("processes %v of the server are left", left)
	}
	if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("the folder %s is left", folder)
	}
	return ""
}

// gone reports that a process has ended. Where nobody collects orphans, as in
// many containers, its number stays, but without a command line.
func gone(pid int) bool {
	commands, err := commandLines()
	return err == nil && strings.Trim(commands[pid], " ") == ""
}

// openTemp is a folder for temporary files that every user may enter.
func openTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// login connects as the application role; the test's end hangs up.
func login(t *testing.T, s *Server) *pgx.Conn {
	t.Helper()
	return opened(t, s, s.dsn(s.User, s.Password, s.Database))
}

func opened(t *testing.T, s *Server, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := s.connect(deadline(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(conn) })
	return conn
}

func value[T any](t *testing.T, conn *pgx.Conn, query string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(deadline(t), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func execute(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(deadline(t), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
