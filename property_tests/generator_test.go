package property_tests

import (
	"errors"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// order is one generated instruction. What it means depends on what is open when
// it is its turn, so a log still makes sense after rapid took orders out of it.
type order struct {
	kind      orderKind
	pick      int
	workspace model.WorkspaceID
	pass      time.Duration
}

// GoString keeps rapid's account of a failure readable; the log below it tells
// the same in words.
func (o order) GoString() string {
	if o.kind == skip {
		return "-"
	}
	return fmt.Sprintf("{%d %d %s %v}", o.kind, o.pick, o.workspace, o.pass)
}

type orderKind int

const (
	skip orderKind = iota
	acquire
	acquireNoWait
	releaseClean
	releaseUnclean
	releaseLost
	dialSucceeds
	dialFailsTransient
	dialFailsPermanent
	dialFailsServerDown
	dialFailsServerFull
	closes
	cancel
	evict
	pause
	resume
	setLimits
	tick
	tickAtWake
	tickBeforeWake
	clockGoesBack
	staleRelease
	doubleRelease
	staleDialSucceeded
	staleDialFailed
	staleClosed
	cancelUnknown
	drain
	releaseEarlier
	renew
	renewAll
	acquireExclusive
	acquireBatch
	acquireLimited
	setWorkspaceLimits
)

// mix says how often each kind is drawn, in parts of the total.
type mix []struct {
	kind  orderKind
	parts int
}

var (
	// sound has no failures and no interventions: leases, dials and closes.
	sound = mix{
		{acquire, 14}, {releaseClean, 20}, {dialSucceeds, 20}, {closes, 16}, {cancel, 2},
		{acquireNoWait, 2}, {releaseUnclean, 1}, {tick, 1},
	}
	// seated has connections that come free before it is told.
	seated = mix{
		{acquire, 16}, {releaseClean, 8}, {releaseEarlier, 16}, {dialSucceeds, 20}, {closes, 16}, {cancel, 2},
		{acquireNoWait, 2}, {releaseUnclean, 1}, {tick, 1}, {setLimits, 1},
		{renew, 1},
	}
	// crowded has more who ask than can be served.
	crowded = mix{{acquire, 24}, {releaseClean, 14}, {dialSucceeds, 12}, {closes, 12}, {cancel, 4}, {acquireNoWait, 4}, {tick, 1}}
	// everything has all there is, except Drain.
	everything = mix{
		{acquire, 14}, {releaseClean, 20}, {dialSucceeds, 20}, {closes, 16}, {tickAtWake, 3},
		{acquireNoWait, 4}, {cancel, 3}, {releaseUnclean, 1}, {releaseLost, 1},
		{dialFailsTransient, 1}, {dialFailsPermanent, 1}, {dialFailsServerDown, 1}, {dialFailsServerFull, 1},
		{evict, 2}, {renew, 2}, {renewAll, 1},
		{pause, 1}, {resume, 2}, {setLimits, 2}, {tick, 1}, {tickBeforeWake, 1}, {clockGoesBack, 1},
		{staleRelease, 1}, {doubleRelease, 1}, {staleDialSucceeded, 1}, {staleDialFailed, 1},
		{staleClosed, 1}, {cancelUnknown, 1},
		{releaseEarlier, 4},
	}
	// draining has a Drain in the midst of everything.
	draining = append(everything[:len(everything):len(everything)], mix{{drain, 1}}...)
	// alone has everything, and acquires that want to be alone.
	alone = append(everything[:len(everything):len(everything)], mix{{acquireExclusive, 6}, {cancel, 3}, {pause, 1}, {drain, 1}}...)
	// batching has everything, and as many acquires of batch work as of the others.
	batching = append(everything[:len(everything):len(everything)], mix{{acquireBatch, 16}, {acquireExclusive, 1}, {drain, 1}}...)
	// batchCrowd has more of both who ask than can be served.
	batchCrowd = append(crowded[:len(crowded):len(crowded)], mix{{acquireBatch, 24}, {releaseClean, 10}, {dialSucceeds, 8}, {closes, 8}, {cancel, 4}}...)
	// limited has everything, and acquires that change what their workspace may have.
	limited = append(everything[:len(everything):len(everything)], mix{{acquireLimited, 20}, {setWorkspaceLimits, 4}, {acquireExclusive, 1}, {drain, 1}}...)
	// failing has dials that fail as often as not.
	failing = mix{
		{acquire, 12}, {dialSucceeds, 8}, {dialFailsTransient, 2}, {dialFailsServerDown, 2}, {dialFailsServerFull, 2},
		{dialFailsPermanent, 2}, {closes, 12}, {releaseClean, 10}, {tickAtWake, 6}, {acquireNoWait, 4}, {cancel, 3},
		{releaseLost, 1}, {pause, 1}, {resume, 1}, {tick, 1},
		{renew, 1}, {renewAll, 1},
	}
)

func (m mix) table() []orderKind {
	table := []orderKind{skip}
	for _, part := range m {
		for range part.parts {
			table = append(table, part.kind)
		}
	}
	return table
}

var workspaceNames = []model.WorkspaceID{"a", "b", "c", "d", "e"}

// orders generates a log's worth. Orders that rapid finds needless become skips.
func orders(m mix) *rapid.Generator[[]order] {
	table := m.table()
	// Rapid prefers what comes first.
	pauses := []time.Duration{0, ms(1), ms(2), 0, ms(5), ms(1), ms(20), ms(2), 0, ms(100), time.Second, 10 * time.Second}
	one := rapid.Custom(func(t *rapid.T) order {
		// Also with numbers it prefers small ones, hence the multiplication; zero,
		// where it shrinks to, stays skip.
		kind := uint32(rapid.Uint16().Draw(t, "kind")) * 2654435761 >> 12
		return order{
			kind:      table[kind%uint32(len(table))],
			pick:      rapid.IntRange(0, 15).Draw(t, "pick"),
			workspace: rapid.SampledFrom(workspaceNames).Draw(t, "workspace"),
			pass:      rapid.SampledFrom(pauses).Draw(t, "pass"),
		}
	})
	return rapid.SliceOfN(one, 60, 250)
}

func someLimits(t *rapid.T) model.Limits {
	pick := func(name string, choices ...time.Duration) time.Duration {
		return rapid.SampledFrom(choices).Draw(t, name)
	}
	backoff := pick("backoff", ms(20), ms(100), time.Second)
	return model.Limits{
		Budget:                 rapid.SampledFrom([]int{2, 3, 4, 1, 8, 5, 6, 7}).Draw(t, "budget"),
		PerWorkspace:           rapid.SampledFrom([]int{2, 1, 3, 4}).Draw(t, "cap"),
		MaxWaiters:             rapid.SampledFrom([]int{12, 6, 30, 3, 1}).Draw(t, "waiters"),
		MaxWaitersPerWorkspace: rapid.SampledFrom([]int{6, 3, 12, 1}).Draw(t, "waiters each"),
		MaxDialing:             rapid.SampledFrom([]int{4, 2, 1, 3, 7}).Draw(t, "dialing"),
		AdaptDialing:           rapid.Bool().Draw(t, "adapt dialing"),
		Eviction:               rapid.SampledFrom([]model.Eviction{"", model.LRU2, model.LRU}).Draw(t, "eviction"),
		BatchShare:             rapid.SampledFrom([]float64{0.25, 0.5, 1, 0.01}).Draw(t, "batch share"),
		Patience:               pick("patience", 0, ms(2), ms(10), ms(100)),
		MaxLifetime:            pick("lifetime", 0, 5*time.Second, ms(100)),
		LifetimeJitter:         pick("lifetime jitter", 0, ms(50), time.Second),
		MaxIdleTime:            pick("idle time", 0, 5*time.Second, ms(200), ms(20)),
		VerifyAfter:            pick("verify after", 0, ms(5), ms(100)),
		BackoffMin:             backoff,
		BackoffMax:             backoff * time.Duration(rapid.IntRange(1, 8).Draw(t, "backoff range")),
		CloseGrace:             pick("close grace", ms(1), ms(10), ms(100), time.Second),
		ProbeAfter:             pick("probe after", ms(1), ms(20), time.Second),
		Seed:                   rapid.Uint64().Draw(t, "seed"),
	}
}

// someSoftLimits are some with a soft cap below the other.
func someSoftLimits(t *rapid.T) model.Limits {
	limits := someLimits(t)
	limits.PerWorkspace = rapid.SampledFrom([]int{4, 2, 3, 8}).Draw(t, "hard cap")
	limits.SoftPerWorkspace = rapid.SampledFrom([]int{1, 2, 3}).Draw(t, "soft cap")
	return limits
}

var errDial = errors.New("the dial failed")

// message translates an order. Nil means that there is nothing it could mean now.
func (o order) message(l *ledger, next uint64) core.Message {
	switch o.kind {
	case acquire, acquireNoWait:
		// Descending, so that the order of LeaseIDs is not the order of arrival.
		return core.Acquire{Lease: core.LeaseID(1<<20 - next), Workspace: o.workspace, NoWait: o.kind == acquireNoWait}
	case acquireExclusive:
		return core.Acquire{Lease: core.LeaseID(1<<20 - next), Workspace: o.workspace, NoWait: o.pick == 15, Exclusive: true}
	case acquireBatch:
		return core.Acquire{Lease: core.LeaseID(1<<20 - next), Workspace: o.workspace, NoWait: o.pick == 15, Batch: true}
	case acquireLimited:
		return core.Acquire{Lease: core.LeaseID(1<<20 - next), Workspace: o.workspace, Limits: o.limits(), Batch: o.pick == 7}
	case setWorkspaceLimits:
		return core.SetWorkspaceLimits{Workspace: o.workspace, Limits: o.limits()}
	case releaseClean, releaseUnclean, releaseLost:
		if c := choose(l.in(inUse), o.pick); c != nil {
			return core.Release{Lease: c.lease, Conn: c.id, Health: core.Health(o.kind - releaseClean)}
		}
		if o.kind == releaseClean {
			return order{kind: dialSucceeds, pick: o.pick}.message(l, next)
		}
	case releaseEarlier:
		if c := choose(l.in(inUse), o.pick); c != nil {
			at := max(1, l.now+o.pass+ms(1-o.pick*o.pick)) // from a little after it is told to long before
			before := time.Duration(0)
			if o.pick%2 == 1 { // it was lent several times
				before = max(1, at-o.pass-ms(o.pick))
			}
			return core.Release{Lease: c.lease, Conn: c.id, At: at, Before: before}
		}
	case dialSucceeds:
		if c := choose(l.in(dialing), o.pick); c != nil {
			return core.DialSucceeded{Conn: c.id}
		}
		return order{kind: closes, pick: o.pick}.message(l, next)
	case dialFailsTransient, dialFailsPermanent, dialFailsServerDown, dialFailsServerFull:
		if c := choose(l.in(dialing), o.pick/2); c != nil {
			kind := model.FailureKind(o.kind - dialFailsTransient)
			return core.DialFailed{Conn: c.id, Kind: kind, Err: errDial, SlotHeld: o.pick%2 == 1}
		}
	case closes:
		if c := choose(l.in(closing), o.pick); c != nil {
			return core.Closed{Conn: c.id}
		}
	case cancel:
		if len(l.waiters) > 0 {
			return core.Cancel{Lease: l.waiters[o.pick%len(l.waiters)].lease}
		}
	case evict:
		return core.Evict{Operation: core.OperationID(next), Workspace: o.workspace}
	case renew:
		return core.Renew{Operation: core.OperationID(next), Workspace: o.workspace}
	case renewAll:
		return core.Renew{Operation: core.OperationID(next), All: true}
	case pause:
		return core.Pause{Operation: core.OperationID(next), Workspace: o.workspace}
	case resume:
		if len(l.paused) > 0 {
			return core.Resume{Workspace: l.paused[o.pick%len(l.paused)]}
		}
		return core.Resume{Workspace: o.workspace}
	case setLimits:
		if !l.draining {
			return core.SetLimits{Budget: 1 + o.pick/2, PerWorkspace: 1 + o.pick%4}
		}
	case tick, tickAtWake, tickBeforeWake, clockGoesBack:
		return core.Tick{}
	case drain:
		if o.pick > 0 { // or it would come too early in most logs
			return nil
		}
		return core.Drain{}
	default:
		return o.stale(l)
	}
	return nil
}

// limits are some of a workspace's own.
func (o order) limits() model.WorkspaceLimits {
	return model.WorkspaceLimits{Cap: int32(o.pick % 5), SoftCap: int32(o.pick % 3), MaxWaiters: int32(o.pick / 5)}
}

// stale translates an order for a message that must change nothing.
func (o order) stale(l *ledger) core.Message {
	conn := core.ConnID(o.pick)
	c := l.known(conn)
	switch o.kind {
	case staleRelease:
		if c != nil && c.state == inUse {
			return core.Release{Lease: c.lease + 1, Conn: conn, Health: core.Lost}
		}
		return core.Release{Lease: core.LeaseID(o.pick), Conn: conn}
	case doubleRelease:
		if len(l.ended) > 0 {
			return l.ended[len(l.ended)-1-o.pick%len(l.ended)]
		}
	case staleDialSucceeded:
		if c == nil || c.state != dialing {
			return core.DialSucceeded{Conn: conn}
		}
	case staleDialFailed:
		if c == nil || c.state != dialing {
			return core.DialFailed{Conn: conn, Kind: model.ServerFull, Err: errDial}
		}
	case staleClosed:
		// Not of an idle one: if its idle time is over by then, the same step
		// closes it first, and takes this for the answer.
		if c == nil || c.state == dialing || c.state == inUse {
			return core.Closed{Conn: conn}
		}
	case cancelUnknown:
		return core.Cancel{Lease: core.LeaseID(o.pick)}
	}
	return nil
}

// at is when the message arrives.
func (o order) at(l *ledger) time.Duration {
	switch {
	case o.kind == tickAtWake && l.wake < core.Never:
		return max(l.now, l.wake)
	case o.kind == tickBeforeWake && l.wake < core.Never:
		return max(l.now, l.wake-1)
	case o.kind == clockGoesBack:
		return l.now - o.pass
	}
	return l.now + o.pass
}

func choose(conns []*ledgerConn, pick int) *ledgerConn {
	if len(conns) == 0 {
		return nil
	}
	return conns[pick%len(conns)]
}
