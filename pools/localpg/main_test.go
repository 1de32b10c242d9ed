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

// long asks for the long forms, which start a server for each case.
var long = os.Getenv("TENANTPOOL_TEST_LONG") == "1"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		runChild(mode) // death_test.go
		return
	}
	goleak.VerifyTestMain(tests{m})
}

// tests stops the shared server after the last one, before leaks are looked for.
type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if common != nil {
		if err := common.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

var common *Server

// shared is a running server of the tests that leave it as it was, but for tables. It
// can recover.
func shared(t *testing.T) *Server {
	t.Helper()
	var err error
	if common == nil {
		common, err = Start(deadline(t), Options{InMemory: true, Settings: map[string]string{"wal_level": "replica"}})
	} else if !common.running() {
		err = common.Resume(deadline(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	return common
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

// openTemp is a folder for temporary files that every user may enter, in memory if
// there is room.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(Memory(), "localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
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
	t.Cleanup(func() { HangUp(conn) })
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
