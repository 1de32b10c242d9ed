package core

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Image is a State at rest without what a State works out by itself: its lists, heaps,
// counts and needs. [Restore] makes another State of it that goes on in the same way.
type Image struct {
	Limits          model.Limits
	EffectiveBudget int
	Probe           probe `json:",omitzero"`
	Now             time.Duration
	LastConn        ConnID
	Server          backoff
	Pace            pace
	Counters        model.Counters

	VerifyUntil, WakeAt          time.Duration
	Draining, Drained, Reclaimed bool `json:",omitzero"`

	// Retired are the workspaces that are only remembered, in the order in which they
	// became inactive, Active the others.
	Retired, Active []workspaceFacts
	Conns           []connFacts
	Waiters         []waiterFacts // in the order of their arrival
}

// Image returns a copy of the State, of which nothing changes any more. It takes time
// linear in the connections, the waiters and the remembered workspaces.
func (s *State) Image() Image {
	i := Image{
		Limits: s.limits, EffectiveBudget: s.effective, Probe: s.probe, Now: s.now,
		Draining: s.draining, Drained: s.drained, Reclaimed: s.reclaimed,
		LastConn: s.lastConn, Server: s.server, VerifyUntil: s.verifyUntil, Pace: s.pace,
		Counters: s.counters, WakeAt: s.wakeAt,
		Retired: make([]workspaceFacts, 0, s.retired.size),
		Active:  make([]workspaceFacts, 0, len(s.workspaces)-s.retired.size),
		Conns:   make([]connFacts, 0, len(s.conns)),
		Waiters: make([]waiterFacts, 0, s.waiting()),
	}
	for n := s.retired.head; n != nil; n = n.next {
		i.Retired = append(i.Retired, n.item.workspaceFacts)
	}
	for _, w := range s.workspaces { // a report, not a decision
		if w.listed.in == nil {
			i.Active = append(i.Active, w.workspaceFacts)
		}
	}
	for _, c := range s.conns { // a report, not a decision
		i.Conns = append(i.Conns, c.connFacts)
	}
	// The two queues as one, in the order of arrival.
	for a, b := s.queue.head, s.batchQueue.head; a != nil || b != nil; {
		first := &a
		if a == nil || b != nil && b.item.number < a.item.number {
			first = &b
		}
		i.Waiters = append(i.Waiters, (*first).item.waiterFacts)
		*first = (*first).next
	}
	return i
}

// Restore makes a State of an Image. The Image may come from anywhere: one that no
// State can have been in is an error.
func Restore(i Image) (*State, error) {
	s := NewState(i.Limits)
	err := s.restore(i)
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("restore a state: %w", err)
	}
	return s, nil
}

func (s *State) restore(i Image) error {
	workspaces := slices.Concat(i.Retired, i.Active)
	switch l := i.Limits; { // what Backoff or startDials could not work with
	case l.BackoffMin < 0 || l.BackoffMax < 0 || l.BackoffMax > Never/4 || l.BackoffMin == 0 && l.BackoffMax > 0:
		return fmt.Errorf("a back-off from %v to %v is not possible", l.BackoffMin, l.BackoffMax)
	case i.LastConn > 1<<62:
		return fmt.Errorf("the last connection's number, %d, is out of range", i.LastConn)
	}
	s.effective, s.probe, s.now = i.EffectiveBudget, i.Probe, i.Now
	s.draining, s.drained, s.reclaimed = i.Draining, i.Drained, i.Reclaimed
	s.lastConn, s.server, s.verifyUntil, s.pace = i.LastConn, i.Server, i.VerifyUntil, i.Pace
	s.counters, s.wakeAt, s.server.Err = i.Counters, i.WakeAt, errors.New(i.Server.Said)
	for _, f := range workspaces {
		w := s.lookup(f.ID)
		w.workspaceFacts = f
		w.Pauses = slices.Clip(f.Pauses) // the Image keeps its own
		w.Backoff.Err = errors.New(f.Backoff.Said)
	}
	operations := make(map[OperationID]*operation) // each one for all of its connections
	// Those that close, in the order of State.onTheWay.
	conns := slices.SortedStableFunc(slices.Values(i.Conns), func(a, b connFacts) int { return cmp.Compare(a.Since, b.Since) })
	for _, f := range conns {
		w := s.workspaces[f.Workspace]
		if w == nil || f.State >= connStates || s.conns[f.ID] != nil {
			return fmt.Errorf("connection %d of workspace %q has the state %d, is there twice, or its workspace is not there", f.ID, f.Workspace, f.State)
		}
		c := s.addConn(f, w)
		switch {
		case c.State == idle:
			s.park(c)
		case c.State == inUse:
			w.alone = c.Exclusive
		case c.State == closing && c.Since+s.limits.CloseGrace > s.now: // else it lingers
			s.onTheWay.pushBack(&c.listed)
		}
		if op := c.ClosedBy; op != nil {
			if operations[op.ID] == nil {
				operations[op.ID] = &operation{ID: op.ID, Closed: op.Closed}
			}
			c.ClosedBy = operations[op.ID]
			c.ClosedBy.pending++
		}
	}
	for _, f := range i.Waiters {
		w := s.workspaces[f.Workspace]
		if w == nil || s.waiters[f.Lease] != nil {
			return fmt.Errorf("lease %d waits twice, or for workspace %q, which is not there", f.Lease, f.Workspace)
		}
		s.addWaiter(f, w)
	}
	for _, f := range workspaces { // in their order, which is that of s.retired
		if w := s.workspaces[f.ID]; w != nil { // else too many are inactive
			s.reindex(w)
		}
	}
	return nil
}
