package actor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/model/planner"
)

// This is the recording of traffic. The package comment says how the leases that began
// at a seat get into it.

// mostEnded is how many Acquires a Traffic holds at most: 885 KB.
const mostEnded = 36 << 10

// Traffic returns what has happened in the share since the last Traffic. From now on
// only the workspaces that are In a sample of one in oneIn are recorded; oneIn is a power
// of two, or 0: nothing is recorded any more, and what was is dropped. It is off until the
// first call. What a call returns is of the smaller sample: that of its own oneIn or the last.
//
// An acquire that got a connection is in the Ended of one Traffic, and in the Held of each
// one before that was asked for while its lease lasted. A lease that begins or ends in the
// very moment may be in neither, and is then in the next Traffic. Batch work and exclusive
// leases are recorded as others are.
//
// What waits to be returned takes 1.5 MB at most: when there is no room for more, hits of one
// connection become one Acquire with More, and what does not fit even so is Missed.
//
// It waits for the supervisor's answer, but no longer than ctx; what was recorded may be lost
// then. The error wraps ctx.Err() or model.ErrClosed. One goroutine at a time may call it
// for a share. What it returns is the caller's.
func (s *Supervisor) Traffic(ctx context.Context, of ShareIndex, oneIn uint32) (planner.Traffic, error) {
	if oneIn&(oneIn-1) != 0 {
		return planner.Traffic{}, fmt.Errorf("traffic: one in %d workspaces: the sample must be one in a power of two, or 0 for none", oneIn)
	}
	sh := s.shares[of]
	a, err := ask(ctx, s, "traffic", notAnswered, func() *answer {
		s.nextPeriod(sh, oneIn)
		return s.traffic(sh)
	})
	for err == nil && a == nil { // some connection was just being given back
		a, err = ask(ctx, s, "traffic", notAnswered, func() *answer { return s.traffic(sh) })
	}
	if err != nil {
		return planner.Traffic{}, err
	}
	return a.traffic(), nil
}

// answer is a Traffic but for what is in logs.
type answer struct {
	told planner.Traffic
	logs []readLog
}

// readLog is a slot's log that was read.
type readLog struct {
	workspace planner.Hash
	log
}

// traffic is the whole one. It is made here, not at the supervisor's expense.
func (a *answer) traffic() planner.Traffic {
	told := a.told
	for _, l := range a.logs {
		told.Missed += l.tell(l.workspace, func(a planner.Acquire) { told.Ended = append(told.Ended, a) })
	}
	told.Ended = slices.DeleteFunc(told.Ended, func(a planner.Acquire) bool { return !a.Workspace.In(told.SampledOneIn) })
	return told
}

// notes are what a share has recorded since the last Traffic, but for what is in the slots'
// logs. Only the supervisor touches them.
type notes struct {
	ended  []planner.Acquire
	missed uint64
	// logs are those that were read for the Traffic that is asked for: while asked is set.
	logs  []readLog
	asked bool
	// oneIn is that of the smallest sample since the last Traffic.
	oneIn         uint32
	dials, closes samples
	// acquires and dialed are how many there were at the last Traffic, or when it began.
	acquires, dialed uint64
	// isShort: no idle connection can make room for those who wait, since shortFrom or the last
	// Traffic. shortFor is for how long it was before that, and waited how many waited then.
	isShort             bool
	shortFrom, shortFor time.Duration
	waited              int
}

// short notes whether somebody waits for room.
func (n *notes) short(now time.Duration, short bool, state *core.State) {
	switch {
	case short && !n.isShort:
		n.shortFrom = now
	case !short && n.isShort:
		n.shortFor += now - n.shortFrom
	}
	n.isShort = short
	if short {
		n.waited = max(n.waited, state.Counts().Waiting)
	}
}

// takeShort returns for how long somebody waited for room since the last time, and how many
// waited then.
func (n *notes) takeShort(now time.Duration, state *core.State) (shortFor time.Duration, waited int) {
	n.short(now, false, state)
	shortFor, waited = n.shortFor, n.waited
	n.shortFor, n.waited = 0, 0
	n.short(now, state.Short(), state)
	return shortFor, waited
}

// end keeps what an acquire came to.
func (n *notes) end(a planner.Acquire) {
	have := len(n.ended)
	if have == mostEnded {
		n.missed += 1 + uint64(a.More)
		return
	}
	if have == cap(n.ended) {
		larger := make([]planner.Acquire, have, min(mostEnded, max(64, 2*have)))
		copy(larger, n.ended)
		n.ended = larger
	}
	n.ended = append(n.ended, a)
}

// samples are the last 256 of some durations.
type samples struct {
	last  []planner.Micros
	count int
}

func (s *samples) add(d time.Duration) {
	const most = 256
	if len(s.last) < most {
		s.last = append(s.last, planner.MicrosOf(d))
	} else {
		s.last[s.count%most] = planner.MicrosOf(d)
	}
	s.count++
}

// outcome tells whether a grant came in the very step in which it was asked for.
func (s *Supervisor) outcome(g core.Grant) planner.Outcome {
	if g.Caller.(*call) == s.loop.asking {
		return planner.Hit
	}
	return planner.Granted
}

// noteRefused notes that an acquire gets no connection.
func (s *Supervisor) noteRefused(sh *share, c *call) {
	if h := c.seats.hash; sh.sampled().has(h) {
		sh.notes.end(planner.Acquire{
			At: c.arrived, Workspace: h, Waited: planner.MicrosOf(s.loop.now - c.arrived), Outcome: planner.Refused,
		})
	}
}

// acquire is that of one of the slot's turns.
func (c *slot) acquire(turn uint64, since, held time.Duration) planner.Acquire {
	a := planner.Acquire{At: since, Workspace: c.seats.hash, Held: planner.MicrosOf(held)}
	if c.granted.turn == turn {
		a.At -= c.granted.waited
		a.Waited, a.Outcome = planner.MicrosOf(c.granted.waited), c.granted.outcome
	}
	return a
}

// takeHome takes what was noted from a slot that has come home, and its last turn.
func (n *notes) takeHome(c *slot, on sampling) {
	turn := c.turn.Load() - 1
	if c.told == turn && on.has(c.seats.hash) {
		since := time.Duration(c.lentAt.Load())
		n.end(c.acquire(turn, since, c.freed-since))
	}
	hits := max(n.takeLog(c, 0), n.takeLog(c, 1))
	c.logs[0].expected, c.logs[1].expected = hits, hits
	n.takeGranted(c)
}

// takeLog takes what is in one of a slot's logs, which nobody else may touch now, and returns
// how many hits there were.
func (n *notes) takeLog(c *slot, which uint32) int {
	l := &c.logs[which]
	hits := len(l.hits)
	if hits == 0 && !l.full {
		l.expected = 0
		return 0
	}
	if n.asked {
		n.logs = append(n.logs, readLog{c.seats.hash, *l})
	} else {
		n.missed += l.tell(c.seats.hash, n.end)
	}
	c.share.room.left.Add(int64(cap(l.hits)))
	*l = log{expected: hits}
	return hits
}

// takeGranted takes the turn that the supervisor granted last, if it has ended at a seat.
func (n *notes) takeGranted(c *slot) {
	if g := &c.granted; g.noted {
		g.noted = false
		n.end(c.acquire(g.turn, g.since, g.held))
	}
}

// nextPeriod begins one.
func (s *Supervisor) nextPeriod(sh *share, oneIn uint32) {
	was, t := sh.sampled(), &sh.notes
	if was.oneIn() == 0 {
		t.acquires, t.dialed = sh.acquires()
	}
	t.oneIn = max(t.oneIn, oneIn)
	sh.sampling.Store(uint64(was.next(oneIn)))
}

// readLogs takes what was noted in the last period, and tells whether that is all. When it
// sees the turn of a slot's holder, that log is nobody else's: all holders before have
// written, and all that note a turn from then on see the new period. A slot that is just being
// given back is to be looked at again.
func (s *Supervisor) readLogs(sh *share) (all bool) {
	s.recallAll(sh)
	period, last := sh.sampled().period(), 1-sh.sampled().log()
	all = true
	for _, c := range sh.leased {
		if c.read == period {
			continue
		}
		turn := c.turn.Load()
		if turn%2 == 0 {
			all = false
			continue
		}
		c.read = period
		sh.notes.takeLog(c, last)
		if c.granted.turn != turn { // else its holder may note it now
			sh.notes.takeGranted(c)
		}
	}
	return all
}

// traffic is what Traffic returns, or nil while there are logs that it may not read.
func (s *Supervisor) traffic(sh *share) *answer {
	t, on := &sh.notes, sh.sampled()
	t.asked = true
	all := s.readLogs(sh)
	t.asked = false
	if !all {
		return nil
	}
	if on.oneIn() == 0 {
		*t = notes{}
	}
	now := s.now()
	limits, effective := sh.state.Limits()
	told := planner.Traffic{
		Now: now, SampledOneIn: t.oneIn, Ended: t.ended, Missed: t.missed,
		Dials: slices.Clone(t.dials.last), Closes: slices.Clone(t.closes.last),
		Limits: limits, Effective: effective, Own: ownLimits(sh.state),
		Counts: sh.state.Counts(),
	}
	told.ShortFor, told.WaitedForRoom = t.takeShort(s.loop.now, sh.state)
	if on.oneIn() == 0 {
		return &answer{told: told}
	}
	for _, c := range sh.leased {
		if l, since := c.held(); l.slot != nil && c.seats.hash.In(t.oneIn) {
			told.Held = append(told.Held, c.acquire(l.turn, since, now-since))
		}
	}
	acquires, dialed := sh.acquires()
	told.Acquires, told.Dialed = acquires-t.acquires, dialed-t.dialed
	logs := t.logs
	t.ended, t.missed, t.logs, t.oneIn, t.acquires, t.dialed = nil, 0, nil, on.oneIn(), acquires, dialed
	return &answer{told, logs}
}

// ownLimits are those of the workspaces that have some of their own, or of 4,096 of them.
func ownLimits(state *core.State) map[planner.Hash]model.WorkspaceLimits {
	const most = 4096
	all := make(map[planner.Hash]model.WorkspaceLimits)
	for id, own := range state.OwnLimits() {
		if len(all) == most {
			break
		}
		all[planner.HashOf(id)] = own
	}
	return all
}

// acquires are how many acquires and dials there have been.
func (sh *share) acquires() (acquires, dialed uint64) {
	for _, c := range sh.leased {
		sh.countSeatHits(c)
	}
	counters := sh.state.Counters()
	return counters.Acquires + sh.seatHits, counters.Dials
}
