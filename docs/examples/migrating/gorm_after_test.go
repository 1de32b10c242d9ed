package migrating_test

import (
	"context"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func OpenGORMShop(manager *pools.Manager) (*GORMShop, error) {
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: manager.System().DB()}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	return &GORMShop{db, manager}, nil
}

type GORMShop struct {
	db      *gorm.DB
	manager *pools.Manager
}

func (s *GORMShop) in(ctx context.Context, tenant string) *gorm.DB {
	db := s.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	db.Statement.ConnPool = s.manager.Workspace(model.WorkspaceID(tenant)).DB()
	return db
}

func (s *GORMShop) Order(ctx context.Context, tenant, item string) error {
	return s.in(ctx, tenant).Create(&Order{Item: item}).Error
}

func (s *GORMShop) Items(ctx context.Context, tenant string) (items []string, err error) {
	err = s.in(ctx, tenant).Model(&Order{}).Order("id").Pluck("item", &items).Error
	return items, err
}

func (s *GORMShop) Close(ctx context.Context) error { return s.manager.Close(ctx) }
