package libpq_test

import (
	"context"
	"testing"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/libpq"
	"github.com/tenantpool/tenantpool/pools/door"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

func TestOpen(t *testing.T) {
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg)
	workspace := throwaway.Workspace(t, manager, `CREATE TABLE orders (id bigserial, item text)`)
	d, err := door.New(manager, door.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	db, err := libpq.Open(d, workspace.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	insert, err := db.Prepare(`INSERT INTO orders (item) VALUES ($1) RETURNING id`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = insert.Close() }()
	for want := 1; want <= 20; want++ {
		var id int
		if err := insert.QueryRow("tea").Scan(&id); err != nil || id != want {
			t.Fatalf("order %d: %d, %v", want, id, err)
		}
	}
}
