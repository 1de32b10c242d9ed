package model

import "time"

// Event is something that happened to the connections, as Manager.Events reports it.
type Event struct {
	At   time.Time
	Kind EventKind
	// System: it happened in the system database's share.
	System    bool
	Workspace WorkspaceID
	// Took is how long a dial took (EventDialed, EventDialFailed).
	Took time.Duration
	// Reason, IdleFor and For are of a connection that was closed (EventEvicted,
	// EventClosed): why, how long it had been idle, and whose waiter gets the slot
	// if it was closed for one.
	Reason  CloseReason
	IdleFor time.Duration
	For     WorkspaceID
	// HeldFor is how long a lease has been held (EventLeaseOverdue).
	HeldFor time.Duration
	// Err is the text of the error (EventDialFailed, EventLimitReached).
	Err string
	// MaxConnections and MaxConnectionsPerDB are the new limits (EventLimitsSet), and Why says
	// why DB_AUTO_BUDGET has set them.
	MaxConnections, MaxConnectionsPerDB int
	Why                                 string
	// Level is how much of the workspaces' budget is in use now (EventUtilisation).
	Level Level
	// Lost is how many events the watcher missed before this one, because it was too slow.
	Lost uint64
}

// EventKind says what happened.
type EventKind string

const (
	// EventDialed: a connection was opened.
	EventDialed EventKind = "dialed"
	// EventDialFailed: one could not be opened.
	EventDialFailed EventKind = "dial_failed"
	// EventEvicted: a connection was closed for another workspace's sake, or
	// because an operator asked for it (MakeRoom, Yield, EvictAsked).
	EventEvicted EventKind = "evicted"
	// EventClosed: a connection was closed for another reason.
	EventClosed EventKind = "closed"
	// EventLimitReached: an acquire was refused with a ConnectionLimitError.
	EventLimitReached EventKind = "limit_reached"
	// EventLeaseOverdue: a lease has been held for longer than Config.LeaseWarnAfter.
	// It is told once for each.
	EventLeaseOverdue EventKind = "lease_overdue"
	// EventPaused, EventResumed: a workspace was paused that was not paused before, or
	// resumed that was.
	EventPaused  EventKind = "paused"
	EventResumed EventKind = "resumed"
	// EventRenewed: the connections of a workspace are being replaced, or of the whole
	// share if Workspace is empty. Each that was open closes after its present lease.
	EventRenewed EventKind = "renewed"
	// EventLimitsSet: the limits were changed.
	EventLimitsSet EventKind = "limits_set"
	// EventUtilisation: the workspaces' budget has come near its end, or has left it.
	EventUtilisation EventKind = "utilisation"
	// EventDraining: the manager lends nothing any more.
	EventDraining EventKind = "draining"
)

// CloseReason says why a connection was closed.
type CloseReason uint8

const (
	// MakeRoom: idle, and the least recently used, when another workspace
	// needed its slot.
	MakeRoom CloseReason = iota
	// Yield: came free when an older waiter of another workspace was owed its
	// slot (rule 2).
	Yield
	// LifetimeOver and IdleTimeOver: Limits.MaxLifetime and MaxIdleTime.
	LifetimeOver
	IdleTimeOver
	// NotReusable: released Unclean or Lost, or after an exclusive lease.
	NotReusable
	// DialLeftover: a failed dial whose slot is still held.
	DialLeftover
	// EvictAsked, PauseAsked: by an Evict, or by a Pause or an exclusive Acquire.
	EvictAsked
	PauseAsked
	// Shrink: SetLimits lowered the budget or the cap.
	Shrink
	// DrainAsked: by Drain.
	DrainAsked
	// Renewed: dialed before a Renew.
	Renewed

	// CloseReasons is how many there are.
	CloseReasons
)

var closeReasonNames = [CloseReasons]string{
	"make_room", "yield", "lifetime_over", "idle_time_over", "not_reusable",
	"dial_leftover", "evict_asked", "pause_asked", "shrink", "drain_asked", "renewed",
}

func (r CloseReason) String() string {
	if r < CloseReasons {
		return closeReasonNames[r]
	}
	return "unknown"
}
