package bench

import (
	"container/list"
	"context"
	"database/sql"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// sqlPools is what people write first: a map of *sql.DB, the least recently used
// of which is closed when there are too many, behind a mutex. So many are kept
// that all of them together, with their caps full, stay within the share that
// tenantpool's workspaces have; what an evicted one still holds comes on top, and
// may use the rest of the budget.
type sqlPools struct{}

func (sqlPools) label() string { return "sql-lru" }

func (sqlPools) open(_ context.Context, s *setting) (pool, error) {
	return &lruPools{
		stage: s,
		most:  max(1, s.config.WorkspaceBudget()/s.options.Cap),
		found: map[int]*list.Element{},
		used:  list.New(),
	}, nil
}

type lruPools struct {
	stage  *setting
	most   int
	opened atomic.Uint64

	mu    sync.Mutex
	found map[int]*list.Element
	used  *list.List // of *sqlPool, the most recently used first
}

type sqlPool struct {
	workspace int
	db        *sql.DB
}

// acquire may come upon a pool that another request evicts at this moment: then
// it fails with "sql: database is closed", as it does in the field.
func (l *lruPools) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := l.pool(workspace).Conn(ctx)
	if err != nil {
		return nil, err
	}
	return sqlLease{conn}, nil
}

func (l *lruPools) pool(workspace int) *sql.DB {
	l.mu.Lock()
	if e, ok := l.found[workspace]; ok {
		l.used.MoveToFront(e)
		l.mu.Unlock()
		return e.Value.(*sqlPool).db
	}
	var evicted *sql.DB
	if l.used.Len() >= l.most {
		last := l.used.Remove(l.used.Back()).(*sqlPool)
		delete(l.found, last.workspace)
		evicted = last.db
	}
	db := stdlib.OpenDB(*l.stage.loginTo(workspace), stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		l.opened.Add(1)
		return l.stage.verify(ctx, conn, workspace)
	}))
	db.SetMaxOpenConns(l.stage.options.Cap)
	db.SetMaxIdleConns(l.stage.options.Cap)
	l.found[workspace] = l.used.PushFront(&sqlPool{workspace, db})
	l.mu.Unlock()
	if evicted != nil {
		_ = evicted.Close() // outside of the lock, so that nobody else waits for it
	}
	return db
}

func (l *lruPools) made() uint64 { return l.opened.Load() }

func (l *lruPools) close(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.used.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*sqlPool).db.Close()
	}
	return nil
}

type sqlLease struct{ conn *sql.Conn }

func (l sqlLease) query(ctx context.Context, sql string) error {
	_, err := l.conn.ExecContext(ctx, sql)
	return err
}

func (l sqlLease) release() { _ = l.conn.Close() }
