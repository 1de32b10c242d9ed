package pools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
)

// planning runs package planner: one goroutine feeds it what the supervisor records, and
// another works out at leisure what other limits would do.
type planning struct {
	m    *Manager
	auto *autoBudget // nil without DB_AUTO_BUDGET
	// grantable is how many slots the server could grant the workspaces; 0: not known.
	grantable atomic.Int64

	// capacity, utilisation and budget are the latest, for whoever asks.
	capacity    atomic.Pointer[model.Capacity]
	utilisation atomic.Pointer[model.Utilisation]
	budget      atomic.Pointer[model.AutoBudget]

	// asks are carried out by the first goroutine, which owns what follows.
	asks   chan func()
	window *planner.Window
	curve  *planner.Curve
	load   *planner.Load
	// budgeted is the last budget, and effective how many slots the server granted of it.
	budgeted, effective int
	// plans go to the second goroutine, which says on idle that it has none.
	plans chan *planner.Plan
	idle  chan struct{}
	ready bool
	// plannedAt is when the last plan was made, and askedAt when the server was asked what it
	// grants.
	plannedAt, askedAt time.Time
}

const (
	// lookEvery is how often the traffic is fetched.
	lookEvery = time.Second
	// planEvery is how often there is a new plan, at most.
	planEvery = 15 * time.Second
	// planningShare is which part of a processor working out a plan may take.
	planningShare = 0.01
	// askGrantsEvery is how often the server is asked what it grants.
	askGrantsEvery = 30 * time.Second
	// firstAsked is after how long it is for the first time: before the second plan, as the
	// first is of a second's traffic.
	firstAsked = planEvery / 2
)

// startPlanning returns nil if the planner is off. It runs until ctx is done.
func (m *Manager) startPlanning(ctx context.Context) *planning {
	if !m.config.Plans() {
		return nil
	}
	p := &planning{
		m: m, asks: make(chan func()), window: planner.NewWindow(1), curve: planner.NewCurve(), load: new(planner.Load),
		plans: make(chan *planner.Plan), idle: make(chan struct{}, 1), plannedAt: time.Now(),
	}
	if p.auto = newAutoBudget(m); p.auto == nil {
		// No hurry, but the first plan that can say something must know the answer: on a busy pool
		// the next one comes minutes later.
		p.askedAt = time.Now().Add(firstAsked - askGrantsEvery)
	}
	p.utilisation.Store(new(model.Utilisation))
	p.budget.Store(p.auto.state())
	go p.run(ctx)
	go p.workOut(ctx)
	return p
}

func (p *planning) run(ctx context.Context) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-p.asks:
			f()
		case <-p.idle:
			p.ready = true
		case <-every.C:
			t, err := p.m.supervisor.Traffic(ctx, workspaceShare, uint32(p.window.OneIn()))
			if err != nil {
				return // it has ended, or ctx is done
			}
			p.look(ctx, t)
		}
	}
}

// look takes in what has happened in the last second.
func (p *planning) look(ctx context.Context, t planner.Traffic) {
	now := time.Now()
	p.curve.Add(t)
	p.window.Add(t)
	p.judge(t, now)
	// Of an idle pool nobody wants to know, and its own connection may close.
	if now.Sub(p.askedAt) >= askGrantsEvery && (t.Acquires > 0 || p.auto != nil) {
		p.askedAt = now
		go p.askGrantable(ctx)
	}
	if p.auto != nil {
		p.auto.look(ctx, p, t, now)
		p.budget.Store(p.auto.state())
	}
	if p.ready && now.Sub(p.plannedAt) >= planEvery {
		p.plannedAt = now
		p.begin(ctx, p.plan(now))
	}
}

// begin has the plan worked out, if there is enough to go by: else whoever asks is told how little
// there is. Of a busy pool that takes minutes, and until the first is done people are told so.
func (p *planning) begin(ctx context.Context, plan *planner.Plan) {
	if !plan.SeenEnough() {
		p.capacity.Store(nil)
		return
	}
	if p.capacity.Load() == nil {
		c := plan.Capacity()
		p.capacity.Store(&c)
	}
	p.ready = false
	select {
	case p.plans <- plan: // the other goroutine has said that it takes it
	case <-ctx.Done():
	}
}

// judge warns when the budget comes near its end. The end of a shared one is the group's: the
// process's own part follows what it needs.
func (p *planning) judge(t planner.Traffic, now time.Time) {
	p.budgeted, p.effective = t.Limits.Budget, t.Effective
	budget := p.m.shared.budget(t.Effective)
	before, after := p.load.Add(t.Now, budget, t.Counts)
	u := p.load.Utilisation(t.Now, now)
	p.utilisation.Store(&u)
	if before == after {
		return
	}
	p.m.supervisor.Publish(model.Event{Kind: model.EventUtilisation, Level: after})
	about := []any{"utilisation", string(after), "busy", t.Counts.Busy(), "budget", budget, "waiting", t.Counts.Waiting}
	if after == model.LevelNormal {
		p.m.log.Info("The workspaces' connections are no longer nearly all in use", about...)
		return
	}
	p.m.log.Warn("The workspaces' connections are nearly all in use: raise DB_MAX_CONNECTIONS, or find out who holds them", about...)
}

// plan makes one of the traffic so far, which goes on to be recorded.
func (p *planning) plan(now time.Time) *planner.Plan {
	return planner.NewPlan(p.window.Clone(), p.curve, p.about(now))
}

func (p *planning) about(now time.Time) planner.About {
	cfg := p.m.config
	about := planner.About{Grantable: int(p.grantable.Load()), AcquireTimeout: cfg.AcquireTimeout, Now: now}
	if p.m.shared != nil { // what this process lacks the group's budget should be raised by
		about.SystemShare = max(0, p.m.shared.budget(0)-p.effective)
		about.Grantable = max(0, about.Grantable-about.SystemShare)
		return about
	}
	if cfg.WorkspaceBudget() != p.budgeted { // it was changed
		cfg.MaxConnections = cfg.MaxConnectionsFor(p.budgeted)
	}
	about.SystemShare, about.DefaultShare = cfg.SystemShare(), cfg.SystemConnections == 0
	return about
}

// workOut works on one plan after the other, so slowly that nobody notices.
func (p *planning) workOut(ctx context.Context) {
	for {
		p.idle <- struct{}{}
		select {
		case <-ctx.Done():
			return
		case plan := <-p.plans:
			for done := false; !done; {
				began := time.Now()
				done = plan.Step()
				if within(ctx.Done(), time.Duration(float64(time.Since(began))*(1/planningShare-1))) {
					return
				}
			}
			c := plan.Capacity()
			p.capacity.Store(&c)
		}
	}
}

// askGrantable asks the server how many slots it could grant the workspaces.
func (p *planning) askGrantable(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, grantsAtMost)
	defer stop()
	if n, err := p.m.grantable(ctx); err == nil { // else the last answer stays
		p.grantable.Store(int64(n))
	}
}

var errNoPlanner = fmt.Errorf("%w: DB_PLANNER is off, so no traffic is recorded", errors.ErrUnsupported)

// Capacity says how many connections the traffic of the last minutes needs, and what other
// limits would do with it. It is worked out beside the traffic, at most once in 15 seconds and
// with at most a hundredth of a processor, from up to ten minutes of it; of a busy pool that
// takes minutes. Capacity returns the last result, which is the caller's, and does not
// wait for another. Before the first one its Verdict is model.TooLittleSeen.
//
// The error wraps errors.ErrUnsupported if Config.Planner is off, ctx.Err(), or
// model.ErrClosed after Close.
func (m *Manager) Capacity(ctx context.Context) (model.Capacity, error) {
	switch {
	case m.planning == nil:
		return model.Capacity{}, fmt.Errorf("capacity: %w", errNoPlanner)
	case within(m.closing, 0):
		return model.Capacity{}, fmt.Errorf("capacity: %w", model.ErrClosed)
	}
	if c := m.planning.capacity.Load(); c != nil {
		own := *c
		own.Estimates, own.Curve = slices.Clone(c.Estimates), slices.Clone(c.Curve)
		return own, nil
	}
	return ask(ctx, m.planning, func(p *planning) model.Capacity { return p.plan(time.Now()).Capacity() })
}

// ask has the planning's first goroutine answer.
func ask[T any](ctx context.Context, p *planning, question func(*planning) T) (answer T, err error) {
	answered := make(chan T, 1)
	select {
	case p.asks <- func() { answered <- question(p) }:
		return <-answered, nil
	case <-ctx.Done():
		return answer, fmt.Errorf("capacity: %w", ctx.Err())
	case <-p.m.closing:
		return answer, fmt.Errorf("capacity: %w", model.ErrClosed)
	}
}

// write writes the traffic that was recorded, for a dump.
func (p *planning) write(ctx context.Context) ([]byte, error) {
	if p == nil {
		return nil, errNoPlanner
	}
	var about planner.About
	w, err := ask(ctx, p, func(p *planning) *planner.Window {
		about = p.about(time.Now())
		return p.window.Clone()
	})
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	err = planner.Write(&file, w, about)
	return file.Bytes(), err
}

// addTo adds what the planner knows to the statistics. A nil one knows nothing.
func (p *planning) addTo(st *model.Stats) {
	if p == nil {
		return
	}
	st.Utilisation, st.AutoBudget = *p.utilisation.Load(), *p.budget.Load()
	// Of two MaxConnections with as many slots somebody else may have set the other one.
	if p.auto != nil && p.auto.slots(st.MaxConnections) == p.auto.slots(st.AutoBudget.Target) {
		st.AutoBudget.Target = st.MaxConnections
	}
}
