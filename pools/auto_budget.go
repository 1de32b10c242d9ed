package pools

import (
	"context"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
)

// autoBudget is DB_AUTO_BUDGET: planner.AutoBudget decides, and the limits are set. Its numbers
// are the workspaces' slots, or with a shared budget the group's connections. Only the
// planning's first goroutine touches it.
type autoBudget struct {
	m       *Manager
	decides *planner.AutoBudget
	now     model.AutoBudget
	// cap is what one workspace may have, where the budget is as large.
	cap int
	// effective is what the server granted of the budget last, and refusals how often that fell.
	effective int
	refusals  uint64
	// lookAt is when the group is looked at next.
	lookAt time.Time
}

// Of the replicas of a group the oldest decides, and looks at the group each second. The
// others look now and then whether they have become that.
const followersLookEvery = 10 * time.Second

// newAutoBudget returns nil without DB_AUTO_BUDGET.
func newAutoBudget(m *Manager) *autoBudget {
	lowest, highest, ok := m.config.AutoBudgetBounds()
	if !ok {
		return nil
	}
	a := &autoBudget{m: m, cap: m.config.MaxConnectionsPerDB, now: model.AutoBudget{Lowest: lowest, Highest: highest, Target: m.config.MaxConnections}}
	a.decides = planner.NewAutoBudget(a.slots(lowest), a.slots(highest), a.slots(m.config.MaxConnections))
	return a
}

// slots are those of a MaxConnections.
func (a *autoBudget) slots(maxConnections int) int {
	if a.m.shared != nil {
		return maxConnections
	}
	cfg := a.m.config
	cfg.MaxConnections = maxConnections
	return cfg.WorkspaceBudget()
}

// connections are the least within the bounds that have so many slots.
func (a *autoBudget) connections(slots int) int {
	n := slots
	if a.m.shared == nil {
		n = a.m.config.MaxConnectionsFor(slots)
	}
	return min(max(n, a.now.Lowest), a.now.Highest)
}

// state is a copy for whoever asks; that of a nil one is zero.
func (a *autoBudget) state() *model.AutoBudget {
	if a == nil {
		return new(model.AutoBudget)
	}
	now := a.now
	return &now
}

// look decides once a second, and carries it out.
func (a *autoBudget) look(ctx context.Context, p *planning, t planner.Traffic, now time.Time) {
	ctx, stop := context.WithTimeout(ctx, lookEvery)
	defer stop()
	o, ok := a.observe(p, t), true
	if a.m.shared != nil {
		o, ok = a.observeGroup(ctx, p, now)
	}
	if !ok {
		return
	}
	slots, why, changed := a.decides.Step(t.Now, o)
	if a.slots(a.now.Target) == slots {
		return
	}
	a.now.Target, a.now.Reason, a.now.ChangedAt = a.connections(slots), why, now
	if !changed { // it goes on from there
		a.now.Reason = "somebody else has set the limits"
		return
	}
	if inForce := t.Limits.PerWorkspace; inForce != min(a.cap, t.Limits.Budget) {
		a.cap = inForce // an operator has set it
	}
	if err := a.set(ctx); err != nil {
		a.m.log.Warn("DB_AUTO_BUDGET: the budget could not be changed", "max_connections", a.now.Target, "why", why, "error", err.Error())
		return
	}
	a.m.log.Info("DB_AUTO_BUDGET: budget changed", "max_connections", a.now.Target, "why", why)
}

func (a *autoBudget) set(ctx context.Context) error {
	cfg := a.m.config
	cfg.MaxConnections, cfg.MaxConnectionsPerDB = a.now.Target, a.cap
	if a.m.shared == nil {
		return a.m.setOwnLimits(ctx, cfg, a.now.Reason)
	}
	if err := a.m.shared.setBudget(ctx, a.now.Target); err != nil {
		return err
	}
	a.m.supervisor.Publish(model.Event{
		Kind: model.EventLimitsSet, MaxConnections: a.now.Target, MaxConnectionsPerDB: a.cap, Why: a.now.Reason,
	})
	return nil
}

// observe looks at a budget of the process's own.
func (a *autoBudget) observe(p *planning, t planner.Traffic) planner.Observation {
	if refused := t.Effective < a.effective && t.Effective < t.Limits.Budget; refused {
		a.refusals++
	}
	a.effective = t.Effective
	o := planner.Observation{
		Budget: t.Limits.Budget, Counts: t.Counts, WaitingForRoom: t.WaitedForRoom, Grantable: int(p.grantable.Load()), Refusals: a.refusals,
		HitRatio: p.curve.HitRatio, Seen: p.curve.Acquires(),
	}
	if t.Effective < t.Limits.Budget && (o.Grantable == 0 || t.Effective < o.Grantable) {
		o.Grantable = t.Effective
	}
	return o
}

// observeGroup looks at a shared budget, if it is this process that decides. The others'
// traffic is not known: they are taken to have such as its own.
func (a *autoBudget) observeGroup(ctx context.Context, p *planning, now time.Time) (o planner.Observation, decides bool) {
	if now.Before(a.lookAt) {
		return o, false
	}
	a.lookAt = now.Add(followersLookEvery)
	group, err := a.m.SharedBudget(ctx)
	if err != nil {
		return o, false // it is tried again
	}
	o.Budget, o.Grantable = group.Budget, int(p.grantable.Load())
	o.Refusals = a.m.shared.refusals.Load()
	present, wants := 0, 0
	for _, r := range group.Replicas {
		if r.State != model.ReplicaPresent {
			continue
		}
		if present++; present == 1 && !r.Self {
			a.now.Target = group.Budget // as the oldest has it
			return o, false
		}
		wants += max(r.Wants, group.Floor)
		o.Counts.InUse += r.InUse
		o.Counts.Idle += r.Idle()
		o.Counts.Waiting += r.Waiting
	}
	if present == 0 {
		return o, false
	}
	a.lookAt = time.Time{}
	// What no workspace can have: the control sessions, the room for a newcomer, and strangers.
	others := present + group.Reserve + group.Strangers
	o.Counts.InUse = max(o.Counts.InUse+others, present*(group.Floor+1)+group.Reserve)
	o.WaitingForRoom = max(0, min(o.Counts.Waiting, wants+others-group.Budget))
	o.Seen = p.curve.Acquires()
	o.HitRatio = func(budget int) float64 { return p.curve.HitRatio(max(1, (budget-others)/present)) }
	return o, true
}
