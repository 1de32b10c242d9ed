package planner

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Acquire is one request for a connection and what became of it, or several that
// followed each other so closely that they are kept as one. It has 24 bytes.
type Acquire struct {
	// At is when it arrived, on the supervisor's clock.
	At time.Duration
	// Workspace is whose connection it wanted.
	Workspace Hash
	// Waited is how long it waited for its answer, and Held how long it then held the
	// connection; 0 if it got none.
	Waited, Held Micros
	// More is how many others are in it, all of them hits of the same connection.
	More uint16
	// Outcome is what became of it. Its More were Hits.
	Outcome Outcome
}

// Outcome is what becomes of an Acquire.
type Outcome uint8

const (
	// Hit: a connection was there.
	Hit Outcome = iota
	// Granted: it waited, for a dial or for somebody's release.
	Granted
	// Refused: it was turned away, or gave up.
	Refused
)

// Hash stands for a workspace. Two in some billion share one, which does no harm.
type Hash uint32

// HashOf is the workspace's.
func HashOf(id model.WorkspaceID) Hash {
	// FNV-1a, and MurmurHash3's finalizer, so that the low bits depend on all others.
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return Hash(h ^ h>>16)
}

// In tells whether the workspace is in a sample of one in so many workspaces, a power of
// two. What is in a sample is in all larger ones (Waldspurger, Park, Garthwaite, Ahmad:
// Efficient MRC Construction with SHARDS, 2015).
func (h Hash) In(oneIn uint32) bool { return uint32(h)&(oneIn-1) == 0 }

// Micros is a duration in microseconds, at most 71 minutes.
type Micros uint32

// MicrosOf rounds down; what is longer than fits is the longest that does.
func MicrosOf(d time.Duration) Micros {
	return Micros(min(max(0, d/time.Microsecond), 1<<32-1))
}

// Duration is m as one.
func (m Micros) Duration() time.Duration { return time.Duration(m) * time.Microsecond }

// Traffic is what has happened in a share since the last Traffic, as the supervisor tells it.
type Traffic struct {
	// Now is when it was told.
	Now time.Duration
	// SampledOneIn: only workspaces that are In a sample of that size were recorded.
	SampledOneIn uint32
	// Ended are the leases that have ended and the acquires that got none, in no order.
	Ended []Acquire
	// Held are those that hold a connection now, with Held so far, in no order.
	Held []Acquire
	// Missed is how many acquires were not recorded for want of room.
	Missed uint64
	// Acquires and Dialed are how many acquires and dials there have been since the last
	// Traffic, of all workspaces, also of those that are not in the sample. An Acquires of 0
	// says that this is not known.
	Acquires, Dialed uint64
	// Dials and Closes are how long some of the last ones took.
	Dials, Closes []Micros
	// Limits are those in force, but for the budget: Effective is what the server grants of
	// it. Own are those of the workspaces that have some of their own.
	Limits    model.Limits
	Effective int
	Own       map[Hash]model.WorkspaceLimits
	// Counts are those of all workspaces.
	Counts model.Counts
	// ShortFor is how long since the last Traffic a slot was wanted that was neither free nor on
	// its way, nor idle in another workspace. Meanwhile up to WaitedForRoom acquires waited.
	ShortFor      time.Duration
	WaitedForRoom int
}
