package actor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Supervisor lends connections. Its methods may be called from any goroutine.
type Supervisor struct {
	// mailbox is how everything reaches the loop. Whoever sends is received, unless the
	// loop has ended.
	mailbox chan request
	// stopped is closed when the loop has ended: then there is no connection, lease or
	// waiter left.
	stopped chan struct{}
	// start is what the core's times count from.
	start time.Time
	// shares never change; each says which of its fields are the loop's.
	shares []*share

	// lastLease is the id given out last.
	lastLease atomic.Uint64
	// calls are those of Acquires that were answered, to be used again; see takeCall.
	calls sync.Pool

	loop loop
}

// loop is what only the supervisor's goroutine touches.
type loop struct {
	// now is the core's time. It is read once for several requests, and never goes back.
	now time.Duration
	// timer asks for a tick at timerAt, which may be Never.
	timer   *time.Timer
	timerAt time.Duration
	// draining is how many shares were told to drain, from the first one on.
	draining int
	// received counts requests.
	received uint64
	// lastOperation is the id given out last.
	lastOperation core.OperationID
	// busy is how long the loop has worked since statsAt, when Stats last asked, but
	// for the work under way since wokeAt.
	busy            time.Duration
	statsAt, wokeAt time.Duration
	// watchers are told of events.
	watchers map[*watcher]bool
	// asking is the call whose Acquire the core is being told, or nil.
	asking *call
}

// share is a budget with its connections and the callers that wait for it.
type share struct {
	// supervisor, dialer and system never change.
	supervisor *Supervisor
	dialer     Dialer
	system     bool
	// directory finds the seats of a workspace, from any goroutine.
	directory *directory
	// short is up while the core is short of a slot: then the supervisor must be told of
	// every connection that comes free, whose ever it is. Only the loop changes it.
	short atomic.Bool
	// sampling is what is recorded of the traffic. Only the loop changes it.
	sampling atomic.Uint64
	// paused is how many workspaces are. Only the loop changes it.
	paused atomic.Int64
	// room is what the slots' logs may still grow by. Any slot's owner may take of it.
	room room

	// Only the supervisor's goroutine touches what follows.

	// state decides.
	state *core.State
	// recorder keeps what state was told of late.
	recorder recorder
	// lifetimes are the limits of the beginning, of which a connection's lifetime is
	// made; perWorkspace is the cap of now.
	lifetimes    model.Limits
	perWorkspace int
	// dialing is done when the share begins to drain: nobody waits for those
	// dials any more.
	dialing   context.Context
	stopDials context.CancelFunc
	// slots are the connections from the end of their dial to their Close.
	slots map[core.ConnID]*slot
	// leased are the slots that the core has on a lease, in no order: each is in
	// somebody's hands, in a seat, or in the mailbox on its way home.
	leased []*slot
	// oldest is the lease that was the oldest when it was last looked for.
	oldest Lease
	// seatHits are the acquires that found a connection in a seat, as far as counted.
	seatHits uint64
	// recallAt is when the seats are emptied, every recallEvery, or Never.
	recallAt, recallEvery time.Duration
	// operations hold who gets the answer to an Evict, a Renew or a Pause.
	operations map[core.OperationID]chan<- int
	// wakeAt is when the core wants a Tick, or Never.
	wakeAt time.Duration
	// drained: the core has no connection left and will get none.
	drained bool

	waits, dialTimes model.Histogram
	usage            *usage
	notes            notes
}

// Start starts a supervisor for the shares, which must have sensible limits.
// The caller ends it with Drain.
func Start(shares ...Share) *Supervisor {
	s := &Supervisor{
		mailbox: make(chan request, mailboxSize),
		stopped: make(chan struct{}),
		start:   time.Now().Add(-1), // no time is 0, which a Release takes for now
	}
	for _, sh := range shares {
		dialing, stopDials := context.WithCancel(context.Background())
		state := core.NewState(sh.Limits)
		next := &share{
			supervisor:   s,
			directory:    newDirectory(),
			dialing:      dialing,
			stopDials:    stopDials,
			state:        state,
			recorder:     recorder{current: newGeneration(state, nil)},
			dialer:       sh.Dialer,
			system:       sh.System,
			lifetimes:    sh.Limits,
			perWorkspace: sh.Limits.PerWorkspace,
			slots:        make(map[core.ConnID]*slot),
			recallAt:     core.Never,
			recallEvery:  recallEvery(sh.Limits),
			operations:   make(map[core.OperationID]chan<- int),
			wakeAt:       core.Never,
			usage:        newUsage(),
		}
		next.room.left.Store(mostHits)
		s.shares = append(s.shares, next)
	}
	s.loop.watchers = make(map[*watcher]bool)
	s.loop.timer = time.AfterFunc(core.Never, func() { s.send(do(s.tick)) })
	s.loop.timerAt = core.Never
	go s.run()
	return s
}

// now is the core's time.
func (s *Supervisor) now() time.Duration { return time.Since(s.start) }

func (s *Supervisor) run() {
	defer close(s.stopped)
	defer s.closeWatchers()
	defer s.loop.timer.Stop()
	s.loop.now = s.now()
	s.loop.wokeAt = s.loop.now
	for !s.drained() {
		s.next().carryOut(s)
		for _, sh := range s.shares {
			s.reclaim(sh)
		}
	}
}

// atOnce is how much is received before the clock is read again: it takes some ten
// microseconds.
const atOnce = 32

// next blocks for the next request.
func (s *Supervisor) next() request {
	select {
	case r := <-s.mailbox:
		if s.loop.received++; s.loop.received%atOnce == 0 {
			s.setTimer()
			s.loop.now = s.now()
		}
		return r
	default:
	}
	s.setTimer()
	s.loop.busy += s.now() - s.loop.wokeAt
	r := <-s.mailbox
	s.loop.now = s.now()
	s.loop.wokeAt = s.loop.now
	return r
}

// tick is what the timer asks for.
func (s *Supervisor) tick() {
	s.loop.timerAt = core.Never
	for _, sh := range s.shares {
		if sh.recallAt <= s.loop.now {
			sh.recallAt = core.Never // setTimer sets the next one
			s.recallAll(sh)
		}
		s.tell(sh, core.Tick{})
	}
}

// drained tells whether the last share is empty. The others were so before it.
func (s *Supervisor) drained() bool { return len(s.shares) == 0 || s.shares[len(s.shares)-1].drained }

// tell tells a share's core a message and carries out what it decides.
func (s *Supervisor) tell(sh *share, m core.Message) { s.step(sh, core.Entry{Other: m}) }

// step is tell without memory for an Acquire or a Release.
func (s *Supervisor) step(sh *share, e core.Entry) {
	e.At = s.loop.now
	sh.recorder.note(sh.state, e)
	for _, effect := range sh.state.Step(e.At, e.Message()) {
		s.carryOut(sh, effect)
	}
	if sh.drained {
		s.drainNext()
	}
}

// setTimer sets the one timer to the earliest tick that a share asked for.
func (s *Supervisor) setTimer() {
	at := core.Never
	for _, sh := range s.shares {
		if sh.recallAt == core.Never && len(sh.leased) > 0 && sh.hasSeats() {
			sh.recallAt = s.loop.now + sh.recallEvery
		}
		at = min(at, sh.wakeAt, sh.recallAt)
	}
	if at == s.loop.timerAt {
		return
	}
	s.loop.timerAt = at
	if at == core.Never {
		s.loop.timer.Stop()
		return
	}
	s.loop.timer.Reset(max(0, at-s.loop.now))
}
