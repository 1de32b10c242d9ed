package clients

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
)

// openDoor opens a door to every database of the server, with the name and password of
// the application role.
func openDoor(t *testing.T, pooling string) (host string, port int) {
	t.Helper()
	return openDoorFor(t, pooling, 50) // pgx's and lib/pq's suites open dozens at once
}

// openDoorFor has so many connections for a database.
func openDoorFor(t testing.TB, pooling string, perDatabase int) (host string, port int) {
	t.Helper()
	manager, err := pools.Open(t.Context(), model.Config{
		Host: server.Host, Port: server.Port, User: server.User, Password: server.Password, SSLMode: "disable", SystemDatabase: server.Database, Prefix: "unused",
		MaxConnections: 90, MaxConnectionsPerDB: perDatabase, AcquireTimeout: patience,
	}, pools.WithLogger(nil), pools.WithNaming(func(id model.WorkspaceID) (string, error) { return string(id), nil }))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%q %q workspaces=* pooling=%s\n", server.User, server.Password, pooling), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := door.ReadUsers(file)
	if err != nil {
		t.Fatal(err)
	}
	options := door.Options{Users: users}
	if os.Getenv("TENANTPOOL_TEST_LOG") != "" {
		options.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	d, err := door.New(manager, options)
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
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cut, cancelCut := context.WithCancel(ctx)
		cancelCut() // whoever is still there has been killed
		_ = d.Shutdown(cut)
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := manager.Close(ctx); err != nil {
			t.Error("a connection did not come home: ", err)
		}
	})
	address := listener.Addr().(*net.TCPAddr)
	return address.IP.String(), address.Port
}
