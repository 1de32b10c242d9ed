package bench

import (
	"context"
	"errors"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
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
	door    *stage.Door
}

func openDoor(ctx context.Context, r *contest) (pool, error) {
	// The clients ask for the databases by their own names.
	byName := pools.WithNaming(func(id model.WorkspaceID) (string, error) { return string(id), nil })
	manager, err := pools.Open(ctx, r.Config, pools.WithLogger(r.log), byName)
	if err != nil {
		return nil, err
	}
	d := &doored{manager: manager}
	if err := d.open(ctx, r); err != nil {
		return nil, errors.Join(err, manager.Close(ctx))
	}
	if err := d.connect(ctx, r.Cap); err != nil {
		return nil, errors.Join(err, d.close(ctx))
	}
	return d, nil
}

func (d *doored) open(ctx context.Context, r *contest) (err error) {
	o := door.Options{MaxClients: len(r.Databases)*r.Cap + 100}
	if d.door, err = stage.OpenDoor(d.manager, r.Login.User, r.Login.Password, o); err != nil {
		return err
	}
	d.poolEach, err = openPoolEach(ctx, r, throughPooler(r, uint16(d.door.Port)))
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
	return errors.Join(d.poolEach.close(ctx), d.door.Close(ctx), d.manager.Close(ctx))
}
