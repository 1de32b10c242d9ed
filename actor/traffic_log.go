package actor

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model/planner"
)

// mostHits is how many hits the logs of all slots have room for: 524 KB. leastHits is how
// many a log that is not empty has room for.
const (
	mostHits  = 32 << 10
	leastHits = 4
)

// sampling is what the slots' owners are to note: the workspaces of a sample of one in
// oneIn, or none if that is 0. Above it is the period, which is the time from one Traffic to
// the next. Its parity tells which log is written; the other one is the supervisor's to read.
type sampling uint64

// sampled is what is recorded now.
func (sh *share) sampled() sampling { return sampling(sh.sampling.Load()) }

func (s sampling) oneIn() uint32 { return uint32(s) }

func (s sampling) period() uint32 { return uint32(s >> 32) }

// log is which one of a slot's logs is written.
func (s sampling) log() uint32 { return s.period() % 2 }

func (s sampling) next(oneIn uint32) sampling {
	return sampling(s.period()+1)<<32 | sampling(oneIn)
}

// has tells whether the workspace is recorded.
func (s sampling) has(h planner.Hash) bool { return s.oneIn() != 0 && h.In(s.oneIn()) }

// log is what a slot's owners note of its seat hits in a period.
type log struct {
	hits []hit
	// full: hits may not grow. Then busy is how long those leases were held that are not in it,
	// and more how many these were.
	full bool
	busy time.Duration
	more uint64
	// expected is how many hits there were in the period before the last.
	expected int
}

// hit is a lease that began at a seat.
type hit struct {
	at   time.Duration
	held planner.Micros
}

// room is what is left of mostHits.
type room struct{ left atomic.Int64 }

// take takes room for n. A log that is large gets no more while there is little for
// others: a quarter of what is left, at most (Choudhury, Hahne: Dynamic Queue Length
// Thresholds for Shared-Memory Packet Switches, 1998).
func (r *room) take(n int) bool {
	for {
		left := r.left.Load()
		if int64(n) > left/4 {
			return false
		}
		if r.left.CompareAndSwap(left, left-int64(n)) {
			return true
		}
	}
}

// note notes a turn that has just ended, before the slot is left in a seat, in the log of the
// period or, if it was granted, in its place there. Only the slot's owner may call it.
func (c *slot) note(l *log, turn uint64, held time.Duration) {
	if c.granted.turn == turn {
		c.granted.held, c.granted.noted = held, true
		return
	}
	if len(l.hits) == cap(l.hits) && (l.full || !l.grow(&c.share.room)) {
		l.merge(held)
		return
	}
	l.hits = append(l.hits, hit{at: c.freed - held, held: planner.MicrosOf(held)})
}

// merge notes a hit for which there is no room.
func (l *log) merge(held time.Duration) {
	l.busy += held
	l.more++
}

// grow makes room for another hit, if it may.
func (l *log) grow(r *room) bool {
	n := max(leastHits, len(l.hits))
	if len(l.hits) == 0 {
		n = max(leastHits, l.expected)
	}
	for ; n >= leastHits; n /= 2 {
		if r.take(n) {
			hits := make([]hit, len(l.hits), len(l.hits)+n)
			copy(hits, l.hits)
			l.hits = hits
			return true
		}
	}
	l.full = true
	return false
}

// tell tells what is in the log, and returns how many hits are missing.
func (l log) tell(workspace planner.Hash, of func(planner.Acquire)) (missed uint64) {
	for i, h := range l.hits {
		a := planner.Acquire{At: h.at, Workspace: workspace, Held: h.held}
		if i == len(l.hits)-1 {
			a.More = uint16(min(l.more, math.MaxUint16))
			a.Held = planner.MicrosOf(h.held.Duration() + l.busy)
			l.more -= uint64(a.More)
		}
		of(a)
	}
	return l.more
}
