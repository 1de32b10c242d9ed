package core

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Image is all of a State at rest: what Restore needs to make another one that
// goes on in the same way. Orders that mean something are in the slices; what a
// State derives from the rest is left out.
type Image struct {
	Limits          model.Limits
	EffectiveBudget int
	ProbeStep       int           `json:",omitzero"`
	ProbeAt         time.Duration `json:",omitzero"`
	Now             time.Duration
	Draining        bool `json:",omitzero"`
	Drained         bool `json:",omitzero"`
	LastConn        ConnID

	// Workspaces are all that are remembered. Those that are inactive stand in the
	// order in which they became so.
	Workspaces []WorkspaceImage
	// Conns are all that hold a slot. Those on their way to be free stand in the
	// order in which they were closed.
	Conns []ConnImage
	// Waiters stand in the order of their arrival.
	Waiters []WaiterImage

	Server  BackoffImage `json:",omitzero"`
	Suspect time.Duration
	Pace    PaceImage

	Counters  model.Counters
	WakeAt    time.Duration
	Reclaimed bool `json:",omitzero"`
}

// ConnImage is a connection of an Image.
type ConnImage struct {
	ID        ConnID
	Workspace model.WorkspaceID
	State     string        // dialing, idle, in_use or closing
	Lease     LeaseID       `json:",omitzero"` // while in use
	Exclusive bool          `json:",omitzero"` // while in use: the lease is
	Born      time.Duration `json:",omitzero"` // when its dial succeeded
	Stays     time.Duration `json:",omitzero"` // until when it is not yielded
	Since     time.Duration // since when it is in that state, or if idle not used
	// Lingers: it is closing, but no longer expected to be gone soon.
	Lingers bool `json:",omitzero"`
	// ClosedBy is the Evict or Renew that closes it, if any.
	ClosedBy *OperationImage `json:",omitzero"`
}

// WorkspaceImage is a workspace of an Image.
type WorkspaceImage struct {
	ID        model.WorkspaceID
	Paused    bool             `json:",omitzero"`
	Pauses    []OperationImage `json:",omitzero"` // without an answer
	Renewed   ConnID           `json:",omitzero"` // the last one dialed before the last Renew
	Backoff   BackoffImage     `json:",omitzero"`
	LastUsed  time.Duration
	Dials     uint64 `json:",omitzero"`
	Evictions uint64 `json:",omitzero"`
}

// WaiterImage is a waiter of an Image.
type WaiterImage struct {
	Lease     LeaseID
	Workspace model.WorkspaceID
	Arrived   time.Duration
	NoWait    bool `json:",omitzero"`
	Exclusive bool `json:",omitzero"`
}

// OperationImage is an Evict, a Renew or a Pause without an answer, and how many
// connections it closes.
type OperationImage struct {
	ID     OperationID
	Closed int
}

// BackoffImage is the pause after failed dials; the zero value is none.
type BackoffImage struct {
	Failures int
	Until    time.Duration
	Kind     model.FailureKind
	Err      errorText
}

// PaceImage is what was found out about the best number of dials at once.
type PaceImage struct {
	Limit, Votes int
	Fastest      [2]time.Duration
	EpochAt      time.Duration
}

// errorText is an error of which its text is kept.
type errorText struct{ error }

// MarshalText is for encoding/json.
func (e errorText) MarshalText() ([]byte, error) {
	if e.error == nil {
		return nil, nil
	}
	return []byte(e.Error()), nil
}

// UnmarshalText is for encoding/json.
func (e *errorText) UnmarshalText(text []byte) error {
	e.error = errors.New(string(text))
	return nil
}

var connStateNames = [connStates]string{"dialing", "idle", "in_use", "closing"}

// Image returns a copy of the State. It takes time linear in its connections,
// waiters and remembered workspaces, and sorts nothing: see Sorted.
func (s *State) Image() Image {
	i := Image{
		Limits:          s.limits,
		EffectiveBudget: s.effective,
		ProbeStep:       s.probe.step,
		ProbeAt:         s.probe.at,
		Now:             s.now,
		Draining:        s.draining,
		Drained:         s.drained,
		LastConn:        s.lastConn,
		Workspaces:      make([]WorkspaceImage, 0, len(s.workspaces)),
		Conns:           make([]ConnImage, 0, len(s.conns)),
		Waiters:         make([]WaiterImage, 0, s.queue.size),
		Server:          s.server.image(),
		Suspect:         s.verifyUntil,
		Pace:            PaceImage{s.pace.limit, s.pace.votes, s.pace.fastest, s.pace.epochAt},
		Counters:        s.counters,
		WakeAt:          s.wakeAt,
		Reclaimed:       s.reclaimed,
	}
	for n := s.retired.head; n != nil; n = n.next {
		i.Workspaces = append(i.Workspaces, n.item.image())
	}
	for _, w := range s.workspaces { // a report, not a decision
		if w.listed.in == nil {
			i.Workspaces = append(i.Workspaces, w.image())
		}
	}
	for n := s.onTheWay.head; n != nil; n = n.next {
		i.Conns = append(i.Conns, n.item.image())
	}
	for _, c := range s.conns { // a report, not a decision
		if c.listed.in == nil {
			i.Conns = append(i.Conns, c.image())
		}
	}
	for n := s.queue.head; n != nil; n = n.next {
		wt := n.item
		i.Waiters = append(i.Waiters, WaiterImage{wt.lease, wt.workspace.id, wt.arrived, wt.noWait, wt.exclusive})
	}
	return i
}

func (b *backoff) image() BackoffImage {
	return BackoffImage{b.failures, b.until, b.kind, errorText{b.err}}
}

func (w *workspace) image() WorkspaceImage {
	i := WorkspaceImage{
		ID: w.id, Paused: w.paused, Renewed: w.renewed, Backoff: w.backoff.image(),
		LastUsed: w.lastUsed, Dials: w.dials, Evictions: w.evictions,
	}
	for _, op := range w.pauses {
		i.Pauses = append(i.Pauses, OperationImage{op.id, op.closed})
	}
	return i
}

func (c *conn) image() ConnImage {
	i := ConnImage{ID: c.id, Workspace: c.workspace.id, State: connStateNames[c.state], Born: c.born, Stays: c.yieldsFrom, Since: c.since}
	switch c.state {
	case idle:
		i.Since = c.lastUsed
	case inUse:
		i.Lease, i.Exclusive = c.lease, c.exclusive
	case closing:
		i.Lingers = c.listed.in == nil
		if op := c.closedBy; op != nil {
			i.ClosedBy = &OperationImage{op.id, op.closed}
		}
	}
	return i
}

// Sorted returns the Image with that in order whose order means nothing: two
// States that go on in the same way have the same one.
func (i Image) Sorted() Image {
	i.Workspaces, i.Conns = slices.Clone(i.Workspaces), slices.Clone(i.Conns)
	active := make(map[model.WorkspaceID]bool)
	for _, c := range i.Conns {
		active[c.Workspace] = true
	}
	for _, wt := range i.Waiters {
		active[wt.Workspace] = true
	}
	slices.SortStableFunc(i.Workspaces, func(a, b WorkspaceImage) int {
		activeA, activeB := active[a.ID] || a.Paused, active[b.ID] || b.Paused
		switch {
		case activeA && activeB:
			return strings.Compare(string(a.ID), string(b.ID))
		case activeA:
			return 1
		case activeB:
			return -1
		}
		return 0 // they stand in the order in which they became inactive
	})
	slices.SortStableFunc(i.Conns, func(a, b ConnImage) int {
		switch listedA, listedB := a.listed(), b.listed(); {
		case listedA && listedB:
			return 0
		case listedA:
			return -1
		case listedB:
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return i
}

// listed tells whether its place among the connections means something.
func (c ConnImage) listed() bool { return c.State == connStateNames[closing] && !c.Lingers }
