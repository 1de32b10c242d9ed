package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
)

// doored is tenantpool for programs in other languages: PostgreSQL's protocol in front of it,
// over the network, with the clients that PgBouncer has, too. It runs in this process, whose
// processors it shares with the load; PgBouncer is one of its own.
type doored struct {
	bounced
	manager *pools.Manager
	door    *door.Door
	served  chan error
}

func openDoor(ctx context.Context, r *contest) (pool, error) {
	// The clients ask for the databases by their own names.
	byName := pools.WithNaming(func(id model.WorkspaceID) (string, error) { return string(id), nil })
	manager, err := pools.Open(ctx, r.Config, pools.WithLogger(r.log), byName)
	if err != nil {
		return nil, err
	}
	d := &doored{manager: manager, served: make(chan error, 1)}
	if err := d.open(ctx, r); err != nil {
		return nil, errors.Join(err, manager.Close(ctx))
	}
	if err := d.connect(ctx, r.Cap); err != nil {
		return nil, errors.Join(err, d.close(ctx))
	}
	return d, nil
}

func (d *doored) open(ctx context.Context, r *contest) error {
	folder, err := os.MkdirTemp("", "tenantpool-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "users")
	quote := strings.NewReplacer(`"`, `""`)
	line := fmt.Sprintf("\"%s\" \"%s\" workspaces=*\n", quote.Replace(r.Login.User), quote.Replace(r.Login.Password))
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		return err
	}
	users, err := door.ReadUsers(file)
	if err != nil {
		return err
	}
	if d.door, err = door.New(d.manager, door.Options{Users: users, MaxClients: len(r.Databases)*r.Cap + 100}); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { d.served <- d.door.Serve(listener) }()
	d.poolEach, err = openPoolEach(ctx, r, throughPooler(r, uint16(listener.Addr().(*net.TCPAddr).Port)))
	return err
}

func (d *doored) made() uint64 {
	stats, err := d.manager.Stats(context.Background())
	if err != nil {
		return 0 // it was closed
	}
	return opened(stats.Workspaces.Counters)
}

func (d *doored) close(ctx context.Context) error {
	return errors.Join(d.poolEach.close(ctx), d.door.Shutdown(ctx), <-d.served, d.manager.Close(ctx))
}
