package bench

import (
	"context"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// ours is tenantpool itself, in this process as it is meant to be used.
type ours struct{}

func (ours) label() string { return "tenantpool" }

func (ours) open(ctx context.Context, s *setting) (pool, error) {
	manager, err := pools.Open(ctx, s.config, pools.WithLogger(s.log))
	if err != nil {
		return nil, err
	}
	return &managed{manager, s}, nil
}

type managed struct {
	manager *pools.Manager
	stage   *setting
}

func (m *managed) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := m.manager.Acquire(ctx, m.stage.workspaces[workspace])
	if err != nil {
		return nil, err
	}
	// There is no hook for a new connection, so each carries whether it was
	// asked.
	asked := conn.Conn().PgConn().CustomData()
	if asked[reached] == nil {
		if err := m.stage.verify(ctx, conn.Conn(), workspace); err != nil {
			conn.Release()
			return nil, err
		}
		asked[reached] = true
	}
	return managedLease{conn}, nil
}

// reached is a key of a connection's custom data.
const reached = "bench: it reaches its own workspace"

func (m *managed) made() uint64 {
	stats, err := m.manager.Stats(context.Background())
	if err != nil {
		return 0 // it was closed
	}
	return opened(stats.Workspaces.Counters)
}

func opened(c model.Counters) uint64 { return c.Dials - c.DialFailures }

func (m *managed) close(ctx context.Context) error { return m.manager.Close(ctx) }

type managedLease struct{ conn *pools.Conn }

func (l managedLease) query(ctx context.Context, sql string) error {
	_, err := l.conn.Exec(ctx, sql)
	return err
}

func (l managedLease) release() { l.conn.Release() }
