package actor

import (
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/model/planner"
)

// slot is one connection, from the end of its dial until it is told to close. It
// has one owner at each moment: the supervisor, the holder of a lease, or nobody
// while it lies in a seat; who takes it from there owns it.
type slot struct {
	share *share
	seats *seats
	id    core.ConnID
	conn  Conn
	// expires is when its lifetime is over. From then on it is left in no seat.
	expires time.Duration

	// turn counts how often the connection was lent and given back: it is odd
	// while it is lent. A lease is a slot and one odd turn; a second Release
	// finds another turn, whoever has the slot by then, and does nothing.
	turn atomic.Uint64
	// lentAt is when the last turn's holder got it. It is stored before that turn is, so
	// whoever sees the turn sees its time, or that of a later one.
	lentAt atomic.Int64

	// Only its owner touches what follows.

	// granted is about the last turn that the supervisor has granted.
	granted granted
	// freed is when it was last given back, or dialed, and health what was said then. before
	// is what freed was before that.
	freed, before time.Duration
	health        core.Health
	// used is how long it was lent since it last came home.
	used time.Duration
	// logs are what its owners have noted of the traffic; see readLogs. told is the last turn
	// that is not in them: its owner told the supervisor.
	logs [2]log
	told uint64

	// Only the supervisor touches what follows.

	// lease is the one that the core has it on, while it is in share.leased, at
	// leasedAt.
	lease    core.LeaseID
	leasedAt int
	// counted is the turn up to which its acquires are counted.
	counted uint64
	// reported is the last turn that OverdueLeases has returned.
	reported uint64
	// read is the last period whose log was read.
	read uint32
	// stale: there was a Renew or Pause since it was dialed, or its lease is exclusive.
	// It goes into no seat any more.
	stale bool
}

// granted is what the holder of a granted turn is told.
type granted struct {
	turn          uint64
	since, waited time.Duration
	verify        bool
	// batch: the lease is batch work's. The core must know when it ends, so the connection
	// goes into no seat.
	batch bool

	// outcome is what became of its acquire. When it ended at a seat, its holder noted it:
	// it was held for so long.
	outcome planner.Outcome
	noted   bool
	held    time.Duration
}

// lend begins the next turn, now, and returns its lease.
func (c *slot) lend(now time.Duration) Lease {
	turn := c.turn.Load() + 1
	c.lentAt.Store(int64(now))
	c.turn.Store(turn)
	return Lease{slot: c, turn: turn}
}
