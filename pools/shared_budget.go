package pools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// sharedBudget is this process's part in a budget for several: package replicas divides it,
// and the supervisor holds itself to the part.
type sharedBudget struct {
	m       *Manager
	session atomic.Pointer[replicas.Session] // nil until join
	// part is what the session said last, and cap what one workspace may have.
	part atomic.Pointer[replicas.Part]
	cap  atomic.Int64
	// started is when the server of the control session did.
	started  atomic.Pointer[time.Time]
	refusals atomic.Uint64
	// short is when an acquire was turned away last for want of room, in Unix nanoseconds.
	short   atomic.Int64
	granted chan struct{} // closed when the group has granted the first connection
	// set is what the supervisor was told last; only the session's goroutine touches it.
	set struct{ limit, cap, system int }
}

// maxDial bounds a dial of a shared budget, from the permit on.
const maxDial = 3 * time.Second

// newSharedBudget returns nil if the budget is not shared.
func newSharedBudget(m *Manager) *sharedBudget {
	if m.config.SharedBudget == "" {
		return nil
	}
	b := &sharedBudget{m: m, granted: make(chan struct{})}
	b.part.Store(&replicas.Part{})
	b.cap.Store(int64(m.config.MaxConnectionsPerDB))
	return b
}

// join makes the process a replica, unless it is one, and waits until it may open something:
// who asks then need not wait (DB_ACQUIRE_TIMEOUT=0).
func (b *sharedBudget) join(ctx context.Context, deadline time.Time) error {
	if b == nil {
		return nil
	}
	ctx, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	go func() {
		select {
		case <-b.m.closing:
			stop()
		case <-ctx.Done():
		}
	}()
	if b.session.Load() == nil {
		if err := b.register(ctx); err != nil {
			return err
		}
	}
	select {
	case <-b.granted:
		return nil
	case <-ctx.Done():
	}
	return b.notJoined(fmt.Errorf("wait for the first connection: %w", ctx.Err()))
}

// register opens the control session. A login that fails is tried again until ctx is done,
// as those of other connections are.
func (b *sharedBudget) register(ctx context.Context) error {
	cfg := b.m.config
	host, _ := os.Hostname()
	for {
		session, err := replicas.Join(ctx, replicas.Options{
			Group: cfg.SharedBudget, Budget: cfg.MaxConnections, Floor: cfg.SystemShare() + 1,
			ID: b.m.identity.run, Label: fmt.Sprintf("%s:%d", host, os.Getpid()),
			ApplicationName: b.m.identity.family + b.m.identity.run,
			MaxDialing:      2 * cfg.MaxDialing, MaxDial: maxDial, // of the workspaces' share and the system's
			Connect: b.connect, Log: b.m.log,
		}, b)
		if err == nil {
			b.session.Store(session)
			if within(b.m.closing, 0) { // Close may not have seen it
				b.leave(ctx)
				return b.notJoined(model.ErrClosed)
			}
			if all, err := session.Show(ctx); err == nil { // a lost session is logged
				b.checkFence(all)
			}
			return nil
		}
		var login *dialFailure
		if errors.As(err, &login) && login.kind != model.Permanent && !within(ctx.Done(), askAgain) {
			continue
		}
		return b.notJoined(err)
	}
}

// notJoined says what follows from the failure to join, or that the manager closes.
func (b *sharedBudget) notJoined(err error) error {
	if within(b.m.closing, 0) {
		return fmt.Errorf("shared budget %q: %w", b.m.config.SharedBudget, model.ErrClosed)
	}
	var login *dialFailure
	var refused *pgconn.PgError
	kind, remedy := model.ServerDown, ""
	switch {
	case errors.As(err, &login):
		if login.kind != model.Transient {
			kind = login.kind
		}
	case errors.As(err, new(*replicas.BudgetError)):
		remedy = ": start fewer processes, or raise the budget (tenantpool fence --budget)"
	case errors.Is(err, errPooler):
		kind = model.Permanent
	case !errors.As(err, &refused):
	case refused.Code == pgerrcode.InsufficientPrivilege:
		kind, remedy = model.Permanent, ": have a role that may do so run the SQL of tenantpool replicas schema"
	case refused.Code == pgerrcode.InvalidSchemaName:
		kind, remedy = model.Permanent, ": name a schema in the role's search_path, the same for all processes"
	case refused.Code == pgerrcode.ReadOnlySQLTransaction:
		remedy = ": let DB_HOST be the primary, which a shared budget writes to"
	}
	return &model.DialError{WorkspaceID: managersOwn, Kind: kind, Err: fmt.Errorf("shared budget %q: %w%s", b.m.config.SharedBudget, briefly(err), remedy)}
}

// checkFence warns when the role's limit is not the budget. It is part of the protocol, and
// only a superuser or the like can set it.
func (b *sharedBudget) checkFence(all model.SharedBudget) {
	if all.RoleLimit == all.Budget {
		return
	}
	b.m.log.Warn("The role's CONNECTION LIMIT is not the shared budget: nothing keeps its connections within that "+
		"when a machine stops between asking and connecting, or somebody else logs in as it (tenantpool fence sets it)",
		"group", all.Group, "budget", all.Budget, "role_connection_limit", all.RoleLimit)
}

// show is the group as people see it.
func (b *sharedBudget) show(ctx context.Context) (model.SharedBudget, error) {
	session := b.session.Load()
	if session == nil {
		return model.SharedBudget{}, replicas.ErrNoControlSession
	}
	return session.Show(ctx)
}

// SharedBudget returns the budget that this process shares with others, and who has what
// of it. It blocks for a few round trips to the server, at most until ctx is done. The error
// wraps errors.ErrUnsupported if the budget is not shared, ctx.Err(), or model.ErrClosed
// after Close; else the group cannot be read now.
func (m *Manager) SharedBudget(ctx context.Context) (model.SharedBudget, error) {
	if m.shared == nil {
		return model.SharedBudget{}, fmt.Errorf("shared budget: %w: DB_SHARED_BUDGET is not set, so this process has a budget of its own", errors.ErrUnsupported)
	}
	if within(m.closing, 0) {
		return model.SharedBudget{}, fmt.Errorf("shared budget: %w", model.ErrClosed)
	}
	all, err := m.shared.show(ctx)
	if err != nil {
		return model.SharedBudget{}, fmt.Errorf("shared budget %q: %w", m.config.SharedBudget, briefly(err))
	}
	return all, nil
}

// budget is the group's, or the process's own if it is not shared.
func (b *sharedBudget) budget(own int) int {
	if b == nil {
		return own
	}
	return b.part.Load().Budget
}

// stats is this process's part.
func (b *sharedBudget) stats() model.ReplicaStats {
	part := b.part.Load()
	return model.ReplicaStats{
		Group: b.m.config.SharedBudget, Connected: part.Connected, Budget: part.Budget, Limit: part.Limit, Refusals: b.refusals.Load(),
	}
}

// setLimits changes the group's budget and the process's own cap.
func (b *sharedBudget) setLimits(ctx context.Context, cfg model.Config) (granted int, err error) {
	session := b.session.Load()
	if session == nil {
		return 0, replicas.ErrNoControlSession
	}
	if err := b.setBudget(ctx, cfg.MaxConnections); err != nil {
		return 0, err
	}
	b.cap.Store(int64(cfg.MaxConnectionsPerDB))
	if err := session.HoldAgain(ctx); err != nil {
		return 0, briefly(err)
	}
	if all, err := session.Show(ctx); err == nil { // a lost session is logged
		b.checkFence(all)
		granted = max(0, all.RoleLimit)
	}
	return granted, nil
}

// setBudget changes the group's.
func (b *sharedBudget) setBudget(ctx context.Context, budget int) error {
	session := b.session.Load()
	switch {
	case session == nil:
		return replicas.ErrNoControlSession
	case budget == b.part.Load().Budget:
		return nil
	}
	err := session.SetBudget(ctx, budget)
	if small, ok := errors.AsType[*replicas.BudgetError](err); ok {
		return &model.ConfigError{Variable: "DB_MAX_CONNECTIONS", Value: strconv.Itoa(budget), Want: "enough for the group: " + small.Error()}
	}
	if err != nil {
		return briefly(err)
	}
	return nil
}

// leave is called when nothing is open any more.
func (b *sharedBudget) leave(ctx context.Context) {
	if b == nil {
		return
	}
	session := b.session.Swap(nil)
	if session == nil {
		return
	}
	if err := session.Leave(ctx); err != nil {
		b.m.log.Warn("The group could not be told that this process has left: the others have what was its own some seconds later",
			"group", b.m.config.SharedBudget, "error", briefly(err).Error())
	}
}

// permit waits until another connection fits. It must be open by the time returned.
func (b *sharedBudget) permit(ctx context.Context) (until time.Time, err error) {
	session := b.session.Load()
	if session == nil {
		return time.Time{}, replicas.ErrNoControlSession
	}
	return session.Permit(ctx)
}

// refused counts a connection that the server had no room for although it fits.
func (b *sharedBudget) refused(err error) bool {
	if b == nil || err == nil || newDialFailure(err, true).kind != model.ServerFull {
		return false
	}
	b.refusals.Add(1)
	return true
}

// fullFor is how long the server may be full although a connection fits: a session's slot is
// free microseconds after its end of file.
const fullFor = 10 * time.Millisecond

// sameServer finds out a connection that is not to the server that divides the budget, or
// goes through a pooler.
func (b *sharedBudget) sameServer(ctx context.Context, conn *pgx.Conn) error {
	started, err := whose(ctx, conn)
	if err != nil {
		return err
	}
	if !started.Equal(*b.started.Load()) {
		return errOtherServer
	}
	return nil
}

// ofSharedBudget says what follows from the failures that only a shared budget has. Where the
// server stays full the core does as with a budget of its own: it closes an idle connection,
// if there is one, and tries for more later.
func (e *dialFailure) ofSharedBudget() {
	switch {
	case errors.Is(e.err, replicas.ErrNoControlSession):
		e.kind, e.remedy = model.ServerDown, "wait until the server can be reached again"
	case errors.Is(e.err, replicas.ErrFull):
		e.kind, e.remedy = model.Transient, ""
	case e.kind == model.ServerFull:
		e.remedy = "the group's connections are fewer than its budget: look for others of the same role, and set the role's CONNECTION LIMIT to the budget (tenantpool fence)"
	}
}

// Hold is replicas.Pool's. The system database's share goes first.
func (b *sharedBudget) Hold(p replicas.Part) {
	b.part.Store(&p)
	if p.Limit > 0 && !within(b.granted, 0) {
		defer close(b.granted) // once the supervisor knows
	}
	limit, perWorkspace, share := p.Limit, int(b.cap.Load()), b.systemShare()
	if limit == b.set.limit && perWorkspace == b.set.cap && share.Budget == b.set.system {
		return
	}
	system := min(limit, share.Budget)
	err := b.m.supervisor.SetLimits(context.Background(),
		core.SetLimits{Budget: limit - system, PerWorkspace: perWorkspace},
		core.SetLimits{Budget: system, PerWorkspace: share.PerWorkspace})
	if err == nil { // else it is draining: nothing is dialed any more
		b.set.limit, b.set.cap, b.set.system = limit, perWorkspace, share.Budget
	}
}

// systemShare is as configured, or what the group's floor has for it if that is less: else
// all that a replica may have could be for the system database.
func (b *sharedBudget) systemShare() model.Limits {
	cfg := b.m.config
	if n := b.part.Load().Floor - 1; n < cfg.SystemShare() {
		cfg.SystemConnections = max(0, n) // 0: the fewest that there can be
	}
	return cfg.SystemLimits()
}

// turnedAway notes an acquire that found no room and did not wait for any, or not for long
// enough to be seen waiting (DB_ACQUIRE_TIMEOUT=0): that is a need, too.
func (b *sharedBudget) turnedAway(limit model.Limit) {
	if b != nil && limit == model.BudgetLimit {
		b.short.Store(time.Now().UnixNano())
	}
}

// shortFor is how long after one was turned away the need lasts.
const shortFor = time.Second

// Use is replicas.Pool's. Who waits at his own cap has no use for more. How many would have
// come had they not been turned away nobody knows: as many again as there are.
func (b *sharedBudget) Use() (u replicas.Use) {
	st, err := b.m.supervisor.Stats(context.Background())
	if err != nil {
		return u
	}
	u.Wants = b.systemShare().Budget
	for i, share := range st.Shares {
		u.Open += share.Open()
		u.InUse += share.InUse
		u.Waiting += share.Waiting
		if i == int(systemShare) {
			continue
		}
		for _, w := range share.Active {
			u.Wants += min(w.InUse+max(w.Waiting, w.Dialing), w.Cap)
		}
	}
	if time.Since(time.Unix(0, b.short.Load())) < shortFor {
		u.Wants *= 2
	}
	return u
}
