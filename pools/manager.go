package pools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Manager lends the connections of one PostgreSQL server. Its methods may be
// called from any goroutine.
type Manager struct {
	config     model.Config // as it was given; SetLimits changes nothing here
	supervisor *actor.Supervisor
	naming     Naming
	// ownNaming: it was set by WithNaming.
	ownNaming bool
	// resolver is nil if the naming says where databases are. With a table the naming is
	// for new databases.
	resolver *resolver
	table    *workspaceTable
	log      *slog.Logger
	turns    turns // of creates, drops and renames
	limitLog *sparseLog
	tracing  *tracing
	hooks    *hooks
	// plain: no hook and no tracer has a say in lending and in taking back.
	plain     bool
	types     *types
	databases *databases
	catalogue *catalogue
	dumps     *dumpFiles     // nil without WithDumps
	flight    flightRecorder // nil if there is none: then noFlight says why
	noFlight  error
	endDumps  context.CancelFunc

	endWatch context.CancelFunc // of watchLeases
	// closeWaits is how long Close waits before it logs for what.
	closeWaits time.Duration

	// configs are the templates of the shares' connections; see SetCredentials.
	configs [2]template
	// settings are asked for a workspace's own; nil: there are none. With a table it is
	// that.
	settings      func(context.Context, model.WorkspaceID) (WorkspaceSettings, error)
	settingsTable *settingsTable
	// provider is asked for the credentials of each dial; nil if the templates have them.
	provider *provider
	identity identity
	// shared is this process's part in a budget for several; nil: it has one of its own.
	shared *sharedBudget
	// planning is nil if the planner is off.
	planning *planning
	// leftovers are those of an earlier run of this instance, once they are known.
	leftovers  atomic.Pointer[leftovers]
	unanswered unanswered
	// answered is closed when the server has said what it grants.
	answered chan struct{}
	// turn has room for one: whoever meets the server, or has it try new credentials.
	turn chan struct{}

	// closing is closed when Close begins: the system database is then for the
	// manager alone.
	closing   chan struct{}
	closeOnce sync.Once
	// overdue is closed closingAtMost later.
	overdue chan struct{}
}

// The shares of the supervisor, in the order in which they drain: the system
// database goes last, because closing the others may need it.
const (
	workspaceShare actor.ShareIndex = iota
	systemShare
)

// managersOwn is on whose behalf the manager itself asks the server something, over
// the system database. The application's cap there leaves one connection for it:
// if it held all of them, no closer could find out that a lost backend is gone.
const managersOwn model.WorkspaceID = "the system database"

// Open connects to the system database, asks the server what it grants (and
// warns when that is less than cfg.MaxConnections), and returns a Manager. It
// blocks until then (not at all WithLateServer), at most until ctx is done or
// cfg.AcquireTimeout is over, and a second or two longer for a server that then is silent.
// The caller owns the Manager and ends it with Close.
//
// The error is a joined list of *model.ConfigError for bad values, or wraps a
// *model.DialError when the server cannot be reached or refuses the login.
func Open(ctx context.Context, cfg model.Config, opts ...Option) (*Manager, error) {
	o := options{log: defaultLogger()}
	for _, opt := range opts {
		opt(&o)
	}
	cfg = cfg.WithDefaults()
	cfg.SharedBudget = cmp.Or(o.group, cfg.SharedBudget)
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	credentials, err := newProvider(cfg, o.credentials)
	if err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	if credentials != nil {
		cfg.Password = ""
	}
	hooks, err := newHooks(o.hooks, cfg.DialTimeout, o.log)
	if err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	base, err := connConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	self := newIdentity(base.RuntimeParams["application_name"], cmp.Or(o.instance, cfg.SharedBudget))
	self.introduce(base)
	if cfg.SharedBudget != "" {
		keepAlive(base)
	}
	tracing, err := newTracing(o)
	if err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	m := &Manager{
		config:    cfg,
		naming:    checked(PrefixNaming(cfg.Prefix), cfg.SystemDatabase),
		ownNaming: o.naming != nil,
		turns:     newTurns(),
		log:       o.log,
		limitLog:  newSparseLog(o.log),
		tracing:   tracing,
		hooks:     hooks,
		types:     o.types,
		provider:  credentials,
		identity:  self,
		answered:  make(chan struct{}),
		turn:      make(chan struct{}, 1),
		closing:   make(chan struct{}),
		overdue:   make(chan struct{}),

		closeWaits: closeWaits,
	}
	m.plain = !tracing.ofLeases() && hooks.lendAsTheyAre()
	if m.ownNaming {
		m.naming = checked(o.naming, cfg.SystemDatabase)
	}
	places, table, err := m.newPlaces(o)
	if err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	if err := m.newSettings(o); err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	if err := m.startDumps(o.dumps); err != nil {
		return nil, fmt.Errorf("open connection manager: %w", err)
	}
	if m.table = table; places != nil {
		m.resolver = startResolver(places)
	}
	m.catalogue = startCatalogue(m.lookUp, newSparseLog(o.log))
	dialLog := newDialLog(o.log)
	m.shared = newSharedBudget(m)
	share := func(index actor.ShareIndex, limits model.Limits, placeOf func(context.Context, model.WorkspaceID) (place, error), system bool) actor.Share {
		limits.Seed = rand.Uint64()
		if m.shared != nil {
			limits.Budget = 0 // until the group has said what it may have
		}
		m.configs[index].Store(base)
		var settingsOf func(context.Context, model.WorkspaceID) (WorkspaceSettings, error)
		if m.settings != nil && !system {
			settingsOf = m.settingsOf
		}
		return actor.Share{Limits: limits, System: system, Dialer: tracing.dials(&dialer{
			config:     &m.configs[index],
			provider:   credentials,
			placeOf:    placeOf,
			timeout:    cfg.DialTimeout,
			closer:     &closer{ask: m.terminateBackend, system: system, overdue: m.overdue},
			log:        dialLog,
			traced:     cfg.LeaseTracing,
			failed:     m.catalogue.forget,
			unanswered: &m.unanswered,
			hooks:      hooks,
			types:      o.types,
			settingsOf: settingsOf,
			identity:   self,

			shared:        m.shared,
			leftovers:     &m.leftovers,
			readWrite:     cfg.TargetSessionAttrs == "read-write",
			mayBeReadOnly: slices.Contains([]string{"read-only", "standby", "prefer-standby"}, cfg.TargetSessionAttrs),
		})}
	}
	watching, endWatch := context.WithCancel(context.Background())
	m.endWatch = endWatch
	if credentials != nil {
		credentials.renew = func() { go m.renewOutdated(watching) }
	}
	m.supervisor = actor.Start(
		share(workspaceShare, cfg.WorkspaceLimits(), m.placeOf, false),
		share(systemShare, cfg.SystemLimits(), m.system, true),
	)
	tracing.watchEvictions(m.supervisor)
	if cfg.LeaseWarnAfter > 0 {
		go m.watchLeases(watching)
	}
	if m.settingsTable != nil {
		go m.settingsTable.watch(watching)
	}
	m.planning = m.startPlanning(watching)
	m.databases = newDatabases(newSparseLog(o.log))
	runtime.AddCleanup(m, (*databases).closeAll, m.databases) // it runs after Close only
	if !o.late {
		if err := m.meetServer(ctx); err != nil {
			// Nothing was lent: only a silent server keeps this from ending soon.
			closing, stop := context.WithTimeout(ctx, terminateWithin)
			defer stop()
			_ = m.Close(closing)
			return nil, fmt.Errorf("open connection manager: system database: %w", err)
		}
	}
	if cfg.Unused != "" {
		m.log.Warn("Set and not used", "what", cfg.Unused)
	}
	m.log.Info("Connection manager initialized", aboutLimits(cfg)...)
	return m, nil
}

// Acquire lends a connection of the workspace. It blocks until there is one, at
// most until ctx is done or Config.AcquireTimeout is over (0: it waits for a
// dial, at most DialTimeout, but for nobody's lease). The caller owns the
// connection until Release.
//
// A dead connection is replaced. One that was idle for a few milliseconds has its
// socket looked at, without a round trip; one that was idle for longer than
// HealthCheckAfter is also tested with a query. A workspace that has no connection is
// first looked up in the server's catalogue (at most a second), so that an id without a
// database is refused without a dial: the DialError's Attempts are 0.
//
// The error wraps a *model.WorkspaceIDError before anything is dialed; a
// *model.ConnectionLimitError when a limit turned the caller away; a
// *model.DialError when the workspace's database cannot be connected; or wraps
// model.ErrClosed, ErrPaused or ErrDialing. Where ctx ended the wait it also
// wraps ctx.Err().
func (m *Manager) Acquire(ctx context.Context, id model.WorkspaceID) (*Conn, error) {
	if m.plain {
		if conn := m.seated(ctx, id); conn != nil {
			if b := conn.backend; !b.altered() || resetAll(ctx, b) == nil {
				b.dirty = true
				return conn, nil
			}
			conn.giveUp()
		}
	}
	if m.tracing.ofLeases() {
		return m.tracing.acquired(ctx, id, func(ctx context.Context) (*Conn, error) { return m.lendToUser(ctx, id) })
	}
	return m.lendToUser(ctx, id)
}

func (m *Manager) lendToUser(ctx context.Context, id model.WorkspaceID) (*Conn, error) {
	conn, err := m.handOut(ctx, id, m.lendAsDialed)
	if err == nil {
		batchOf(ctx).hold(conn)
	}
	return conn, err
}

// lend is Acquire for the manager itself, which leaves the session as it was.
func (m *Manager) lend(ctx context.Context, id model.WorkspaceID, since time.Time) (*Conn, error) {
	if since.IsZero() {
		if conn := m.seated(ctx, id); conn != nil {
			return conn, nil
		}
	}
	if err := m.valid(id); err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	return m.acquire(ctx, workspaceShare, id, since)
}

// seated lends what the last holder of a connection of the workspace has just left for the
// next one, or returns nil.
func (m *Manager) seated(ctx context.Context, id model.WorkspaceID) *Conn {
	if ctx.Err() != nil || batchOf(ctx) != nil {
		return nil
	}
	lease, ok := m.supervisor.AcquireSeated(workspaceShare, id)
	if !ok {
		return nil
	}
	conn := newConn(lease)
	if !m.fit(ctx, conn) {
		return nil
	}
	if m.hooks.ShouldPing != nil && m.shouldPing(ctx, conn) && m.verify(ctx, conn, time.Now().Add(m.hooks.PingTimeout)) != nil {
		return nil
	}
	return conn
}

func (m *Manager) acquire(ctx context.Context, share actor.ShareIndex, id model.WorkspaceID, since time.Time) (*Conn, error) {
	began := since
	if began.IsZero() {
		began = time.Now()
	}
	conn, err := m.borrow(ctx, share, id, began)
	m.dumps.note(share == systemShare, id, began, err)
	return conn, err
}

func (m *Manager) borrow(ctx context.Context, share actor.ShareIndex, id model.WorkspaceID, began time.Time) (*Conn, error) {
	wait := actor.Wait{AtMost: m.config.AcquireTimeout}
	switch {
	case batchOf(ctx) != nil:
		// Only ctx bounds it. The system database is not worked on in bulk.
		wait = actor.Wait{Batch: share == workspaceShare, AtMost: math.MaxInt64}
	case wait.AtMost == 0:
		wait = actor.Wait{NoWait: true, AtMost: m.config.DialTimeout}
	}
	var as opening
	if m.settings != nil && share == workspaceShare {
		var err error
		if as, err = m.applySettings(ctx, id, &wait); err != nil {
			return nil, err
		}
	}
	deadline := began.Add(wait.AtMost)
	if share == workspaceShare {
		if err := m.admit(ctx, id, deadline); err != nil {
			return nil, err
		}
	}
	wait.AtMost = untilDeadline(deadline) // since began
	for {
		lease, err := m.supervisor.Acquire(ctx, share, id, wait)
		if err != nil {
			m.noteLimit(id, err)
			return nil, err
		}
		conn := newConn(lease)
		begun, err := m.begunAs(ctx, conn, as)
		if err != nil {
			return nil, err
		}
		if begun && m.fit(ctx, conn) {
			if !m.shouldPing(ctx, conn) {
				return conn, nil
			}
			if err := m.verify(ctx, conn, deadline); err == nil {
				return conn, nil
			} else if ctx.Err() != nil {
				return nil, fmt.Errorf("acquire workspace %q: testing its connection: %w", id, err)
			}
		}
		// A dead one is closed by now: each turn takes one away. Its slot comes back,
		// and is waited for.
		wait.NoWait = false
		wait.AtMost = untilDeadline(deadline)
	}
}

// untilDeadline is what is left for an actor.Wait, for which 0 is no bound.
func untilDeadline(deadline time.Time) time.Duration { return cmp.Or(time.Until(deadline), -1) }

// verify tests a connection that was idle for long, until the deadline at most.
// One that fails is given back to be closed.
func (m *Manager) verify(ctx context.Context, conn *Conn, deadline time.Time) error {
	if conn.backend.overrun != nil {
		conn.giveUp()
		return errHookRuns
	}
	ctx, stop := context.WithTimeout(ctx, min(m.hooks.PingTimeout, time.Until(deadline)))
	defer stop()
	err := conn.backend.test(ctx)
	switch {
	case err == nil && conn.backend.turnedReadOnly():
		conn.release(core.Unclean)
		return errTurnedReadOnly
	case err == nil:
	case conn.backend.health() == core.Clean: // ctx ended, and the test with it
		conn.Release()
	default:
		conn.release(core.Lost)
	}
	return err
}

// noteLimit logs that a limit turned a request away, and says so where the limit is not
// to blame.
func (m *Manager) noteLimit(id model.WorkspaceID, err error) {
	var limit *model.ConnectionLimitError
	if errors.As(err, &limit) {
		limit.ServerSilent, limit.Shared = m.unanswered.lately(), m.shared != nil
		m.shared.turnedAway(limit.Limit)
		m.limitLog.warn("Connection limit reached", func() []any {
			return []any{"workspace_id", id, "error", limit.Error()}
		})
	}
}

// Workspace returns a handle on the workspace. It costs nothing and needs no
// closing; a bad id is reported by the handle's methods.
func (m *Manager) Workspace(id model.WorkspaceID) *Workspace {
	return &Workspace{id: id, key: workspaceKey(id), acquire: m.Acquire, databases: m.databases}
}

// workspaceKey differs from the system database's, whatever the id.
func workspaceKey(id model.WorkspaceID) string { return "workspace " + string(id) }

// System returns a handle on the system database, which has a share of the
// connections for itself (see model.Config.SystemShare), all but one of which the
// application may have at once. It costs nothing and needs no closing.
func (m *Manager) System() *Workspace {
	return &Workspace{
		id:        model.WorkspaceID(m.config.SystemDatabase),
		key:       "system",
		databases: m.databases,
		acquire: func(ctx context.Context, id model.WorkspaceID) (*Conn, error) {
			return m.tracing.acquired(ctx, "", func(ctx context.Context) (*Conn, error) { return m.handOut(ctx, id, m.lendSystem) })
		},
	}
}

// lendSystem is System's Acquire for the manager itself, which leaves the session as
// it was. What may take long goes here, and not to the connections of acquireOwn.
func (m *Manager) lendSystem(ctx context.Context, id model.WorkspaceID, since time.Time) (*Conn, error) {
	if within(m.closing, 0) {
		return nil, fmt.Errorf("acquire system database: %w", model.ErrClosed)
	}
	if err := m.met(id); err != nil {
		return nil, err
	}
	return m.acquire(ctx, systemShare, id, since)
}

// Evict closes the workspace's idle connections and blocks until the server has
// let go of them; closed is how many there were. Connections that are lent stay.
// If ctx is done first, they close all the same, and the error wraps ctx.Err().
// Errors are otherwise those of Pause.
func (m *Manager) Evict(ctx context.Context, id model.WorkspaceID) (closed int, err error) {
	if err := m.known(ctx, id); err != nil {
		return 0, fmt.Errorf("evict: %w", err)
	}
	return m.supervisor.Evict(ctx, workspaceShare, id)
}

// Stats returns the state of all connections at one moment; the copy is the
// caller's. It blocks for the supervisor's answer, which takes microseconds, at
// most until ctx is done. The error wraps ctx.Err(), or model.ErrClosed after
// Close.
func (m *Manager) Stats(ctx context.Context) (model.Stats, error) {
	st, err := m.supervisor.Stats(ctx)
	if err != nil {
		return model.Stats{}, err
	}
	workspaces, system := st.Shares[workspaceShare], st.Shares[systemShare]
	workspaces.Active, system.Active = m.onlyWorkspaces(workspaces.Active), m.onlyWorkspaces(system.Active)
	all := model.Stats{
		MaxConnections:      workspaces.Budget + system.Budget,
		MaxConnectionsPerDB: workspaces.PerWorkspace,
		Workspaces:          workspaces,
		System:              system,
		Saturation:          st.Saturation,
	}
	if m.shared != nil {
		all.Shared = m.shared.stats()
		all.MaxConnections = all.Shared.Budget
	}
	m.planning.addTo(&all)
	return all, nil
}

// Usage returns what each workspace has had since Open: acquires, waits, dials, and how long
// connections were lent. Keeping it costs a lent connection nothing, and it stays when a
// workspace has no connection any more. It blocks as Stats does. The system database is
// not in it.
func (m *Manager) Usage(ctx context.Context) (model.Usage, error) {
	u, err := m.supervisor.Usage(ctx, workspaceShare)
	if err != nil {
		return model.Usage{}, err
	}
	left := m.leftovers.Load()
	u.Workspaces = slices.DeleteFunc(u.Workspaces, func(w model.WorkspaceUsage) bool {
		return isUnfinished(w.ID) || left.of(w.ID) != nil
	})
	return u, nil
}

// Close stops lending (waiters get model.ErrClosed), closes connections as they
// are released, and blocks until the server has let go of the last one. If ctx
// is done first, the error wraps ctx.Err() and says what is still open; that
// closes when it is released, and Close may be called again to wait for it. After five
// seconds, and then once a minute, it logs which workspaces it waits for.
func (m *Manager) Close(ctx context.Context) error {
	m.closeOnce.Do(func() {
		close(m.closing)
		time.AfterFunc(closingAtMost, func() { close(m.overdue) })
		m.endDumps()
		if m.flight != nil {
			m.flight.end()
		}
		m.endWatch()
		m.databases.end()
		m.catalogue.stop()
		m.resolver.stop()
	})
	if err := m.drain(ctx); err != nil {
		return fmt.Errorf("close connection manager: %w", err)
	}
	m.shared.leave(ctx)
	if err := m.dumpsEnded(ctx); err != nil {
		return fmt.Errorf("close connection manager: %w", err)
	}
	return nil
}

// acquireOwn lends a connection for the manager's own short questions to the server.
// It goes to the system database, and its session is clean: no other user of System
// ever gets it. The caller leaves the session as it was, and holds it briefly, since
// there may be only this one.
func (m *Manager) acquireOwn(ctx context.Context) (*Conn, error) {
	return m.acquire(ctx, systemShare, managersOwn, time.Time{})
}

// askOwn is one of those questions; each row of the answer becomes a T.
func askOwn[T any](ctx context.Context, m *Manager, toT pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	conn, err := m.acquireOwn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, _ := conn.Query(ctx, sql, args...) // an error is the rows'
	all, err := pgx.CollectRows(rows, toT)
	return all, conn.backend.because(ctx, err)
}

// Format prints the Manager, with any verb, as the server it is of: what it
// holds is in use by others, and the password is in it.
func (m *Manager) Format(f fmt.State, _ rune) {
	hosts, ports := m.config.HostsAndPorts()
	_, _ = fmt.Fprintf(f, "tenantpool manager of %s:%s", hosts, ports)
}
