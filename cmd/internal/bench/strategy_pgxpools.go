package bench

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// poolPerWorkspace is a pgxpool for each workspace, with the cap as its size. No
// pool knows of the others: nothing but the server bounds them together.
type poolPerWorkspace struct{}

func (poolPerWorkspace) label() string { return "pgxpools" }

func (poolPerWorkspace) open(ctx context.Context, s *setting) (pool, error) {
	return openPgxpools(ctx, s, s.login)
}

// pgxpools hold one pool for each workspace. A pool without connections costs a
// goroutine, so all are made in advance and finding one takes no lock: the best
// that this strategy can do.
type pgxpools struct {
	pools  []*pgxpool.Pool
	opened atomic.Uint64
}

func openPgxpools(ctx context.Context, s *setting, login *pgx.ConnConfig) (*pgxpools, error) {
	p := &pgxpools{}
	for workspace, database := range s.databases {
		// Nobody but ParseConfig makes a Config; what it reads is replaced.
		cfg, err := pgxpool.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.ConnConfig = login.Copy()
		cfg.ConnConfig.Database = database
		cfg.MaxConns = int32(s.options.Cap)
		cfg.MinConns, cfg.MinIdleConns = 0, 0
		cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			p.opened.Add(1)
			return s.verify(ctx, conn, workspace)
		}
		one, err := pgxpool.NewWithConfig(ctx, cfg)
		if err != nil {
			_ = p.close(ctx)
			return nil, err
		}
		p.pools = append(p.pools, one)
	}
	return p, nil
}

func (p *pgxpools) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := p.pools[workspace].Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return pgxpoolLease{conn}, nil
}

func (p *pgxpools) made() uint64 { return p.opened.Load() }

func (p *pgxpools) close(context.Context) error {
	for _, one := range p.pools {
		one.Close()
	}
	return nil
}

type pgxpoolLease struct{ conn *pgxpool.Conn }

func (l pgxpoolLease) query(ctx context.Context, sql string) error {
	_, err := l.conn.Exec(ctx, sql)
	return err
}

func (l pgxpoolLease) release() { l.conn.Release() }
