package bench

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/tenantpool/tenantpool/cmd/internal/servertest"
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// shared is for tests that do not need a server of their own. They create databases
// of their own and drop them.
var shared = servertest.Shared{MaxConnections: 30}

func TestMain(m *testing.M) { shared.Main(m) }

func dsnOf(s *localpg.Server) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable",
		s.User, s.Password, net.JoinHostPort(s.Host, fmt.Sprint(s.Port)), s.Database)
}

// needProgramOf skips the test of a strategy whose program is not installed.
func needProgramOf(t *testing.T, strategy string) {
	t.Helper()
	for name, program := range map[string]program{pgBouncer: pgBouncerProgram, pgpoolII: pgpoolProgram} {
		if _, err := program.find(); name == strategy && err != nil {
			t.Skip(err)
		}
	}
}

// silent is a terminal that nobody looks at.
func silent(t *testing.T) *stage.Console {
	t.Helper()
	con := stage.StartConsole(io.Discard)
	t.Cleanup(con.Stop)
	return con
}

// openTemp is a folder for temporary files that every user may enter: started by
// root, the servers run as another one. Its path is short, as a socket's must be.
func openTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t")
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
	t.Setenv("TMPDIR", dir)
	return dir
}

// small is a run of a few seconds.
func small() Options {
	o := Default()
	o.Workspaces, o.Budget, o.Cap, o.Workers = 12, 20, 3, 8
	o.For, o.Rounds = shortTurn, 1
	return o
}

// named are the workloads of those names.
func named(names ...string) (found []Workload) {
	for _, w := range Workloads() {
		if slices.Contains(names, w.Name) {
			found = append(found, w)
		}
	}
	return found
}
