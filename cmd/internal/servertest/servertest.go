// Package servertest has the tests of a package share one throwaway PostgreSQL. It is
// for tests only.
package servertest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// Shared is the server of one package's tests. It starts when a test first asks for it.
type Shared struct {
	MaxConnections int

	server *localpg.Server
}

// Main runs the tests and exits. It stops the server after the last one, and then looks
// for goroutines that were left behind. The servers that the tests start themselves are
// in memory, where there is room.
func (s *Shared) Main(m *testing.M) {
	if memory := localpg.Memory(); memory != "" && os.Getenv("TMPDIR") == "" {
		_ = os.Setenv("TMPDIR", memory)
	}
	goleak.VerifyTestMain(tests{m, s})
}

type tests struct {
	*testing.M
	shared *Shared
}

func (t tests) Run() int {
	code := t.M.Run()
	if server := t.shared.server; server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Server returns the server. A test has databases of its own there.
func (s *Shared) Server(t *testing.T) *localpg.Server {
	t.Helper()
	if s.server == nil {
		var err error
		if s.server, err = localpg.Start(context.Background(), localpg.Options{MaxConnections: s.MaxConnections, InMemory: true}); err != nil {
			t.Fatal(err)
		}
	}
	return s.server
}
