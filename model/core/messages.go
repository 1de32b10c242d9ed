package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// ConnID names a connection from its Dial to its Closed or DialFailed. The
// State gives them out in ascending order, starting with 1.
type ConnID uint64

// LeaseID names one Acquire: first as a waiter, then as a lease. Whoever sends
// the Acquire chooses it and never uses one twice.
type LeaseID uint64

// OperationID names an Evict, a Renew or a Pause, so that its OperationDone is
// recognised. Whoever sends the message chooses it and uses none twice at a time.
type OperationID uint64

// Message is what a State can be told. The messages are the types of this
// package that have the unexported method: what the message names.
type Message interface {
	names() (model.WorkspaceID, ConnID, LeaseID)
}

// Acquire asks for a connection of the workspace. It is answered by exactly
// one Grant or Reject with the same Lease, now or later.
type Acquire struct {
	Lease     LeaseID
	Workspace model.WorkspaceID
	// NoWait refuses at once instead of waiting for somebody else's lease to
	// end. The dial of a connection is still waited for.
	NoWait bool
	// Exclusive asks for the only connection of the workspace, freshly dialed, also
	// while it is paused. From now until the end of the lease nobody else gets one;
	// then it is closed. NoWait means nothing with it.
	Exclusive bool
	// Batch asks for it as batch work (rule 9). NoWait means nothing with it, and it
	// means nothing with Exclusive.
	Batch bool
	// Limits are the workspace's from now on. They mean nothing with Exclusive.
	Limits model.WorkspaceLimits `json:",omitzero"`
	// Caller is returned with the answer. The State does nothing with it.
	Caller any `json:"-"`
}

// Cancel gives up waiting. If the waiter is still there it is answered by a
// Reject that says what it was waiting for; otherwise nothing happens.
type Cancel struct{ Lease LeaseID }

// Health is what the holder of a lease says about its connection.
type Health uint8

const (
	// Clean: ready for the next holder.
	Clean Health = iota
	// Unclean: in a transaction, or in the middle of a result. It is closed.
	Unclean
	// Lost: no longer usable because the server or the network ended it. It
	// is closed, and whatever is idle is to be verified before it is lent.
	Lost
)

var healthNames = [...]string{"clean", "unclean", "lost"}

func (h Health) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return "unknown"
}

// Release ends a lease.
type Release struct {
	Lease  LeaseID
	Conn   ConnID
	Health Health
	// At is when the last holder gave the connection back, if that was before
	// now: it was not lent since. Zero means now.
	At time.Duration
	// Before is when the use before that one ended, if the lease was several uses in turn,
	// of which the State knows nothing. Zero: it was one.
	Before time.Duration `json:",omitzero"`
}

// Reclaim closes idle connections whose slots are wanted (rule 4). It is told when
// the State is Reclaimable, after every Release so far: only then is the first of the
// idle ones, in the order of eviction, the first of all.
type Reclaim struct{}

// DialSucceeded answers a Dial.
type DialSucceeded struct{ Conn ConnID }

// DialFailed answers a Dial.
type DialFailed struct {
	Conn ConnID
	Kind model.FailureKind
	Err  error `json:"-"` // see Entry
	// SlotHeld: the server may still run a backend for the failed attempt.
	// The connection is then closing, and Closed frees its slot.
	SlotHeld bool `json:",omitzero"`
}

// Closed answers a Close: the server has let go of the connection.
type Closed struct{ Conn ConnID }

// Evict closes the idle connections of one workspace.
type Evict struct {
	Operation OperationID
	Workspace model.WorkspaceID
}

// Renew closes the idle connections of one workspace, or of all, now and the others
// when they come free. A connection whose Dial came before the Renew is granted to
// nobody after it. It also forgets the dial back-off. OperationDone follows when those
// that were idle are closed; leases that are out are not waited for.
type Renew struct {
	Operation OperationID
	Workspace model.WorkspaceID // unless All
	All       bool              `json:",omitzero"`
}

// Pause keeps the connections of one workspace closed: its new waiters wait,
// its leases come home, then its connections close, even if a Resume comes first.
// OperationDone follows when it has none left.
type Pause struct {
	Operation OperationID
	Workspace model.WorkspaceID
}

// Resume ends a Pause, and forgets the workspace's dial back-off.
type Resume struct{ Workspace model.WorkspaceID }

// SetLimits changes the budget and the cap for each workspace.
type SetLimits struct {
	Budget, PerWorkspace int
	// Why is for people: why DB_AUTO_BUDGET changes them.
	Why string `json:",omitzero"`
}

// SetWorkspaceLimits changes the limits of one workspace, until its next Acquire says others.
type SetWorkspaceLimits struct {
	Workspace model.WorkspaceID
	Limits    model.WorkspaceLimits
}

// Drain rejects all waiters, closes what is idle, and closes the rest as it
// comes home. Drained follows when the last slot is free.
type Drain struct{}

// Tick only lets time pass. The State asks for it with WakeAt.
type Tick struct{}

func (m Acquire) names() (model.WorkspaceID, ConnID, LeaseID)       { return m.Workspace, 0, 0 }
func (m Cancel) names() (model.WorkspaceID, ConnID, LeaseID)        { return "", 0, m.Lease }
func (m Release) names() (model.WorkspaceID, ConnID, LeaseID)       { return "", m.Conn, 0 }
func (Reclaim) names() (model.WorkspaceID, ConnID, LeaseID)         { return "", 0, 0 }
func (m DialSucceeded) names() (model.WorkspaceID, ConnID, LeaseID) { return "", m.Conn, 0 }
func (m DialFailed) names() (model.WorkspaceID, ConnID, LeaseID)    { return "", m.Conn, 0 }
func (m Closed) names() (model.WorkspaceID, ConnID, LeaseID)        { return "", m.Conn, 0 }
func (m Evict) names() (model.WorkspaceID, ConnID, LeaseID)         { return m.Workspace, 0, 0 }
func (m Renew) names() (model.WorkspaceID, ConnID, LeaseID)         { return m.Workspace, 0, 0 }
func (m Pause) names() (model.WorkspaceID, ConnID, LeaseID)         { return m.Workspace, 0, 0 }
func (m Resume) names() (model.WorkspaceID, ConnID, LeaseID)        { return m.Workspace, 0, 0 }
func (SetLimits) names() (model.WorkspaceID, ConnID, LeaseID)       { return "", 0, 0 }
func (m SetWorkspaceLimits) names() (model.WorkspaceID, ConnID, LeaseID) {
	return m.Workspace, 0, 0
}
func (Drain) names() (model.WorkspaceID, ConnID, LeaseID) { return "", 0, 0 }
func (Tick) names() (model.WorkspaceID, ConnID, LeaseID)  { return "", 0, 0 }

// Effect is what a State wants done. The effects are the types of this package
// that have the unexported method.
type Effect interface{ effect() }

// Grant lends a connection.
type Grant struct {
	Lease     LeaseID
	Conn      ConnID
	Workspace model.WorkspaceID
	// Waited is how long ago the Acquire arrived.
	Waited time.Duration
	// Verify asks the new holder to test the connection before use, because it
	// was idle for long or others like it were found lost.
	Verify bool
	Caller any // the Acquire's
}

// Reject refuses an Acquire.
type Reject struct {
	Lease  LeaseID
	Caller any // the Acquire's
	// Err is a *ConnectionLimitError, a *DialError, or wraps ErrPaused, ErrInUse,
	// ErrDialing or ErrClosed.
	Err error
}

// Dial opens a connection. The slot is taken from now on. It is answered by
// DialSucceeded or DialFailed.
type Dial struct {
	Conn      ConnID
	Workspace model.WorkspaceID
	// Batch: it is for a batch waiter, and counts to the batch share.
	Batch bool
}

// Close ends a connection. It is answered by Closed.
type Close struct {
	Conn      ConnID
	Workspace model.WorkspaceID
	Reason    model.CloseReason
	// IdleFor is how long it has been idle; 0 if it was not.
	IdleFor time.Duration
	// For is whose waiter gets the slot (MakeRoom, Yield): that of the first needy
	// one that no slot is coming for yet.
	For model.WorkspaceID
}

// OperationDone tells that the connections that an Evict or a Renew found idle are
// closed, or that a paused workspace has none left (or was resumed before that).
type OperationDone struct {
	Operation OperationID
	// Closed is how many idle connections an Evict or a Renew closed, or how many
	// connections the workspace had when it was paused.
	Closed int
}

// WakeAt asks for a Tick at that time, in place of any earlier wish. Never
// means none is needed.
type WakeAt struct{ At time.Duration }

// Never is later than any time.
const Never = time.Duration(1<<63 - 1)

// Drained tells that a draining State has no connection left.
type Drained struct{}

func (Grant) effect()         {}
func (Reject) effect()        {}
func (Dial) effect()          {}
func (Close) effect()         {}
func (OperationDone) effect() {}
func (WakeAt) effect()        {}
func (Drained) effect()       {}
