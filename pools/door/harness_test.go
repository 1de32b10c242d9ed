package door_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// server is the PostgreSQL of all tests, with the databases t_ws_w0 to t_ws_w9.
var server *localpg.Server

// long asks for the long forms of tests that repeat something.
var long = os.Getenv("TENANTPOOL_TEST_LONG") == "1"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if fuzz := flag.Lookup("test.fuzz"); fuzz.Value.String() != "" {
		return m.Run()
	}
	var err error
	server, err = localpg.Start(context.Background(), localpg.Options{MaxConnections: 100, InMemory: true})
	if err == nil {
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("t_ws_w%d", i))
		}
		err = server.CreateDatabases(context.Background(), names...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	defer func() {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// stage is a door for one test.
type stage struct {
	door    *door.Door
	manager *pools.Manager
	address string
}

const users = `
"app" "secret" workspaces=* console=admin
"one" "secret" workspaces=w1
"some" "secret" workspaces=w2,w3*
"session" "secret" workspaces=* pooling=session
"viewer" "secret" console=viewer
`

// open opens a door before so many connections for each workspace.
func open(t *testing.T, perWorkspace int, o door.Options, opts ...pools.Option) *stage {
	t.Helper()
	return openWith(t, config(perWorkspace), o, opts...)
}

func openWith(t *testing.T, cfg model.Config, o door.Options, opts ...pools.Option) *stage {
	t.Helper()
	manager, err := pools.Open(t.Context(), cfg, append([]pools.Option{pools.WithLogger(nil)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	if o.Users == nil {
		path := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(path, []byte(users), 0o600); err != nil {
			t.Fatal(err)
		}
		if o.Users, err = door.ReadUsers(path); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	d, err := door.New(manager, o)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(listener) }()
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		cut, stopCut := context.WithTimeout(ctx, time.Second)
		defer stopCut()
		_ = d.Shutdown(cut)
		if err := <-served; err != nil {
			t.Error("Serve:", err)
		}
		if err := manager.Close(ctx); err != nil {
			t.Error("a connection did not come home:", err)
		}
	})
	return &stage{d, manager, listener.Addr().String()}
}

// dsn is that of a user and a database, with further settings as in a URL.
func (s *stage) dsn(user, database, more string) string {
	return fmt.Sprintf("postgres://%s:secret@%s/%s?sslmode=disable&%s", user, s.address, database, more)
}

// connect logs a client in, which ends with the test.
func (s *stage) connect(t *testing.T, user, database, more string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.dsn(user, database, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		_ = conn.Close(ctx)
	})
	return conn
}

// one is the only value that a statement gives.
func one[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (value T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// state is an error's SQLSTATE.
func state(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return fmt.Sprint(err)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not come: " + what)
		}
	}
}
