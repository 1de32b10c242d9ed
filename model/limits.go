package model

import (
	"math"
	"time"
)

// Limits is what a State decides by. Times are relative; zero or less in
// MaxLifetime, MaxIdleTime or VerifyAfter means never.
type Limits struct {
	// Budget is how many slots there are, PerWorkspace the cap on the slots of
	// one workspace.
	Budget, PerWorkspace int
	// SoftPerWorkspace is how many of its slots a workspace need not share: beyond it it
	// has what the others leave. Zero or less is PerWorkspace.
	SoftPerWorkspace int
	// MaxWaiters and MaxWaitersPerWorkspace bound the queues; an Acquire beyond
	// them is refused at once.
	MaxWaiters, MaxWaitersPerWorkspace int
	// MaxDialing is how many dials may be under way at once; a dialing slot
	// serves nobody.
	MaxDialing int
	// BatchShare is the part of the budget, and of the dials under way, that batch work
	// may have at once.
	BatchShare float64
	// AdaptDialing: MaxDialing is only the most; how many of these are best is found
	// out from how long the dials take.
	AdaptDialing bool
	// Eviction is the order in which idle connections give way; empty is LRU.
	Eviction Eviction `json:",omitzero"`
	// Patience is how much longer a waiter of another workspace may have waited
	// before a connection that comes free moves to it (rule 2).
	Patience time.Duration
	// MaxLifetime ends a connection that old, less a jitter of up to a tenth; or, with a
	// LifetimeJitter of more than zero, plus less than that.
	MaxLifetime, LifetimeJitter time.Duration
	// MaxIdleTime ends a connection that was not lent for that long.
	MaxIdleTime time.Duration
	// VerifyAfter is how long a connection may be idle and still be lent
	// unverified.
	VerifyAfter time.Duration
	// BackoffMin and BackoffMax bound the pause after failed dials: it doubles
	// with each failure, and is between half of that and all of it.
	BackoffMin, BackoffMax time.Duration
	// CloseGrace is how long a closing connection counts as a slot on its way.
	CloseGrace time.Duration
	// ProbeAfter is how often a lowered effective budget is raised again.
	ProbeAfter time.Duration
	// Seed makes the jitter of one State differ from another's.
	Seed uint64
}

// Eviction is an order in which idle connections give way.
type Eviction string

const (
	// LRU: the least recently used one first.
	LRU Eviction = "lru"
	// LRU2: the one whose last use but one is longest ago (O'Neil, O'Neil, Weikum: The LRU-K
	// Page Replacement Algorithm For Database Disk Buffering, 1993).
	LRU2 Eviction = "lru2"
)

// WorkspaceLimits are those of one workspace, in place of Limits.PerWorkspace,
// SoftPerWorkspace and MaxWaitersPerWorkspace. Zero or less is as Limits says.
type WorkspaceLimits struct{ Cap, SoftCap, MaxWaiters int32 }

// Batch is how many slots batch work may have: its share of the budget, at least one.
func (l Limits) Batch() int { return l.BatchOf(l.Budget) }

// BatchOf is batch work's share of n, rounded down, at least one.
func (l Limits) BatchOf(n int) int {
	const rounding = 1e-9 // 0.29 of 100 is 29
	return max(1, int(math.Floor(l.BatchShare*float64(n)+rounding)))
}
