package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// State is the decision core over one budget. It is not safe for concurrent
// use: one goroutine owns it.
type State struct {
	limits model.Limits
	// effective is the budget, or less while the server refuses more (rule 5).
	// Invariant: effective <= limits.Budget.
	effective int
	probe     probe

	now      time.Duration
	draining bool
	drained  bool

	conns      map[ConnID]*conn
	lastConn   ConnID
	counts     [connStates]int
	workspaces map[model.WorkspaceID]*workspace // active, paused and retired ones
	retired    list[*workspace]                 // neither active nor paused; at most maxRetired

	idle     idleSet
	onTheWay list[*conn] // closing, and still expected to be free soon; oldest first

	waiters map[LeaseID]*waiter
	queue   list[*waiter] // all of them, in order of arrival
	spare   *waiter       // to be used again, or nil
	arrived uint64        // how many waiters have arrived; the last one's number

	// needy orders the workspaces with a need by their first needy waiter.
	// Invariant: it holds exactly those, and demand is the sum of their needs.
	needy  heap[*workspace]
	demand int
	// retries orders the workspaces that wait for their dial back-off to end.
	retries heap[*workspace]
	server  backoff
	// suspect is when a connection was last found lost or the server down; what has
	// been idle since before then is verified before it is lent. Negative: never.
	suspect time.Duration
	pace    pace

	counters model.Counters
	effects  []Effect
	wakeAt   time.Duration // the last WakeAt
	// reclaimed: the last message was a Reclaim, so I7 holds in full.
	reclaimed bool
}

// maxRetired is how many inactive workspaces are remembered with their counters
// and their dial back-off (I10).
const maxRetired = 1024

type connState uint8

const (
	dialing connState = iota
	idle
	inUse
	closing
	connStates
)

// conn is one slot in use.
type conn struct {
	id        ConnID
	workspace *workspace
	state     connState
	lease     LeaseID       // while in use
	exclusive bool          // the lease is. Invariant (I12): then it is the only one of its workspace
	born      time.Duration // when the dial succeeded
	stays     time.Duration // until when it is not yielded (rule 2)
	lastUsed  time.Duration // when it was last given back; while idle: since when
	since     time.Duration // unless idle: since when it is what it is
	end       time.Duration // while idle: when its lifetime or idle time is over
	endReason model.CloseReason

	inLRU, inEnds int         // places in the heaps of idleSet
	listed        node[*conn] // in State.onTheWay
	closedBy      *operation  // the Evict or Renew that closes it, if any
}

// workspace is what is known of a workspace.
type workspace struct {
	id     model.WorkspaceID
	counts [connStates]int
	idle   []*conn // by last use, ties by id; the last is lent first
	queue  list[*waiter]
	// exclusive are the waiters that want to be alone, in the order of their arrival.
	exclusive list[*waiter]
	alone     bool // its only connection is on an exclusive lease (I12)
	paused    bool
	pauses    []*operation // unfinished ones
	// renewed is the last connection dialed before the last Renew or Pause. Invariant: no
	// connection up to it is idle (I11).
	renewed ConnID

	need    int    // see updateNeed
	needKey uint64 // number of the first needy waiter
	backoff backoff

	lastUsed         time.Duration
	dials, evictions uint64

	inNeedy, inRetries int // places in State.needy and State.retries
	listed             node[*workspace]
}

// open is how many slots the workspace holds.
func (w *workspace) open() int {
	return w.counts[dialing] + w.counts[idle] + w.counts[inUse] + w.counts[closing]
}

// NewState returns a State without connections. The limits must be sensible;
// [Config.Validate] sees to that.
func NewState(limits model.Limits) *State {
	s := &State{
		limits:     limits,
		effective:  limits.Budget,
		conns:      make(map[ConnID]*conn),
		workspaces: make(map[model.WorkspaceID]*workspace),
		waiters:    make(map[LeaseID]*waiter),
		idle:       newIdleSet(),
		suspect:    -1,
		pace:       newPace(limits),
		wakeAt:     Never,
	}
	s.needy = heap[*workspace]{
		less:  func(a, b *workspace) bool { return a.needKey < b.needKey },
		place: func(w *workspace) *int { return &w.inNeedy },
	}
	s.retries = heap[*workspace]{
		less: func(a, b *workspace) bool {
			if a.backoff.until != b.backoff.until {
				return a.backoff.until < b.backoff.until
			}
			return a.id < b.id
		},
		place: func(w *workspace) *int { return &w.inRetries },
	}
	return s
}

// Step tells the State a message that arrived at now, the time since some fixed
// moment, which never goes backwards (an earlier time counts as the latest).
// The effects are to be carried out in their order; the slice is valid until
// the next Step. It does not block and takes time logarithmic in the number of
// connections and waiters, except where it says so.
func (s *State) Step(now time.Duration, m Message) []Effect {
	s.now = max(s.now, now)
	clear(s.effects)
	s.effects = s.effects[:0]

	s.passTime()
	switch m := m.(type) {
	case Acquire:
		s.acquire(m)
	case Cancel:
		s.cancel(m)
	case Release:
		s.release(m)
	case DialSucceeded:
		s.dialSucceeded(m)
	case DialFailed:
		s.dialFailed(m)
	case Closed:
		s.closed(m)
	case Evict:
		s.evict(m)
	case Renew:
		s.renew(m)
	case Pause:
		s.pause(m)
	case Resume:
		s.resume(m)
	case SetLimits:
		s.setLimits(m)
	case Drain:
		s.drain()
	case Reclaim:
		s.reclaim()
	case Tick:
	default: // without a word of m, which then needs no memory of its own
		panic("model: unknown message")
	}
	_, s.reclaimed = m.(Reclaim)
	s.startDials()
	s.finishDrain()
	s.askForTick()
	return s.effects
}

func (s *State) emit(e Effect) { s.effects = append(s.effects, e) }

// open is how many slots are taken.
func (s *State) open() int { return len(s.conns) }

// coming is how many slots are free or on their way to be.
func (s *State) coming() int { return s.effective - s.open() + s.onTheWay.size }

// shut tells whether ordinary waiters of the workspace are not served: it is paused,
// or somebody is alone with it or waits for that.
func (w *workspace) shut() bool {
	return w.paused || w.exclusive.size > 0 || w.alone
}

// waiting is how many wait for a connection of it.
func (w *workspace) waiting() int { return w.queue.size + w.exclusive.size }

// stale tells whether the connection was dialed before a Renew or Pause of its workspace.
func (c *conn) stale() bool { return c.id <= c.workspace.renewed }

// lookup returns the workspace's entry, and makes one if there is none.
func (s *State) lookup(id model.WorkspaceID) *workspace {
	w := s.workspaces[id]
	if w == nil {
		w = &workspace{id: id, lastUsed: s.now}
		w.listed.item = w
		s.workspaces[id] = w
	}
	return w
}

// settle keeps what is derived from a workspace true. It is called after each
// change to the workspace's connections, waiters, pause or back-off.
func (s *State) settle(w *workspace) {
	s.updateNeed(w)
	s.retire(w)
}

// retire moves a workspace in or out of the list of those that are only
// remembered, and forgets the one inactive the longest when there are too many.
func (s *State) retire(w *workspace) {
	active := w.open() > 0 || w.waiting() > 0 || w.paused
	switch {
	case active:
		w.listed.remove()
	case w.listed.in == nil:
		s.retired.pushBack(&w.listed)
		if s.retired.size > maxRetired {
			oldest := s.retired.head
			oldest.remove()
			delete(s.workspaces, oldest.item.id)
		}
	}
}

// move changes a connection's state and the counts with it.
func (s *State) move(c *conn, to connState) {
	s.counts[c.state]--
	c.workspace.counts[c.state]--
	c.state = to
	s.counts[to]++
	c.workspace.counts[to]++
}

// Known is how many workspaces are remembered: the active and paused ones, and
// a bounded number of others.
func (s *State) Known() int { return len(s.workspaces) }
