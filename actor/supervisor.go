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
	mailbox chan request
	stopped chan struct{} // closed when the loop has ended

	lastLease atomic.Uint64
	lastOp    atomic.Uint64
	calls     sync.Pool // of *call; see takeCall
	start     time.Time // what the core's times count from
	shares    []*share

	loop loop
}

// loop is what only the supervisor's goroutine touches.
type loop struct {
	timer    *time.Timer // sends a tickRequest
	timerAt  time.Duration
	draining int           // how many shares were told to drain
	now      time.Duration // the core's time; read once for several requests
	received uint64
	busy     time.Duration
	askedAt  time.Duration // when Stats last reset busy
	wokeAt   time.Duration
	watchers map[*watcher]bool
}

// share is a budget with its connections and the callers that wait for it.
type share struct {
	supervisor *Supervisor
	directory  *directory // of the seats
	// short is up while a slot is wanted: then the supervisor must be told of every
	// connection that comes free, whose ever it is.
	short atomic.Bool
	// paused is how many workspaces are; only the supervisor changes it.
	paused atomic.Int64

	// Only the supervisor's goroutine touches what follows.
	state    *core.State
	recorder recorder // of what state is told
	dialer   Dialer
	system   bool // never changes
	// lifetimes are the limits that model.Lifetime asks for.
	lifetimes    model.Limits
	perWorkspace int
	// dialing is done when the share begins to drain: nobody waits for those
	// dials any more.
	dialing   context.Context
	stopDials context.CancelFunc
	// slots holds the connections from their DialSucceeded (or DialFailed with
	// a slot held) to their Close.
	slots map[core.ConnID]*slot
	// leased are the slots that the core has on a lease, in no order: each is in
	// somebody's hands or in a seat.
	leased []*slot
	// oldest is the oldest lease, if it has not ended.
	oldest Lease
	// seatHits are the acquires that found a connection in a seat, as far as counted.
	seatHits uint64
	// recallAt is when the seats are emptied, every recallEvery, or Never.
	recallAt, recallEvery time.Duration
	// operations holds who gets the answer to an Evict, a Renew or a Pause.
	operations map[core.OperationID]chan<- int
	wakeAt     time.Duration
	drained    bool

	waits, dialTimes model.Histogram
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
		s.shares = append(s.shares, &share{
			supervisor:   s,
			directory:    newDirectory(),
			dialing:      dialing,
			stopDials:    stopDials,
			state:        state,
			recorder:     newRecorder(state),
			dialer:       sh.Dialer,
			system:       sh.System,
			lifetimes:    sh.Limits,
			perWorkspace: sh.Limits.PerWorkspace,
			slots:        make(map[core.ConnID]*slot),
			recallAt:     core.Never,
			recallEvery:  recallEvery(sh.Limits),
			operations:   make(map[core.OperationID]chan<- int),
			wakeAt:       core.Never,
		})
	}
	s.loop.watchers = make(map[*watcher]bool)
	s.loop.timer = time.AfterFunc(core.Never, func() { s.send(tickRequest{}) })
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
		s.receive(s.next())
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

// tickRequest is what the timer sends.
type tickRequest struct{}

func (tickRequest) carryOut(s *Supervisor) {
	s.loop.timerAt = core.Never
	for _, sh := range s.shares {
		if sh.recallAt <= s.loop.now {
			sh.recallAt = core.Never // setTimer sets the next one
			s.recallAll(sh)
		}
		s.tell(sh, core.Tick{})
	}
}

func (s *Supervisor) drained() bool {
	for _, sh := range s.shares {
		if !sh.drained {
			return false
		}
	}
	return true
}

// tell tells a share's core a message and carries out what it decides.
func (s *Supervisor) tell(sh *share, m core.Message) {
	sh.recorder.note(s.loop.now, sh.state, m)
	for _, effect := range sh.state.Step(s.loop.now, m) {
		s.carryOut(sh, effect)
	}
	if sh.drained {
		s.drainNext()
	}
}

type drainRequest struct{}

func (drainRequest) carryOut(s *Supervisor) {
	if s.loop.draining == 0 {
		s.publish(func() model.Event { return model.Event{Kind: model.EventDraining} })
		s.drainNext()
	}
}

// drainNext starts to drain the first share that is not empty yet.
func (s *Supervisor) drainNext() {
	for s.loop.draining < len(s.shares) {
		if s.loop.draining > 0 && !s.shares[s.loop.draining-1].drained {
			return
		}
		sh := s.shares[s.loop.draining]
		s.loop.draining++
		sh.stopDials()
		sh.short.Store(true) // and never lowered: the core stays short
		s.recallAll(sh)
		s.tell(sh, core.Drain{})
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
