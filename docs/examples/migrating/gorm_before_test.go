package migrating_test

import (
	"context"
	"errors"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/plugin/dbresolver"
)

type Order struct {
	ID   int64
	Item string
}

func OpenResolverShop(system string, connString func(tenant string) string, tenants []string) (*ResolverShop, error) {
	db, err := gorm.Open(postgres.Open(system), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	resolver := &dbresolver.DBResolver{}
	for _, tenant := range tenants {
		resolver.Register(dbresolver.Config{
			Sources: []gorm.Dialector{postgres.Open(connString(tenant))},
		}, tenant)
	}
	resolver.SetMaxOpenConns(3)
	if err := db.Use(resolver); err != nil {
		return nil, err
	}
	return &ResolverShop{db, resolver}, nil
}

type ResolverShop struct {
	db       *gorm.DB
	resolver *dbresolver.DBResolver
}

func (s *ResolverShop) in(ctx context.Context, tenant string) *gorm.DB {
	return s.db.WithContext(ctx).Clauses(dbresolver.Use(tenant))
}

func (s *ResolverShop) Order(ctx context.Context, tenant, item string) error {
	return s.in(ctx, tenant).Create(&Order{Item: item}).Error
}

func (s *ResolverShop) Items(ctx context.Context, tenant string) (items []string, err error) {
	err = s.in(ctx, tenant).Model(&Order{}).Order("id").Pluck("item", &items).Error
	return items, err
}

func (s *ResolverShop) Close(context.Context) error {
	var errs []error
	_ = s.resolver.Call(func(pool gorm.ConnPool) error {
		if db, ok := pool.(interface{ Close() error }); ok {
			errs = append(errs, db.Close())
		}
		return nil
	})
	return errors.Join(errs...)
}
