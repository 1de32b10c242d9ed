package migrating_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type PoolShop struct {
	connString func(tenant string) string
	mu         sync.Mutex
	pools      map[string]*pgxpool.Pool
}

func (s *PoolShop) pool(ctx context.Context, tenant string) (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pool, ok := s.pools[tenant]; ok {
		return pool, nil
	}
	cfg, err := pgxpool.ParseConfig(s.connString(tenant))
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", tenant, err)
	}
	cfg.MaxConns = 3
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", tenant, err)
	}
	s.pools[tenant] = pool
	return pool, nil
}

func (s *PoolShop) Order(ctx context.Context, tenant, item string) error {
	pool, err := s.pool(ctx, tenant)
	if err != nil {
		return err
	}
	_, err = pool.Exec(ctx, `INSERT INTO orders (item) VALUES ($1)`, item)
	return err
}

func (s *PoolShop) Items(ctx context.Context, tenant string) ([]string, error) {
	pool, err := s.pool(ctx, tenant)
	if err != nil {
		return nil, err
	}
	rows, err := pool.Query(ctx, `SELECT item FROM orders ORDER BY id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (s *PoolShop) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pool := range s.pools {
		pool.Close()
	}
	return nil
}
