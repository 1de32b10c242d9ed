package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Restore makes a State of an Image. The Image may come from anywhere: one that
// no State can have been in is an error.
func Restore(i Image) (*State, error) {
	s, err := restore(i)
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("restore a state: %w", err)
	}
	return s, nil
}

func restore(i Image) (*State, error) {
	if err := i.validate(); err != nil {
		return nil, err
	}
	s := NewState(i.Limits)
	s.effective = i.EffectiveBudget
	s.probe = probe{i.ProbeStep, i.ProbeAt}
	s.now = i.Now
	s.draining, s.drained = i.Draining, i.Drained
	s.lastConn = i.LastConn
	s.server = i.Server.backoff()
	s.verifyUntil, s.reclaimed = i.Suspect, i.Reclaimed
	s.pace = pace{i.Pace.Limit, i.Pace.Votes, i.Pace.Fastest, i.Pace.EpochAt}
	s.counters = i.Counters
	s.wakeAt = i.WakeAt
	for _, w := range i.Workspaces {
		if err := s.restoreWorkspace(w); err != nil {
			return nil, err
		}
	}
	if err := s.restoreConns(i.Conns); err != nil {
		return nil, err
	}
	for _, wt := range i.Waiters {
		if err := s.restoreWaiter(wt); err != nil {
			return nil, err
		}
	}
	for _, w := range i.Workspaces { // in their order, which is that of s.retired
		s.reindex(s.workspaces[w.ID])
	}
	if len(s.workspaces) < len(i.Workspaces) {
		return nil, fmt.Errorf("it has more than %d inactive workspaces", maxRetired)
	}
	return s, nil
}

func (b BackoffImage) backoff() backoff {
	return backoff{b.Failures, b.Until, b.Kind, b.Err.error}
}

func (o OperationImage) operation() *operation { return &operation{id: o.ID, closed: o.Closed} }

func (s *State) restoreWorkspace(i WorkspaceImage) error {
	if s.workspaces[i.ID] != nil {
		return fmt.Errorf("workspace %q is there twice", i.ID)
	}
	if err := i.Backoff.validate(); err != nil {
		return fmt.Errorf("workspace %q: %w", i.ID, err)
	}
	if i.Renewed > s.lastConn {
		return fmt.Errorf("workspace %q was renewed up to connection %d, beyond the last one, %d", i.ID, i.Renewed, s.lastConn)
	}
	w := s.lookup(i.ID)
	w.paused, w.renewed, w.backoff = i.Paused, i.Renewed, i.Backoff.backoff()
	w.lastUsed, w.dials, w.evictions = i.LastUsed, i.Dials, i.Evictions
	for _, op := range i.Pauses {
		w.pauses = append(w.pauses, op.operation())
	}
	return nil
}

func (s *State) restoreConns(images []ConnImage) error {
	operations := make(map[OperationImage]*operation)
	var unused []*conn
	for _, i := range images {
		w, state := s.workspaces[i.Workspace], slices.Index(connStateNames[:], i.State)
		switch {
		case w == nil:
			return fmt.Errorf("connection %d belongs to workspace %q, which is not there", i.ID, i.Workspace)
		case state < 0:
			return fmt.Errorf("connection %d has the state %q, which there is not", i.ID, i.State)
		case i.ID == 0 || i.ID > s.lastConn:
			return fmt.Errorf("connection %d is not from 1 to the last one, %d", i.ID, s.lastConn)
		case s.conns[i.ID] != nil:
			return fmt.Errorf("connection %d is there twice", i.ID)
		}
		c := &conn{id: i.ID, workspace: w, state: connState(state), lease: i.Lease, exclusive: i.Exclusive, born: i.Born, yieldsFrom: i.Stays, since: i.Since}
		c.listed.item = c
		s.conns[c.id] = c
		s.counts[c.state]++
		w.counts[c.state]++
		switch {
		case c.state == idle:
			c.lastUsed = i.Since
			unused = append(unused, c)
		case c.state == inUse:
			w.alone = c.exclusive
		case c.state == closing && !i.Lingers:
			s.onTheWay.pushBack(&c.listed)
		}
		if i.ClosedBy != nil {
			op := operations[*i.ClosedBy]
			if op == nil {
				op = i.ClosedBy.operation()
				operations[*i.ClosedBy] = op
			}
			op.pending++
			c.closedBy = op
		}
	}
	slices.SortFunc(unused, func(a, b *conn) int {
		if byUse(a, b) {
			return -1
		}
		return 1
	})
	for _, c := range unused {
		c.end, c.endReason = s.endOf(c)
		c.workspace.idle = append(c.workspace.idle, c)
		s.idle.lru.set(c)
		s.idle.ends.set(c)
	}
	return nil
}

// restoreWaiter is enqueue at an earlier time. The caller reindexes the workspace.
func (s *State) restoreWaiter(i WaiterImage) error {
	w := s.workspaces[i.Workspace]
	switch {
	case w == nil:
		return fmt.Errorf("lease %d waits for workspace %q, which is not there", i.Lease, i.Workspace)
	case s.waiters[i.Lease] != nil:
		return fmt.Errorf("lease %d waits twice", i.Lease)
	case i.Arrived > s.now || s.queue.tail != nil && i.Arrived < s.queue.tail.item.arrived:
		return fmt.Errorf("the waiter for lease %d has arrived at %v, which is out of order", i.Lease, i.Arrived)
	}
	s.arrivals++
	wt := &waiter{lease: i.Lease, workspace: w, number: s.arrivals, arrived: i.Arrived, noWait: i.NoWait, exclusive: i.Exclusive}
	wt.inQueue.item, wt.inWorkspace.item = wt, wt
	s.waiters[wt.lease] = wt
	s.queue.pushBack(&wt.inQueue)
	w.line(wt.exclusive).pushBack(&wt.inWorkspace)
	return nil
}

// What follows keeps a State from counting or multiplying beyond its integers.
const (
	mostCount = 1 << 31
	mostTime  = Never / 4 // 73 years
)

func (i Image) validate() error {
	if err := validateLimits(i.Limits); err != nil {
		return err
	}
	if err := i.Server.validate(); err != nil {
		return fmt.Errorf("the server: %w", err)
	}
	switch {
	case i.LastConn > 1<<62:
		return fmt.Errorf("the last connection's number, %d, is out of range", i.LastConn)
	case i.EffectiveBudget < -mostCount: // an upper bound is Check's
		return fmt.Errorf("the effective budget, %d, is out of range", i.EffectiveBudget)
	case i.ProbeStep < 0 || i.ProbeStep > mostCount:
		return fmt.Errorf("the step of the probe, %d, is out of range", i.ProbeStep)
	case i.Now < 0 || i.Now > mostTime:
		return fmt.Errorf("the time, %d, is out of range", i.Now)
	case i.Pace.Limit < 0 || i.Pace.Limit > mostCount || i.Pace.Votes < -mostCount || i.Pace.Votes > mostCount:
		return fmt.Errorf("the pace, %d with %d votes, is out of range", i.Pace.Limit, i.Pace.Votes)
	}
	return nil
}

func (b BackoffImage) validate() error {
	switch {
	case b.Failures < 0 || b.Failures > mostCount:
		return fmt.Errorf("%d failed dials are out of range", b.Failures)
	case b.Failures > 0 && b.Err.error == nil:
		return fmt.Errorf("%d dials failed without an error", b.Failures)
	}
	return nil
}

func validateLimits(l model.Limits) error {
	for _, n := range []int{l.Budget, l.PerWorkspace, l.MaxWaiters, l.MaxWaitersPerWorkspace, l.MaxDialing} {
		if n < 0 || n > mostCount {
			return fmt.Errorf("a limit of %d is out of range", n)
		}
	}
	for _, d := range []time.Duration{
		l.Patience, l.MaxLifetime, l.MaxIdleTime, l.VerifyAfter, l.BackoffMin, l.BackoffMax, l.CloseGrace, l.ProbeAfter,
	} {
		if d < -mostTime || d > mostTime && d != Never {
			return fmt.Errorf("a limit of %v is out of range", d)
		}
	}
	if l.BackoffMax < 0 || l.BackoffMax > mostTime || l.BackoffMin < 0 || l.BackoffMin == 0 && l.BackoffMax > 0 {
		return fmt.Errorf("a back-off from %v to %v is not possible", l.BackoffMin, l.BackoffMax)
	}
	return nil
}
