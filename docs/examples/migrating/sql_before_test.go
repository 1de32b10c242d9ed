package migrating_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	_ "github.com/jackc/pgx/v5/stdlib"
)

type SQLShop struct {
	connString func(tenant string) string
	mu         sync.Mutex
	dbs        map[string]*sql.DB
}

func (s *SQLShop) db(tenant string) (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if db, ok := s.dbs[tenant]; ok {
		return db, nil
	}
	db, err := sql.Open("pgx", s.connString(tenant))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(3)
	db.SetMaxIdleConns(1)
	s.dbs[tenant] = db
	return db, nil
}

func (s *SQLShop) Order(ctx context.Context, tenant, item string) error {
	db, err := s.db(tenant)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO orders (item) VALUES ($1)`, item)
	return err
}

func (s *SQLShop) Items(ctx context.Context, tenant string) ([]string, error) {
	db, err := s.db(tenant)
	if err != nil {
		return nil, err
	}
	return items(ctx, db)
}

func (s *SQLShop) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, db := range s.dbs {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

// items is code that knows database/sql only.
func items(ctx context.Context, db *sql.DB) (items []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT item FROM orders ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var item string
		if err := rows.Scan(&item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, rows.Err()
}
