package core

import (
	"cmp"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// State is the decision core over one budget. It is not safe for concurrent
// use: one goroutine owns it.
//
// What it knows for itself are the connections, the waiters, and of a workspace the
// pause, the Renew and the back-off. All counts, lists and heaps are derived from
// these, and [State.Check] derives them again.
type State struct {
	// limits are those of NewState, with the budget and the cap of the last SetLimits.
	limits model.Limits
	// effective is the budget, or less while the server refuses more (rule 5).
	// Invariant (I1): effective <= limits.Budget.
	effective int
	// probe is how effective is raised again. It means something while effective is
	// below the budget.
	probe probe

	// now is the latest time that came with a message. It never goes back.
	now time.Duration
	// draining: there was a Drain. It stays so. Invariant (I9): no waiter then, and
	// nothing idle.
	draining bool
	// drained: Drained was emitted, since draining and without a connection (I9).
	drained bool

	// conns are all connections that hold a slot, by their ids.
	// Invariant (I1): no more than limits.Budget, unless SetLimits has just lowered it.
	conns map[ConnID]*conn
	// lastConn is the id given out last. Ids ascend, so an id tells which connection was
	// dialed first.
	lastConn ConnID
	// counts are how many of conns are in each state (I1), and batch those of them that
	// batch work has (I13).
	counts, batch [connStates]int
	// workspaces are those with a connection or a waiter, the paused ones, and those
	// in retired (I10).
	workspaces map[model.WorkspaceID]*workspace
	// retired are the workspaces that have no connection and no waiter and are not
	// paused, in the order in which they became so. They are kept for their counters,
	// their dial back-off and their last use. Invariant (I10): at most maxRetired.
	retired list[*workspace]

	// lru orders the idle connections of all workspaces by evictionOrder: whom to evict;
	// ends by whose lifetime or idle time is over first.
	// Invariant (I6): both hold exactly the connections whose state is idle.
	lru, ends heap[*conn]
	// onTheWay are the closing connections that still count as slots soon free, in the
	// order of their closing. The others linger (Limits.CloseGrace).
	onTheWay list[*conn]

	// waiters are all Acquires without an answer (I3).
	waiters map[LeaseID]*waiter
	// queue are the interactive ones of them, and batchQueue the others, both in the order
	// of their arrival (I8).
	queue, batchQueue list[*waiter]
	// spare is a waiter that was answered, to be used again, or nil.
	spare *waiter
	// arrivals counts the waiters that ever were; it is the number of the last one.
	arrivals uint64

	// needy orders the workspaces with a need by their first needy waiter, for each class.
	// Invariant (I7): it holds exactly those.
	needy [classes]heap[*workspace]
	// demand is the sum of all needs of each class (I7).
	demand [classes]int
	// ready orders the workspaces with an idle connection that a batch waiter could have by
	// their first one. Invariant (I7): it holds exactly those, and the first one's waiter may
	// not take it (batchMayTakeIdle).
	ready heap[*workspace]
	// retries orders the workspaces that somebody waits for and whose dial back-off
	// lasts, by its end. Invariant (I7): it holds exactly those.
	retries heap[*workspace]
	// server is the back-off of all dials, after the server was found down.
	server backoff
	// verifyUntil is when a connection was last found lost or the server down, or
	// negative: what was used last by then is verified before it is lent.
	verifyUntil time.Duration
	// pace is how many dials may be under way.
	pace pace

	// counters only grow.
	counters model.Counters
	// effects are those of the Step under way. The slice is used again.
	effects []Effect
	// wakeAt is what the last WakeAt said, or Never.
	wakeAt time.Duration
	// reclaimed: the last message was a Reclaim, so I7 holds in full.
	reclaimed bool
}

// maxRetired is how many inactive workspaces are remembered with their counters,
// their dial back-off and their last use (I10): LRU-2's list of ghosts.
const maxRetired = 1024

type connState uint8

const (
	dialing connState = iota
	idle
	inUse
	closing
	connStates
)

// conn is one slot in use, from its Dial to its Closed or DialFailed.
type conn struct {
	connFacts
	// workspace is the entry of connFacts.Workspace.
	workspace *workspace

	// end is when its lifetime or its idle time is over, whichever is first, and
	// endReason which of them it is. They hold while idle.
	end       time.Duration
	endReason model.CloseReason

	// inLRU and inEnds are its places in the heaps lru and ends: in both while idle, in
	// none otherwise (I6).
	inLRU, inEnds int
	// listed is its place in State.onTheWay, while closing and not lingering.
	listed node[*conn]
}

// connFacts are what is known of a connection for itself: an Image has a copy.
type connFacts struct {
	ID ConnID
	// Workspace is whose database it was dialed for. It never changes (I4).
	Workspace model.WorkspaceID
	// State is where it is in its life (I5). Only move changes it.
	State connState
	// Since is when its dial, its lease or its close began. Idle, it says nothing.
	Since time.Duration
	// Lease is the one that it is on, while in use (I5). It is of no meaning otherwise.
	Lease LeaseID `json:",omitzero"`
	// Batch: it was dialed for a batch waiter and serves nobody yet, is lent to one, or
	// closes after that. Invariant (I13): never while idle.
	Batch bool `json:",omitzero"`
	// Cold: only batch work has used it. Idle, it is evicted before any other (I6).
	Cold bool `json:",omitzero"`
	// Exclusive: the lease is. Invariant (I12): while in use it is then the only
	// connection of its workspace.
	Exclusive bool `json:",omitzero"`
	// Born is when the dial succeeded.
	Born time.Duration `json:",omitzero"`
	// YieldsFrom is from when on its slot may move to an older waiter (rule 2).
	YieldsFrom time.Duration `json:",omitzero"`
	// LastUsed is when it was given back last, or Born, and Before when its last use but one
	// ended; 0: it had none. The order of eviction (I6).
	LastUsed, Before time.Duration `json:",omitzero"`
	// Used: a lease of it has ended. Until then Before is the last use of its workspace.
	Used bool `json:",omitzero"`
	// ClosedBy is the Evict or Renew that closes it and waits for that, or nil.
	ClosedBy *operation `json:",omitzero"`
}

// workspace is what is known of a workspace.
type workspace struct {
	workspaceFacts
	// counts are how many of its connections are in each state (I2).
	counts [connStates]int
	// idle are its idle connections by last use, ties by id: the last one is lent
	// first.
	idle []*conn
	// queue are its ordinary waiters, batchQueue those of batch work, and exclusive those
	// that want to be alone, each in the order of their arrival (I8).
	queue, batchQueue, exclusive list[*waiter]
	// alone: its only connection is on an exclusive lease (I12).
	alone bool

	// need is how many further dials would serve its waiters of each class now, and
	// firstNeedy the first waiter that they are for, if there is a need. See updateNeed (I7).
	need       [classes]int
	firstNeedy [classes]*node[*waiter]

	// inNeedy, inReady and inRetries are its places in State.needy, State.ready and
	// State.retries, and listed that in State.retired.
	inNeedy            [classes]int
	inReady, inRetries int
	listed             node[*workspace]
}

// workspaceFacts are what is known of a workspace for itself: an Image has a copy.
type workspaceFacts struct {
	ID model.WorkspaceID
	// Paused: there was a Pause, and no Resume since.
	Paused bool `json:",omitzero"`
	// Pauses are the Pauses without an answer. Invariant: there are none once it has no
	// connection or is resumed.
	Pauses []*operation `json:",omitzero"`
	// Renewed is the last connection dialed before the last Renew or Pause.
	// Invariant (I11): no connection up to it is idle.
	Renewed ConnID `json:",omitzero"`
	// Limits are those that came last, with an Acquire or for themselves.
	Limits model.WorkspaceLimits `json:",omitzero"`
	// Backoff is that of its dials.
	Backoff backoff
	// LastUsed is when a lease of it last began or ended, or it became known, and Released
	// when one last ended; 0: none has.
	LastUsed time.Duration
	Released time.Duration `json:",omitzero"`
	// Dials and Evictions count as long as it is remembered.
	Dials, Evictions uint64 `json:",omitzero"`
}

// open is how many slots the workspace holds.
func (w *workspace) open() int {
	return w.counts[dialing] + w.counts[idle] + w.counts[inUse] + w.counts[closing]
}

// NewState returns a State without connections. The limits must be sensible;
// [Config.Validate] sees to that.
func NewState(limits model.Limits) *State {
	s := &State{
		limits:      limits,
		effective:   limits.Budget,
		conns:       make(map[ConnID]*conn),
		workspaces:  make(map[model.WorkspaceID]*workspace),
		waiters:     make(map[LeaseID]*waiter),
		lru:         heap[*conn]{compare: evictionOrder(limits), place: func(c *conn) *int { return &c.inLRU }},
		ends:        heap[*conn]{compare: byEnd, place: func(c *conn) *int { return &c.inEnds }},
		verifyUntil: -1,
		pace:        newPace(limits),
		wakeAt:      Never,
	}
	for of := range classes {
		s.needy[of] = heap[*workspace]{
			compare: func(a, b *workspace) int {
				return cmp.Compare(a.firstNeedy[of].item.number, b.firstNeedy[of].item.number)
			},
			place: func(w *workspace) *int { return &w.inNeedy[of] },
		}
	}
	s.ready = heap[*workspace]{
		compare: func(a, b *workspace) int {
			return cmp.Compare(a.batchQueue.head.item.number, b.batchQueue.head.item.number)
		},
		place: func(w *workspace) *int { return &w.inReady },
	}
	s.retries = heap[*workspace]{
		compare: func(a, b *workspace) int {
			return cmp.Or(cmp.Compare(a.Backoff.Until, b.Backoff.Until), cmp.Compare(a.ID, b.ID))
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
	case SetWorkspaceLimits:
		w := s.lookup(m.Workspace)
		s.setWorkspaceLimits(w, m.Limits)
		s.reindex(w)
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

// shut tells whether ordinary waiters of the workspace are not served: it is paused,
// or somebody is alone with it or waits for that.
func (w *workspace) shut() bool {
	return w.Paused || w.exclusive.size > 0 || w.alone
}

// waiting is how many wait for a connection of it.
func (w *workspace) waiting() int { return w.queue.size + w.batchQueue.size + w.exclusive.size }

// waiting is how many wait for a connection of any workspace.
func (s *State) waiting() int { return s.queue.size + s.batchQueue.size }

// stale tells whether the connection was dialed before a Renew or Pause of its workspace.
func (c *conn) stale() bool { return c.ID <= c.workspace.Renewed }

// lookup returns the workspace's entry, and makes one if there is none.
func (s *State) lookup(id model.WorkspaceID) *workspace {
	w := s.workspaces[id]
	if w == nil {
		w = &workspace{workspaceFacts: workspaceFacts{ID: id, LastUsed: s.now}}
		w.listed.item = w
		s.workspaces[id] = w
	}
	return w
}

// reindex keeps what is derived from a workspace true. It is called after each
// change to the workspace's connections, waiters, pause or back-off.
func (s *State) reindex(w *workspace) {
	s.updateNeed(w)
	s.retire(w)
}

// retire moves a workspace in or out of the list of those that are only
// remembered, and forgets the one inactive the longest when there are too many.
func (s *State) retire(w *workspace) {
	active := w.open() > 0 || w.waiting() > 0 || w.Paused
	switch {
	case active:
		w.listed.remove()
	case w.listed.in == nil:
		s.retired.pushBack(&w.listed)
		if s.retired.size > maxRetired {
			oldest := s.retired.head
			oldest.remove()
			delete(s.workspaces, oldest.item.ID)
		}
	}
}

// addConn files a connection, which holds a slot from now on.
func (s *State) addConn(f connFacts, w *workspace) *conn {
	c := &conn{connFacts: f, workspace: w}
	c.listed.item = c
	s.conns[c.ID] = c
	s.count(c, 1)
	return c
}

// find returns the connection that a message is about, if it is in that state and, in
// use, on that lease. Otherwise the message is stale.
func (s *State) find(id ConnID, state connState, lease LeaseID) *conn {
	c := s.conns[id]
	if c == nil || c.State != state || state == inUse && c.Lease != lease {
		s.counters.StaleMessages++
		return nil
	}
	return c
}

// move changes a connection's state and the counts with it.
func (s *State) move(c *conn, to connState) {
	s.count(c, -1)
	c.State = to
	s.count(c, 1)
}

// count keeps the counts (I1, I2, I13).
func (s *State) count(c *conn, by int) {
	s.counts[c.State] += by
	c.workspace.counts[c.State] += by
	if c.Batch {
		s.batch[c.State] += by
	}
}

// Known is how many workspaces are remembered: the active and paused ones, and
// a bounded number of others.
func (s *State) Known() int { return len(s.workspaces) }
