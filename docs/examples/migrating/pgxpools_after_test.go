package migrating_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Databases that exist keep their names.
func shopDatabase(tenant model.WorkspaceID) (string, error) {
	return "shop_" + string(tenant), nil
}

func OpenShop(ctx context.Context, cfg model.Config) (*ManagerShop, error) {
	manager, err := pools.Open(ctx, cfg, pools.WithNaming(shopDatabase))
	if err != nil {
		return nil, err
	}
	return &ManagerShop{manager}, nil
}

type ManagerShop struct{ manager *pools.Manager }

func (s *ManagerShop) pool(tenant string) *pools.Workspace {
	return s.manager.Workspace(model.WorkspaceID(tenant))
}

func (s *ManagerShop) Order(ctx context.Context, tenant, item string) error {
	_, err := s.pool(tenant).Exec(ctx, `INSERT INTO orders (item) VALUES ($1)`, item)
	return err
}

func (s *ManagerShop) Items(ctx context.Context, tenant string) ([]string, error) {
	rows, err := s.pool(tenant).Query(ctx, `SELECT item FROM orders ORDER BY id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (s *ManagerShop) Close(ctx context.Context) error { return s.manager.Close(ctx) }
