package actor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Supervisor lends connections. Its methods may be called from any goroutine.
type Supervisor struct {
	mailbox chan envelope
	stopped chan struct{} // closed when the loop has ended

	lastLease atomic.Uint64
	lastOp    atomic.Uint64
	replies   sync.Pool // of chan reply; see takeReply
	start     time.Time // what the core's times count from
	shares    []*share

	loop loop
}

// loop is what only the supervisor's goroutine touches.
type loop struct {
	timer    *time.Timer
	timerAt  time.Duration
	draining int // how many shares were told to drain
	busy     time.Duration
	askedAt  time.Duration // when Stats last reset busy
	wokeAt   time.Duration
	watchers map[*watcher]bool
}

// share is a budget with its connections and the callers that wait for it. Only
// the supervisor's goroutine touches it.
type share struct {
	state  *model.State
	dialer Dialer
	system bool
	// dialing is done when the share begins to drain: nobody waits for those
	// dials any more.
	dialing   context.Context
	stopDials context.CancelFunc
	// conns holds the connections from their DialSucceeded (or DialFailed with
	// a slot held) to their Close.
	conns map[model.ConnID]Conn
	// waiting holds who gets the answer to an Acquire.
	waiting map[model.LeaseID]chan<- reply
	// operations holds who gets the answer to an Evict or a Pause.
	operations map[model.OperationID]chan<- int
	wakeAt     time.Duration
	drained    bool

	waits, dialTimes model.Histogram
}

// mailboxSize lets senders go on while the loop is busy; nothing depends on it.
const mailboxSize = 256

// Start starts a supervisor for the shares, which must have sensible limits.
// The caller ends it with Drain.
func Start(shares ...Share) *Supervisor {
	s := &Supervisor{
		mailbox: make(chan envelope, mailboxSize),
		stopped: make(chan struct{}),
		start:   time.Now(),
	}
	for _, sh := range shares {
		dialing, stopDials := context.WithCancel(context.Background())
		s.shares = append(s.shares, &share{
			dialing:    dialing,
			stopDials:  stopDials,
			state:      model.NewState(sh.Limits),
			dialer:     sh.Dialer,
			system:     sh.System,
			conns:      make(map[model.ConnID]Conn),
			waiting:    make(map[model.LeaseID]chan<- reply),
			operations: make(map[model.OperationID]chan<- int),
			wakeAt:     model.Never,
		})
	}
	s.loop.watchers = make(map[*watcher]bool)
	s.loop.timer = time.NewTimer(model.Never)
	s.loop.timerAt = model.Never
	go s.run()
	return s
}

// now is the core's time.
func (s *Supervisor) now() time.Duration { return time.Since(s.start) }

func (s *Supervisor) run() {
	defer close(s.stopped)
	defer s.closeWatchers()
	defer s.loop.timer.Stop()
	for !s.drained() {
		select {
		case e := <-s.mailbox:
			s.loop.wokeAt = s.now()
			s.receive(e)
			s.receiveMore()
		case <-s.loop.timer.C:
			s.loop.wokeAt = s.now()
			s.loop.timerAt = model.Never
			for _, sh := range s.shares {
				s.step(sh, model.Tick{})
			}
		}
		s.setTimer()
		s.loop.busy += s.now() - s.loop.wokeAt
	}
}

// receiveMore takes what has already arrived, before the clock is read again to
// account for the time.
func (s *Supervisor) receiveMore() {
	for range mailboxSize {
		select {
		case e := <-s.mailbox:
			s.receive(e)
		default:
			return
		}
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

// step tells a share's core a message and carries out what it decides.
func (s *Supervisor) step(sh *share, m model.Message) {
	for _, effect := range sh.state.Step(s.now(), m) {
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
		s.step(sh, model.Drain{})
	}
}

// setTimer sets the one timer to the earliest tick that a share asked for.
func (s *Supervisor) setTimer() {
	at := model.Never
	for _, sh := range s.shares {
		at = min(at, sh.wakeAt)
	}
	if at == s.loop.timerAt {
		return
	}
	s.loop.timerAt = at
	if at == model.Never {
		s.loop.timer.Stop()
		return
	}
	s.loop.timer.Reset(max(0, at-s.now()))
}
