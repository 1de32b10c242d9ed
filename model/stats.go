package model

import (
	"slices"
	"strings"
	"time"
)

// Stats is a copy of the state of all connections at one moment.
type Stats struct {
	// MaxConnections is what the workspaces and the system database may hold
	// together, MaxConnectionsPerDB what one workspace may.
	MaxConnections, MaxConnectionsPerDB int
	// Workspaces is the workspaces' share of MaxConnections, System that of the
	// system database.
	Workspaces, System BudgetStats
	// Shared is this process's part, if MaxConnections is a budget for several processes.
	// Then Workspaces and System have what it may hold now, and not all of it.
	Shared ReplicaStats
	// Utilisation is that of the workspaces' share, and AutoBudget what DB_AUTO_BUDGET has come
	// to. Both are zero while Config.Planner is off.
	Utilisation Utilisation
	AutoBudget  AutoBudget
	// Saturation is which part of its time the supervisor was busy since the
	// last time it was asked, from 0 to 1.
	Saturation float64
}

// Counts says how many connections are in which state, and how many acquires
// wait.
type Counts struct {
	Dialing, Idle, InUse, Closing int
	Waiting                       int
}

// Open is how many slots are taken.
func (c Counts) Open() int { return c.Dialing + c.Idle + c.InUse + c.Closing }

// Busy is how many slots no other workspace can have: an idle connection would give way.
func (c Counts) Busy() int { return c.Open() - c.Idle }

// Counters only ever grow. They survive the eviction of a workspace.
type Counters struct {
	// Acquires counts requests; Hits those answered at once by an idle
	// connection, HandOffs those that waited for one that came free, and
	// FreshGrants those that waited for one freshly dialed.
	Acquires, Hits, HandOffs, FreshGrants uint64
	// Dials counts those begun, DialFailures those of them that failed,
	// ServerRefusals the failures because the server was full (SQLSTATE 53300).
	Dials, DialFailures, ServerRefusals uint64
	// Closes counts connections told to close, by CloseReason.
	Closes [CloseReasons]uint64
	// LimitErrors counts acquires refused with a ConnectionLimitError, Rejects
	// all that were refused (those included).
	LimitErrors, Rejects uint64
	// StaleMessages counts releases and reports that belong to no current lease
	// or connection, and changed nothing.
	StaleMessages uint64
}

// Evictions is how many connections were closed so that another workspace could
// have their slot.
func (c Counters) Evictions() uint64 { return c.Closes[MakeRoom] + c.Closes[Yield] }

// Grants is how many acquires got a connection.
func (c Counters) Grants() uint64 { return c.Hits + c.HandOffs + c.FreshGrants }

// BudgetStats is the state of one budget.
type BudgetStats struct {
	// Budget is how many slots there are. EffectiveBudget is lower while the
	// server refuses more.
	Budget, EffectiveBudget int
	// PerWorkspace is the cap of one workspace.
	PerWorkspace int
	Counts
	// Batch is the part of Counts that is batch work's: dialing for it, lent to it, closing
	// after it, or waiting. BatchBudget is how many connections that may be.
	Batch       Counts
	BatchBudget int
	Counters    Counters
	// Waits are how long the acquires that got a connection waited in the
	// supervisor (hits: 0), DialTimes how long the dials took that succeeded.
	Waits, DialTimes Histogram
	// LongestWait is how long the first of the waiters has waited, but for batch work.
	LongestWait time.Duration
	// LongestLease is how long the oldest lease has been held, by
	// LongestLeaseWorkspace.
	LongestLease          time.Duration
	LongestLeaseWorkspace WorkspaceID
	// Draining: Drain was asked for.
	Draining bool
	// ServerDown is the last failure of a server that cannot be reached, until a
	// dial is answered again.
	ServerDown error
	// Active lists the workspaces that have a connection or a waiter or are
	// paused, by id.
	Active []WorkspaceStats
}

// SortActive puts Active in the order of the ids.
func (b *BudgetStats) SortActive() {
	slices.SortFunc(b.Active, func(x, y WorkspaceStats) int {
		return strings.Compare(string(x.ID), string(y.ID))
	})
}

// WorkspaceStats is the state of one workspace.
type WorkspaceStats struct {
	ID WorkspaceID
	Counts
	// Cap is how many connections it may have, and SoftCap how many of these it need not
	// share: its own, or those of all.
	Cap, SoftCap int
	// LastUsed is how long ago a lease of it began or ended, or else it became
	// known.
	LastUsed time.Duration
	// Dials and Evictions count since the workspace was last forgotten; those of
	// workspaces long inactive are forgotten (the totals are not).
	Dials, Evictions uint64
	// Paused: acquires wait, for a Resume or for the end of somebody's exclusive use.
	Paused bool
}
