package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/rotation"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

// vault has one secret.
type vault struct{ password atomic.Pointer[string] }

func (v *vault) Secret(_ context.Context, name string) (string, error) {
	if name != "db" {
		return "", errors.New("no such secret")
	}
	return *v.password.Load(), nil
}

func (v *vault) set(password string) { v.password.Store(&password) }

func TestNoRequestFailsWhileThePasswordChanges(t *testing.T) {
	const clients, workspaces = 12, 8
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, throwaway.Server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	statement := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	statement(`CREATE ROLE rotating LOGIN CREATEDB PASSWORD 'first'`)
	v := &vault{}
	v.set("first")
	cfg := throwaway.Config()
	cfg.User, cfg.Password = "rotating", ""
	cfg.MaxConnections, cfg.MaxConnectionsPerDB = 10, 2 // 5 slots, so there are dials all the time
	manager := throwaway.OpenConfig(t, cfg, pools.WithCredentials(rotation.Credentials(v, "db", 50*time.Millisecond)))
	id := func(i int) model.WorkspaceID { return model.WorkspaceID(fmt.Sprint("rotating-", i%workspaces)) }
	for i := range workspaces {
		if err := manager.CreateWorkspace(ctx, id(i)); err != nil {
			t.Fatal(err)
		}
	}

	var served atomic.Int64
	var over atomic.Bool
	var traffic sync.WaitGroup
	for client := range clients {
		traffic.Go(func() {
			for i := client; !over.Load(); i++ {
				if _, err := manager.Workspace(id(i/3)).Exec(ctx, `SELECT 1`); err != nil {
					t.Error("a request has failed:", err)
				}
				served.Add(1)
			}
		})
	}
	defer traffic.Wait()
	defer over.Store(true)
	refused := func() int64 {
		stats, err := manager.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return int64(stats.Workspaces.Counters.DialFailures)
	}
	goesOn := func() {
		t.Helper()
		before := served.Load()
		throwaway.Eventually(t, "requests are served", func() bool { return served.Load() > before+100 })
	}
	goesOn()
	for _, password := range []string{"second", "third"} {
		before := refused()
		statement(`ALTER ROLE rotating PASSWORD '` + password + `'`)
		throwaway.Eventually(t, "the server refuses the former password", func() bool { return refused() > before })
		v.set(password)
		goesOn()
	}
	t.Logf("%d requests, %d dials refused", served.Load(), refused())
}
