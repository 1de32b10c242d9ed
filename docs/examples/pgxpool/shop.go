// Package pgxpool has a library that takes a *pgxpool.Pool and nothing else. A door gives it
// a real one, on the pool's budget.
package pgxpool

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Shop is such a library.
type Shop struct{ pool *pgxpool.Pool }

// NewShop wants the type by its name.
func NewShop(pool *pgxpool.Pool) *Shop { return &Shop{pool} }

// Order stores one, in a transaction.
func (s *Shop) Order(ctx context.Context, item string) (id int64, err error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := tx.QueryRow(ctx, `INSERT INTO orders (item) VALUES ($1) RETURNING id`, item).Scan(&id); err != nil {
		return 0, err
	}
	return id, tx.Commit(ctx)
}
