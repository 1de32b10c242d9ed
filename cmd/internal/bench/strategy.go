package bench

import (
	"container/list"
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// strategy is one way to get at many workspaces' databases.
type strategy struct {
	name string
	// open makes it ready for requests to the workspaces, which are known by
	// their place in the stage's databases. The error wraps errNoTurn when the
	// others are to go on without it.
	open func(ctx context.Context, r *contest) (pool, error)
}

var errNoTurn = errors.New("no turn")

// pool is a strategy at work. All methods but close may be called by many at
// once.
type pool interface {
	acquire(ctx context.Context, workspace int) (lease, error)
	// made is how many connections to the server it has opened so far.
	made() uint64
	// close ends it, when nothing is lent.
	close(ctx context.Context) error
}

// lease is a connection lent to one goroutine.
type lease interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Release()
}

const (
	ours       = "tenantpool"
	ourDoor    = "door"
	perRequest = "connect"
	pgxpools   = "pgxpools"
	sqlLRU     = "sql-lru"
	pgBouncer  = "pgbouncer"
	pgpoolII   = "pgpool"
)

// strategies in the order of the report.
func strategies() []strategy {
	return []strategy{
		{ours, openManager}, {ourDoor, openDoor}, {perRequest, openConnects}, {pgxpools, openPgxpools}, {sqlLRU, openSQLPools},
		{pgBouncer, openPgBouncer}, {pgpoolII, openPgpool},
	}
}

// Strategies are the names for Options.
func Strategies() (names []string) {
	for _, s := range strategies() {
		names = append(names, s.name)
	}
	return names
}

// managed is tenantpool itself, in this process as it is meant to be used.
type managed struct {
	manager *pools.Manager
	contest *contest
}

func openManager(ctx context.Context, r *contest) (pool, error) {
	manager, err := pools.Open(ctx, r.Config, pools.WithLogger(r.log))
	if err != nil {
		return nil, err
	}
	return &managed{manager, r}, nil
}

// reached is a key of a connection's custom data.
const reached = "bench: it reaches its own workspace"

func (m *managed) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := m.manager.Acquire(ctx, m.contest.Stage.Workspaces[workspace])
	if err != nil {
		return nil, err
	}
	// There is no hook for a new connection, so each carries whether it was
	// asked.
	asked := conn.Conn().PgConn().CustomData()
	if asked[reached] == nil {
		if err := m.contest.verify(ctx, conn.Conn(), workspace); err != nil {
			conn.Release()
			return nil, err
		}
		asked[reached] = true
	}
	return conn, nil
}

func (m *managed) made() uint64 {
	stats, err := m.manager.Stats(context.Background())
	if err != nil {
		return 0 // it was closed
	}
	return opened(stats.Workspaces.Counters)
}

func opened(c model.Counters) uint64 { return c.Dials - c.DialFailures }

func (m *managed) close(ctx context.Context) error { return m.manager.Close(ctx) }

// connects is what programs without a pool do: each request connects and
// closes. Nothing but the number of workers bounds it.
type connects struct {
	contest *contest
	opened  atomic.Uint64
}

func openConnects(_ context.Context, r *contest) (pool, error) { return &connects{contest: r}, nil }

func (c *connects) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := pgx.ConnectConfig(ctx, c.contest.LoginTo(workspace))
	if err != nil {
		return nil, err
	}
	c.opened.Add(1)
	if err := c.contest.verify(ctx, conn, workspace); err != nil {
		stage.HangUp(conn)
		return nil, err
	}
	return connected{conn}, nil
}

func (c *connects) made() uint64              { return c.opened.Load() }
func (*connects) close(context.Context) error { return nil }

type connected struct{ *pgx.Conn }

func (c connected) Release() { stage.HangUp(c.Conn) }

// poolEach is a pgxpool for each workspace, with the cap as its size. No pool knows
// of the others: nothing but the server bounds them together. A pool without
// connections costs a goroutine, so all are made in advance and finding one takes no
// lock: the best that this strategy can do.
type poolEach struct {
	pools  []*pgxpool.Pool
	opened atomic.Uint64
}

func openPgxpools(ctx context.Context, r *contest) (pool, error) {
	return openPoolEach(ctx, r, r.Login)
}

func openPoolEach(ctx context.Context, r *contest, login *pgx.ConnConfig) (*poolEach, error) {
	p := &poolEach{}
	for workspace, database := range r.Databases {
		// Nobody but ParseConfig makes a Config; what it reads is replaced.
		cfg, err := pgxpool.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.ConnConfig = login.Copy()
		cfg.ConnConfig.Database = database
		cfg.MaxConns = int32(r.Cap)
		cfg.MinConns, cfg.MinIdleConns = 0, 0
		cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			p.opened.Add(1)
			return r.verify(ctx, conn, workspace)
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

func (p *poolEach) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := p.pools[workspace].Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (p *poolEach) made() uint64 { return p.opened.Load() }

func (p *poolEach) close(context.Context) error {
	for _, one := range p.pools {
		one.Close()
	}
	return nil
}

// sqlPools is what people write first: a map of *sql.DB, the least recently used
// of which is closed when there are too many, behind a mutex. So many are kept
// that all of them together, with their caps full, stay within the share that
// tenantpool's workspaces have; what an evicted one still holds comes on top, and
// may use the rest of the budget.
type sqlPools struct {
	contest *contest
	most    int
	opened  atomic.Uint64

	mu    sync.Mutex
	found map[int]*list.Element
	used  *list.List // of *sqlPool, the most recently used first
}

type sqlPool struct {
	workspace int
	db        *sql.DB
}

func openSQLPools(_ context.Context, r *contest) (pool, error) {
	return &sqlPools{contest: r, most: max(1, r.workspaceBudget()/r.Cap), found: map[int]*list.Element{}, used: list.New()}, nil
}

// acquire may come upon a pool that another request evicts at this moment: then
// it fails with "sql: database is closed", as it does in the field.
func (l *sqlPools) acquire(ctx context.Context, workspace int) (lease, error) {
	conn, err := l.pool(workspace).Conn(ctx)
	if err != nil {
		return nil, err
	}
	return sqlLease{conn}, nil
}

func (l *sqlPools) pool(workspace int) *sql.DB {
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
	db := stdlib.OpenDB(*l.contest.LoginTo(workspace), stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		l.opened.Add(1)
		return l.contest.verify(ctx, conn, workspace)
	}))
	db.SetMaxOpenConns(l.contest.Cap)
	db.SetMaxIdleConns(l.contest.Cap)
	l.found[workspace] = l.used.PushFront(&sqlPool{workspace, db})
	l.mu.Unlock()
	if evicted != nil {
		_ = evicted.Close() // outside of the lock, so that nobody else waits for it
	}
	return db
}

func (l *sqlPools) made() uint64 { return l.opened.Load() }

func (l *sqlPools) close(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.used.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*sqlPool).db.Close()
	}
	return nil
}

type sqlLease struct{ *sql.Conn }

func (l sqlLease) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	_, err := l.ExecContext(ctx, sql, args...)
	return pgconn.CommandTag{}, err
}

func (l sqlLease) Release() { _ = l.Close() }
