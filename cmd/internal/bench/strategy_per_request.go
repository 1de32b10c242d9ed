package bench

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// perRequest is what programs without a pool do: each request connects and
// closes. Nothing but the number of workers bounds it.
type perRequest struct{}

func (perRequest) label() string { return "connect" }

func (perRequest) open(_ context.Context, s *setting) (pool, error) {
	return &connects{stage: s}, nil
}

type connects struct {
	stage  *setting
	opened atomic.Uint64
}

func (c *connects) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := pgx.ConnectConfig(ctx, c.stage.loginTo(workspace))
	if err != nil {
		return nil, err
	}
	c.opened.Add(1)
	if err := c.stage.verify(ctx, conn, workspace); err != nil {
		hangUp(conn)
		return nil, err
	}
	return connectedLease{conn}, nil
}

func (c *connects) made() uint64              { return c.opened.Load() }
func (*connects) close(context.Context) error { return nil }

type connectedLease struct{ conn *pgx.Conn }

func (l connectedLease) query(ctx context.Context, sql string) error {
	_, err := l.conn.Exec(ctx, sql)
	return err
}

func (l connectedLease) release() { hangUp(l.conn) }

// hangUp tells the server that the session is over.
func hangUp(conn *pgx.Conn) {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	_ = conn.Close(ctx)
}
