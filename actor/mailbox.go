package actor

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// envelope is what the mailbox holds: a message for one share's core with what
// the core does not see, or a request to the supervisor itself.
type envelope struct {
	share   *share
	message model.Message
	request request // instead of a share and a message

	dialed    *dialed      // with DialSucceeded and DialFailed
	reply     chan<- reply // with Acquire
	operation chan<- int   // with Evict and Pause: gets the number closed
}

// dialed is what a dial came to. A failed one may leave a connection.
type dialed struct {
	conn      Conn
	workspace model.WorkspaceID
	took      time.Duration
}

// request is what is asked of the supervisor itself, and not of one core. It is
// carried out by the supervisor's goroutine, and answers into a channel with room.
type request interface{ carryOut(*Supervisor) }

// reply answers an Acquire.
type reply struct {
	err   error
	lease Lease
}

// Stats is a copy of the state of all shares at one moment.
type Stats struct {
	Shares []model.BudgetStats
	// Saturation is which part of the time since the last Stats the supervisor
	// was busy, from 0 to 1.
	Saturation float64
}

// send puts an envelope in the mailbox. It reports false when the supervisor has
// stopped; then there are no connections, leases or waiters left.
func (s *Supervisor) send(e envelope) bool {
	select {
	case s.mailbox <- e:
		return true
	case <-s.stopped:
		return false
	}
}

// receive is the loop's side of send.
func (s *Supervisor) receive(e envelope) {
	if e.request != nil {
		e.request.carryOut(s)
		return
	}
	sh := e.share
	switch m := e.message.(type) {
	case model.Acquire:
		sh.waiting[m.Lease] = e.reply
	case model.DialSucceeded:
		sh.conns[m.Conn] = e.dialed.conn
		sh.dialTimes.Observe(e.dialed.took)
		s.noteDial(sh, e.dialed, nil)
	case model.DialFailed:
		if m.SlotHeld {
			sh.conns[m.Conn] = e.dialed.conn
		}
		s.noteDial(sh, e.dialed, m.Err)
	case model.Evict:
		sh.operations[m.Operation] = e.operation
	case model.Pause:
		sh.operations[m.Operation] = e.operation
		s.notePause(sh, m.Workspace, true)
	}
	s.step(sh, e.message)
}

type statsRequest struct{ answer chan<- Stats }

func (r statsRequest) carryOut(s *Supervisor) { r.answer <- s.stats() }

func (s *Supervisor) stats() Stats {
	now := s.now()
	st := Stats{Shares: make([]model.BudgetStats, len(s.shares))}
	for i, sh := range s.shares {
		st.Shares[i] = sh.state.Stats(now)
		st.Shares[i].Waits, st.Shares[i].DialTimes = sh.waits, sh.dialTimes
	}
	if busy, over := s.loop.busy+now-s.loop.wokeAt, now-s.loop.askedAt; over > 0 {
		st.Saturation = min(1, busy.Seconds()/over.Seconds())
	}
	s.loop.busy, s.loop.askedAt, s.loop.wokeAt = 0, now, now
	return st
}
