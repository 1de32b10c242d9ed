package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// fakePool is a Pool without a database. A test sets what it needs to be
// different before the pool is used: each function replaces the method of its
// name. The rest keeps account in a simple way.
//
// It has one database to begin with for each of the workspaces in stats.
type fakePool struct {
	stats func(context.Context) (model.Stats, error)
	ping  func(context.Context) error
	evict func(context.Context, model.WorkspaceID) (int, error)
	renew func(ctx context.Context, id model.WorkspaceID) (int, error) // of all: ""
	pause func(context.Context, model.WorkspaceID) (int, error)
	limit func(ctx context.Context, maxConnections, maxConnectionsPerDB int) error
	set   func(context.Context, model.WorkspaceID, model.WorkspaceSettings) error
	dump  func(context.Context, io.Writer) error
	close func(context.Context) error
	query func(context.Context, model.Query) (model.QueryResult, error)

	// group is the budget that it shares; nil: it has one of its own. looks is how often it
	// was asked for that.
	group    *model.SharedBudget
	groupErr error
	looks    int

	// capacity is what the planner says; nil: it is off.
	capacity    *model.Capacity
	capacityErr error
	plans       int // how often it was asked

	used    model.Usage
	inUse   bool // the databases, by other processes
	granted int  // by the server

	mu         sync.Mutex
	state      model.Stats
	calls      []string // names of the methods that steer, and query, in their order
	workspaces []model.WorkspaceID
	paused     map[model.WorkspaceID]bool
	settings   map[model.WorkspaceID]model.WorkspaceSettings
	watchers   map[chan model.Event]*uint64 // and what each lost
	closed     bool
}

// newFakePool has the state of exampleStats.
func newFakePool() *fakePool {
	p := &fakePool{granted: 10_000, state: exampleStats(), paused: map[model.WorkspaceID]bool{}, settings: map[model.WorkspaceID]model.WorkspaceSettings{}, watchers: map[chan model.Event]*uint64{}}
	for _, w := range p.state.Workspaces.Active {
		p.workspaces = append(p.workspaces, w.ID)
	}
	return p
}

// exampleStats are the figures of the example in the API's description: 25 open
// connections, of which 10 are in use, in eight workspaces and the system
// database.
func exampleStats() model.Stats {
	st := model.Stats{MaxConnections: 100, MaxConnectionsPerDB: 3}
	st.System = model.BudgetStats{
		Budget: 10, EffectiveBudget: 10, PerWorkspace: 10,
		Counts: model.Counts{InUse: 2, Idle: 3},
	}
	st.Workspaces = model.BudgetStats{Budget: 90, EffectiveBudget: 90, PerWorkspace: 3}
	for _, w := range []model.WorkspaceStats{
		{ID: "ws_001", Counts: model.Counts{InUse: 1, Idle: 2}},
		{ID: "ws_002", Counts: model.Counts{InUse: 1, Idle: 2}},
		{ID: "ws_003", Counts: model.Counts{InUse: 1, Idle: 2}},
		{ID: "ws_004", Counts: model.Counts{InUse: 1, Idle: 2}},
		{ID: "ws_005", Counts: model.Counts{InUse: 1, Idle: 1}},
		{ID: "ws_006", Counts: model.Counts{InUse: 1, Idle: 1}},
		{ID: "ws_007", Counts: model.Counts{InUse: 1, Idle: 1}},
		{ID: "ws_008", Counts: model.Counts{InUse: 1, Idle: 1}},
	} {
		st.Workspaces.Active = append(st.Workspaces.Active, w)
		st.Workspaces.InUse += w.InUse
		st.Workspaces.Idle += w.Idle
	}
	return st
}

// did notes a call.
func (p *fakePool) did(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
}

// done are the calls until now.
func (p *fakePool) done() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// tell sends an event to all watchers; those that are full lose it.
func (p *fakePool) tell(e model.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w, lost := range p.watchers {
		told := e
		told.Lost += *lost
		select {
		case w <- told:
			*lost = 0
		default:
			*lost++
		}
	}
}

// watching is how many watch.
func (p *fakePool) watching() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.watchers)
}

func (p *fakePool) unwatch(w chan model.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watchers[w] != nil {
		delete(p.watchers, w)
		close(w)
	}
}

func (p *fakePool) Stats(ctx context.Context) (model.Stats, error) {
	if p.stats != nil {
		return p.stats(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.state
	st.Workspaces.Active = slices.Clone(st.Workspaces.Active)
	return st, ctx.Err()
}

func (p *fakePool) Ping(ctx context.Context) error {
	if p.ping != nil {
		return p.ping(ctx)
	}
	return ctx.Err()
}

func (p *fakePool) Events(ctx context.Context, buffer int) (<-chan model.Event, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, model.ErrClosed
	}
	w := make(chan model.Event, buffer)
	p.watchers[w] = new(uint64)
	context.AfterFunc(ctx, func() { p.unwatch(w) })
	return w, nil
}

func (p *fakePool) Evict(ctx context.Context, id model.WorkspaceID) (int, error) {
	p.did("evict " + string(id))
	if p.evict != nil {
		return p.evict(ctx, id)
	}
	return p.closeIdle(func(w model.WorkspaceID) bool { return w == id }), nil
}

func (p *fakePool) Renew(ctx context.Context, id model.WorkspaceID) (int, error) {
	p.did("renew " + string(id))
	if p.renew != nil {
		return p.renew(ctx, id)
	}
	return p.closeIdle(func(w model.WorkspaceID) bool { return w == id }), nil
}

func (p *fakePool) RenewAll(ctx context.Context) (int, error) {
	p.did("renew all")
	if p.renew != nil {
		return p.renew(ctx, "")
	}
	return p.closeIdle(func(model.WorkspaceID) bool { return true }), nil
}

func (p *fakePool) closeIdle(of func(model.WorkspaceID) bool) (closed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.state.Workspaces.Active {
		if of(w.ID) {
			p.state.Workspaces.Active[i].Idle = 0
			p.state.Workspaces.Idle -= w.Idle
			closed += w.Idle
		}
	}
	return closed
}

func (p *fakePool) Pause(ctx context.Context, id model.WorkspaceID) (int, error) {
	p.did("pause " + string(id))
	if p.pause != nil {
		return p.pause(ctx, id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused[id] = true
	return 0, nil
}

func (p *fakePool) Resume(_ context.Context, id model.WorkspaceID) error {
	p.did("resume " + string(id))
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.paused, id)
	return nil
}

func (p *fakePool) SetLimits(ctx context.Context, maxConnections, maxConnectionsPerDB int) (int, error) {
	p.did("set limits")
	if p.limit != nil {
		if err := p.limit(ctx, maxConnections, maxConnectionsPerDB); err != nil {
			return 0, err
		}
	}
	cfg := model.DefaultConfig()
	cfg.MaxConnections, cfg.MaxConnectionsPerDB = maxConnections, maxConnectionsPerDB
	if err := cfg.Validate(); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.MaxConnections, p.state.MaxConnectionsPerDB = maxConnections, maxConnectionsPerDB
	return p.granted, nil
}

func (p *fakePool) SetWorkspaceSettings(ctx context.Context, id model.WorkspaceID, own model.WorkspaceSettings) error {
	p.did("settings " + string(id))
	if p.set != nil {
		return p.set(ctx, id, own)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings[id] = own
	for i, w := range p.state.Workspaces.Active {
		if w.ID == id {
			p.state.Workspaces.Active[i].Cap, p.state.Workspaces.Active[i].SoftCap = own.MaxConnections, own.SoftMaxConnections
		}
	}
	return nil
}

func (p *fakePool) WorkspaceSettings(_ context.Context, id model.WorkspaceID) (model.WorkspaceSettings, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings[id], nil
}

func (p *fakePool) Dump(ctx context.Context, w io.Writer) error {
	p.did("dump")
	if p.dump != nil {
		return p.dump(ctx, w)
	}
	_, err := io.WriteString(w, "PK dump")
	return err
}

func (p *fakePool) Close(ctx context.Context) error {
	p.did("close")
	if p.close != nil {
		return p.close(ctx)
	}
	p.mu.Lock()
	p.closed = true
	p.state.Workspaces.Draining = true
	watchers := p.watchers
	p.watchers = map[chan model.Event]*uint64{}
	p.mu.Unlock()
	for w := range watchers {
		close(w)
	}
	return nil
}

func (p *fakePool) Query(ctx context.Context, q model.Query) (model.QueryResult, error) {
	p.did("query " + string(q.Workspace))
	if p.query != nil {
		return p.query(ctx, q)
	}
	return model.QueryResult{Command: "SELECT 0"}, ctx.Err()
}

func (p *fakePool) CreateWorkspace(_ context.Context, id model.WorkspaceID, opts ...model.CreateOption) error {
	did := "create " + string(id)
	for _, opt := range opts {
		did += fmt.Sprintf(" %T %v", opt, opt)
		if from, is := opt.(model.FromWorkspace); is && !slices.Contains(p.workspaces, model.WorkspaceID(from)) {
			return fmt.Errorf("the workspace to copy, %q: %w", from, model.ErrNoWorkspace)
		}
	}
	p.did(did)
	p.mu.Lock()
	defer p.mu.Unlock()
	at, found := slices.BinarySearch(p.workspaces, id)
	if found {
		return model.ErrWorkspaceExists
	}
	p.workspaces = slices.Insert(p.workspaces, at, id)
	return nil
}

func (p *fakePool) DropWorkspace(_ context.Context, id model.WorkspaceID, opts ...model.DropOption) error {
	force := slices.Contains(opts, model.Force)
	p.did(fmt.Sprint("drop ", id, opts))
	if p.inUse && !force {
		return &model.SQLError{Code: "55006", Message: "the database is in use by other processes", Hint: "drop it with force"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at, found := slices.BinarySearch(p.workspaces, id)
	if !found {
		return model.ErrNoWorkspace
	}
	p.workspaces = slices.Delete(p.workspaces, at, at+1)
	return nil
}

func (p *fakePool) RenameWorkspace(ctx context.Context, from, to model.WorkspaceID) error {
	if !slices.Contains(p.workspaces, from) {
		return model.ErrNoWorkspace
	}
	if err := p.CreateWorkspace(ctx, to); err != nil {
		return err
	}
	return p.DropWorkspace(ctx, from)
}

func (p *fakePool) Usage(ctx context.Context) (model.Usage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, ctx.Err()
}

// exampleGroup is a shared budget of 100: app-1 has the most of it, app-2 is the one that
// is asked and has too little, app-3 is gone.
func exampleGroup() model.SharedBudget {
	return model.SharedBudget{
		Group: "shop", Budget: 100, Floor: 3, Reserve: 4, Free: 5, Strangers: 2, RoleLimit: 100,
		Replicas: []model.Replica{
			{ID: "a1", Label: "app-1:311", State: model.ReplicaPresent, Age: 5 * time.Hour, Share: 60, Granted: 57, Wants: 60, Open: 55, InUse: 50},
			{ID: "b2", Label: "app-2:2077", Self: true, State: model.ReplicaPresent, Age: 90 * time.Second, Share: 20, Granted: 20, Wants: 31, Open: 20, InUse: 20, Waiting: 14},
			{ID: "c3", Label: "app-3:8", State: model.ReplicaGone, Age: time.Hour, Share: 10, Open: 10},
		},
	}
}

// share makes the pool one of the group.
func (p *fakePool) share(group model.SharedBudget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group = &group
	p.state.MaxConnections = group.Budget
	p.state.Shared = model.ReplicaStats{Group: group.Group, Connected: true, Budget: group.Budget}
	for _, r := range group.Replicas {
		if r.Self {
			p.state.Shared.Limit = r.Share
		}
	}
}

// SharedBudget: the budget is shared only if a test says so.
func (p *fakePool) SharedBudget(ctx context.Context) (model.SharedBudget, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	switch {
	case p.groupErr != nil:
		return model.SharedBudget{}, p.groupErr
	case p.group == nil:
		return model.SharedBudget{}, errors.ErrUnsupported
	}
	group := *p.group
	group.Replicas = slices.Clone(group.Replicas)
	return group, ctx.Err()
}

// plan turns the planner on.
func (p *fakePool) plan(c model.Capacity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.capacity = &c
}

func (p *fakePool) Capacity(ctx context.Context) (model.Capacity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plans++
	switch {
	case p.capacityErr != nil:
		return model.Capacity{}, p.capacityErr
	case p.capacity == nil:
		return model.Capacity{}, errors.ErrUnsupported
	}
	return *p.capacity, ctx.Err()
}

func (p *fakePool) ListWorkspaces(ctx context.Context, opts model.ListOptions) ([]model.WorkspaceID, error) {
	opts, err := opts.WithDefaults()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var page []model.WorkspaceID
	for _, id := range slices.Sorted(slices.Values(p.workspaces)) {
		if id > opts.After && strings.HasPrefix(string(id), opts.Prefix) && len(page) < opts.Limit {
			page = append(page, id)
		}
	}
	return page, ctx.Err()
}
