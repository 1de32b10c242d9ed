package pools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// sharedBudget is this process's part in a budget for several: package replicas divides it,
// and the supervisor holds itself to the part.
type sharedBudget struct {
	m       *Manager
	session atomic.Pointer[replicas.Session] // nil until join
	// limit is what was set last; only the session's goroutine touches it.
	limit int
}

// maxDial bounds a dial of a shared budget, from the permit on.
const maxDial = 3 * time.Second

// newSharedBudget returns nil if the budget is not shared.
func newSharedBudget(m *Manager) *sharedBudget {
	if m.config.SharedBudget == "" {
		return nil
	}
	return &sharedBudget{m: m}
}

// join opens the control session, unless there is one.
func (b *sharedBudget) join(ctx context.Context, deadline time.Time) error {
	if b == nil || b.session.Load() != nil {
		return nil
	}
	ctx, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	cfg := b.m.config
	host, _ := os.Hostname()
	session, err := replicas.Join(ctx, replicas.Options{
		Group: cfg.SharedBudget, Budget: cfg.MaxConnections, Floor: cfg.SystemShare() + 1,
		ID: b.m.identity.run, Label: fmt.Sprintf("%s:%d", host, os.Getpid()),
		ApplicationName: b.m.identity.family + b.m.identity.run,
		MaxDialing:      2 * cfg.MaxDialing, MaxDial: maxDial, // of the workspaces' share and the system's
		Connect: b.connect, Log: b.m.log,
	}, b)
	if err != nil {
		return &model.DialError{Kind: model.ServerDown, Err: fmt.Errorf("shared budget %q: %w", cfg.SharedBudget, briefly(err))}
	}
	b.session.Store(session)
	return nil
}

// leave is called when nothing is open any more.
func (b *sharedBudget) leave(ctx context.Context) error {
	if b == nil {
		return nil
	}
	session := b.session.Swap(nil)
	if session == nil {
		return nil
	}
	if err := session.Leave(ctx); err != nil {
		return fmt.Errorf("leave the group %q: %w", b.m.config.SharedBudget, briefly(err))
	}
	return nil
}

// permit is the dialers'.
func (b *sharedBudget) permit() func(context.Context) (time.Time, error) {
	if b == nil {
		return nil
	}
	return func(ctx context.Context) (time.Time, error) {
		session := b.session.Load()
		if session == nil {
			return time.Time{}, replicas.ErrNoControlSession
		}
		return session.Permit(ctx)
	}
}

// ofSharedBudget: that the server is full says nothing about this process's part. It waits
// for others' connections to end.
func (e *dialFailure) ofSharedBudget() {
	switch {
	case errors.Is(e.err, replicas.ErrNoControlSession):
		e.kind, e.remedy = model.ServerDown, "wait until the server can be reached again"
	case errors.Is(e.err, replicas.ErrFull):
		e.kind, e.remedy = model.Transient, ""
	case e.kind == model.ServerFull:
		e.kind, e.remedy = model.Transient, "the group's connections are fewer than its budget: look for others of the same role, and set the role's CONNECTION LIMIT to the budget"
	}
}

// Limit is replicas.Pool's. The system database's share goes first.
func (b *sharedBudget) Limit(n int) {
	if n == b.limit {
		return
	}
	cfg := b.m.config
	system := min(n, cfg.SystemShare())
	err := b.m.supervisor.SetLimits(context.Background(),
		core.SetLimits{Budget: n - system, PerWorkspace: cfg.MaxConnectionsPerDB},
		core.SetLimits{Budget: system, PerWorkspace: cfg.SystemLimits().PerWorkspace})
	if err == nil { // else it is draining: nothing is dialed any more
		b.limit = n
	}
}

// Use is replicas.Pool's. Who waits at his own cap has no use for more.
func (b *sharedBudget) Use() (open, wants, renamed int) {
	st, err := b.m.supervisor.Stats(context.Background())
	if err != nil {
		return 0, 0, 0
	}
	for i, share := range st.Shares {
		open += share.Open()
		if i == int(systemShare) {
			continue
		}
		for _, w := range share.Active {
			wants += min(w.InUse+w.Closing+max(w.Waiting, w.Dialing), w.Cap)
		}
	}
	return open, wants + b.m.config.SystemShare(), 0
}

// connect opens the control session: directly, with short keep-alives, and statements that
// cannot hang.
func (b *sharedBudget) connect(ctx context.Context) (*pgx.Conn, error) {
	config := b.m.configs[systemShare].Load().Copy()
	if _, err := b.m.provider.logIn(ctx, config); err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = "tenantpool control session"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	var pid uint32
	err = conn.QueryRow(ctx, `
SELECT pg_catalog.pg_backend_pid(), count(pg_catalog.set_config(name, value, false))
FROM (VALUES ('lock_timeout', '1s'), ('statement_timeout', '2s'), ('idle_session_timeout', '0')) AS v (name, value)
WHERE EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE s.name = v.name)`).Scan(&pid, nil)
	if err == nil && pid != conn.PgConn().PID() {
		err = errors.New("there is a pooler between this process and the server, and a shared budget needs a session of its own: connect directly")
	}
	if err == nil {
		err = makeTables(ctx, conn)
	}
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// makeTables makes them if they are not there. Two who do so at once may both find them
// missing.
func makeTables(ctx context.Context, conn *pgx.Conn) error {
	var err error
	for range 3 {
		var there bool
		if err = conn.QueryRow(ctx, `SELECT to_regclass('tenantpool_replicas') IS NOT NULL`).Scan(&there); err != nil || there {
			return err
		}
		if _, err = conn.Exec(ctx, replicas.Schema); err == nil {
			return nil
		}
	}
	return fmt.Errorf("make the tables of shared budgets: %w", err)
}

// keepAlive has the server find out soon that a process or its machine is gone.
func keepAlive(config *pgx.ConnConfig) {
	for name, value := range map[string]string{
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "10000",
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
}
