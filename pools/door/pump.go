package door

import (
	"sync/atomic"
	"time"

	"github.com/tenantpool/tenantpool/pools"
)

// pump gives the client what the server sends, while the session's own goroutine waits for
// what the client sends. As a rule there is none: a client sends a batch, the server
// answers, and one goroutine does both. It takes two when both sides may send at once (COPY,
// Flush, what is larger than a buffer, notifications), and when either is silent for long,
// because the other may be gone.
//
// The session belongs to whoever has the turn. Nobody holds it while he reads or writes, so
// that neither side ever waits for the other. Only the pump writes to the client as long as
// it runs.
type pump struct {
	turn   chan struct{} // has room for one: who puts something in has the turn
	ending atomic.Bool   // nothing more comes from the pump
	ended  chan struct{} // closed by the pump, soon after
	err    error         // once ended
	stop   atomic.Bool   // the session ends
	// settled is told once, to a session that waits for it, that the server has answered
	// everything but what has no Sync yet.
	settled chan struct{}
}

// startPump begins to watch both sides.
func (s *session) startPump() {
	s.pump = &pump{turn: make(chan struct{}, 1), ended: make(chan struct{}), settled: make(chan struct{})}
	_ = s.lease.wire.SetReadDeadline(time.Time{})
	go s.pump.run(s)
}

// over tells whether the pump has come to its end.
func (p *pump) over() bool {
	if !p.ending.Load() {
		return false
	}
	<-p.ended
	return true
}

// takeTurn is false if there is no pump any more: then nobody else has the session.
func (p *pump) takeTurn() bool {
	select {
	case p.turn <- struct{}{}:
		return true
	case <-p.ended:
		return false
	}
}

func (p *pump) run(s *session) {
	p.err = p.relay(s)
	p.ending.Store(true)
	_ = s.in.SetReadDeadline(time.Now()) // the session may wait for the client
	close(p.ended)
}

func (p *pump) relay(s *session) error {
	l := s.lease
	// What came with the answer to a question of the door's own is the client's, too.
	for pending := l.in.len() > 0; ; pending = false {
		var came error
		if !pending {
			came = l.in.fill(l.wire, l.need)
		}
		if p.stop.Load() {
			return errEnded
		}
		if came != nil && !pools.TimedOut(came) {
			return s.serverGone(came)
		}
		if came != nil {
			_ = l.wire.SetReadDeadline(time.Time{}) // somebody wants it to look
		}
		p.turn <- struct{}{}
		forward, err := l.answer()
		<-p.turn
		if err != nil {
			return s.serverGone(err)
		}
		if err := s.toClient(forward); err != nil {
			return err
		}
		p.turn <- struct{}{}
		if s.alone() {
			return nil // and keeps the turn: with it nobody has sent anything meanwhile
		}
		settled := s.settling && l.unsynced && l.ready == 0
		<-p.turn
		if settled {
			p.settled <- struct{}{}
		}
	}
}

// whole tells whether the server was not sent a part of a message only. CopyData may be under
// way when its COPY has failed and the server is ready: whatever came next on the connection
// would be taken for the rest of it.
func (s *session) whole() bool { return s.from.passing == 0 }

// alone tells whether the session needs no pump: nothing is to come from the server that
// it will not wait for.
func (s *session) alone() bool {
	l := s.lease
	return l.quiet() && s.whole() && (l.status == statusIdle || s.settling) && l.in.len() == 0 &&
		(!s.listening || l.effects != 0 || s.settling)
}
