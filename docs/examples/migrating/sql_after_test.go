package migrating_test

import (
	"context"
	"database/sql"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

type SQLManagerShop struct{ manager *pools.Manager }

func (s *SQLManagerShop) db(tenant string) *sql.DB {
	return s.manager.Workspace(model.WorkspaceID(tenant)).DB() // do not close it
}

func (s *SQLManagerShop) Order(ctx context.Context, tenant, item string) error {
	_, err := s.db(tenant).ExecContext(ctx, `INSERT INTO orders (item) VALUES ($1)`, item)
	return err
}

func (s *SQLManagerShop) Items(ctx context.Context, tenant string) ([]string, error) {
	return items(ctx, s.db(tenant))
}

func (s *SQLManagerShop) Close(ctx context.Context) error { return s.manager.Close(ctx) }
