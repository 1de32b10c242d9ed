package door

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/jackc/pgerrcode"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/socket"
)

// session serves one client that is logged in. Its goroutine owns it, but for the time in
// which there is a pump: then both take turns (see pump.go).
type session struct {
	door    *Door
	in      *login
	me      *client
	id      model.WorkspaceID
	pooling Pooling

	stream *socket.Socket // in's
	from   inbox          // what the client has sent
	need   int            // how many bytes the next message has, if it is not whole
	drop   int            // how many bytes of a message are still to come that nobody wants
	out    []byte         // what the server is to be sent
	// skipping: after an error without a server, up to the client's next Sync.
	skipping bool
	// named are the client's prepared statements, and unnamed the one without a name.
	named   map[string]*prepared
	unnamed *prepared
	// wanted are its settings; begins those that it has begun with.
	wanted, begins *settings
	// customs are those of them for which a server has to be asked by name.
	customs customs
	// reported is what the client knows of its settings.
	reported reported

	lease *lease
	// pinned: the server session has something of the client's that cannot be carried over,
	// so that the lease outlives its transaction. listening: notifications may come.
	pinned, listening bool
	// late: the rest of a message was sent after the server was ready.
	late bool
	// settling: the session waits until the server has answered everything.
	settling bool
	gate     gate
	pump     *pump
	alarm    alarm
}

// errEnded: the session is over, as the client, the operator or the door wanted.
var errEnded = errors.New("the session has ended")

// outKept is how much room for what is to be sent a client keeps while it is idle.
const outKept = 512

// watchAfter is how long a client with a connection, or its server, may be silent before
// both are watched at once.
const watchAfter = 100 * time.Millisecond

// serve runs until the client or the door ends the session.
func (s *session) serve() {
	err := s.run()
	s.leave(err)
}

func (s *session) run() error {
	for {
		step, err := s.forward()
		if err == nil {
			switch step {
			case stepReceive:
				err = s.receive()
			case stepSend:
				err = s.send()
			case stepSettle:
				err = s.settle()
			}
		}
		if err == nil {
			err = s.finish()
		}
		if err != nil {
			return err
		}
	}
}

// receive waits for more of what the client sends.
func (s *session) receive() error {
	if s.lease == nil {
		return s.receiveIdle()
	}
	if s.pump == nil {
		s.alarm.set(s.in)
		err := s.from.fill(s.stream, s.need)
		s.alarm.off()
		if pools.TimedOut(err) {
			s.startPump()
			return nil
		}
		return err
	}
	if limit := s.door.options.IdleTransactionTimeout; limit > 0 {
		_ = s.in.SetReadDeadline(time.Now().Add(limit))
	}
	err := s.from.fill(s.stream, s.need)
	if err == nil {
		return s.woken()
	}
	if !pools.TimedOut(err) {
		return err
	}
	if limit := s.door.options.IdleTransactionTimeout; limit > 0 && s.idleInTransaction() {
		return s.fatal(fatal(pgerrcode.IdleInTransactionSessionTimeout, "the client was idle in a transaction for too long (IdleTransactionTimeout)"))
	}
	return s.woken()
}

// woken clears the deadline that has ended a wait, or may end the next one.
func (s *session) woken() error {
	_ = s.in.SetReadDeadline(time.Time{})
	return nil
}

// receiveIdle waits without a server and, as a rule, without a buffer.
func (s *session) receiveIdle() error {
	if why := s.me.ending.Load(); why != nil && s.from.len() == 0 {
		return s.fatal(why)
	}
	limit := s.door.options.ClientIdleTimeout
	if limit > 0 {
		_ = s.in.SetReadDeadline(time.Now().Add(limit))
	}
	var err error
	if s.from.len() == 0 && s.drop == 0 {
		s.from.Rest()
		if cap(s.out) > outKept {
			s.out = nil
		}
		err = s.from.await(s.stream)
	} else {
		err = s.from.fill(s.stream, s.need)
	}
	if !pools.TimedOut(err) {
		return err
	}
	_ = s.in.SetReadDeadline(time.Time{})
	if why := s.me.ending.Load(); why != nil {
		return s.fatal(why)
	}
	if limit > 0 {
		return s.fatal(fatal(pgerrcode.IdleSessionTimeout, "the client was idle for too long (ClientIdleTimeout)"))
	}
	return nil
}

// send sends the server what is to be sent, and has the answers come.
func (s *session) send() error {
	l := s.lease
	if l == nil {
		return nil
	}
	if err := s.joinPump(); err != nil {
		return err
	}
	if len(s.out) > 0 {
		if _, err := l.wire.Write(s.out); err != nil {
			return s.serverGone(err)
		}
		s.me.place.fromClients.Add(uint64(len(s.out)))
		s.out = s.out[:0]
	}
	switch {
	case s.pump != nil:
		if s.late {
			s.late = false
			_ = l.wire.SetReadDeadline(time.Now()) // so that the pump looks whether that was all
		}
		return nil
	case !s.whole() || l.flushed || l.copying:
		s.startPump()
		return nil
	case l.ready > 0:
		if err := s.answers(); err != nil {
			return err
		}
		if l.ready > 0 {
			s.startPump()
		}
	}
	return nil
}

// answers gives the client what the server answers, until it is ready for the next query.
func (s *session) answers() error {
	l := s.lease
	s.alarm.set(l.wire)
	defer s.alarm.off()
	for l.ready > 0 && !l.copying {
		err := l.in.fill(l.wire, l.need)
		if pools.TimedOut(err) {
			break
		}
		if err != nil {
			return s.serverGone(err)
		}
		forward, err := l.answer()
		if err != nil {
			return s.serverGone(err)
		}
		if err := s.toClient(forward); err != nil {
			return err
		}
	}
	return nil
}

// toClient gives the client what a server has sent.
func (s *session) toClient(answers []byte) error {
	if len(answers) == 0 {
		return nil
	}
	s.me.place.fromServers.Add(uint64(len(answers)))
	_, err := s.stream.Write(answers)
	return err
}

// settle waits until the server has answered everything.
func (s *session) settle() error {
	if err := s.send(); err != nil {
		return err
	}
	if s.pump == nil || !s.pump.takeTurn() {
		return nil
	}
	s.settling = true
	<-s.pump.turn
	_ = s.lease.wire.SetReadDeadline(time.Now()) // so that it looks
	select {
	case <-s.pump.ended:
	case <-s.pump.settled:
	}
	s.settling = false // the pump is at an end, or looks at it no more
	return nil
}

// joinPump takes the session back from a pump that has come to its end.
func (s *session) joinPump() error {
	if s.pump == nil || !s.pump.over() {
		return nil
	}
	err := s.pump.err
	s.pump = nil
	_ = s.in.SetReadDeadline(time.Time{})
	_ = s.lease.wire.SetReadDeadline(time.Time{})
	return err
}

// finish gives the connection back if the transaction is over.
func (s *session) finish() error {
	l := s.lease
	if l == nil {
		return nil
	}
	if err := s.joinPump(); err != nil || s.pump != nil {
		return err
	}
	if !l.quiet() || !s.whole() || len(s.out) > 0 || l.status != statusIdle {
		return nil
	}
	if l.used {
		s.me.place.transactions.Add(1)
		s.me.place.queryTime.Add(int64(l.worked))
		if l.failed > 0 {
			s.me.place.errors.Add(l.failed)
		}
		l.used, l.worked, l.failed = false, 0, 0
	}
	if err := s.tidy(); err != nil {
		return s.serverGone(err)
	}
	if len(l.late) > 0 {
		if err := s.toClient(l.late); err != nil {
			return err
		}
		l.late = nil
	}
	if s.pooling == SessionPooling || s.pinned {
		s.me.enter(clientPinned)
		if s.listening && s.from.len() == 0 { // else it would be in the way of what it sent
			s.startPump()
		}
		return nil
	}
	s.release(true)
	return nil
}

// serverGone ends the session because its connection has failed. What the server said
// about it, the client has.
func (s *session) serverGone(err error) error {
	if errors.Is(err, errEnded) {
		return err
	}
	if s.lease != nil {
		s.lease.broken = true
		if s.lease.farewell {
			return errEnded // the client has read why
		}
	}
	message := "the server or the network ended the connection, and the transaction may have been carried out; check before you send it again"
	if errors.Is(err, errServerProtocol) {
		message = err.Error()
	}
	return s.fatal(fatal(pgerrcode.ConnectionFailure, message))
}

// leave ends it: what the client has begun is undone.
func (s *session) leave(err error) {
	if s.pump != nil {
		s.pump.stop.Store(true)
		if s.lease != nil {
			_ = s.lease.wire.SetReadDeadline(time.Now())
		}
		_ = s.in.SetWriteDeadline(time.Now())
		<-s.pump.ended
		s.pump = nil
	}
	if s.lease != nil {
		s.abandon()
	}
	if err != nil && !errors.Is(err, errEnded) && !errors.Is(err, io.EOF) {
		s.door.log.Debug("A client is gone", "client", s.me.id, "user", s.me.user, "error", err.Error())
	}
}

// abandon gives the connection back whose client is gone: as it was, if the server can be
// brought there within a moment.
func (s *session) abandon() {
	l := s.lease
	within := time.Now().Add(abandonWithin)
	if !l.broken && !l.quiet() && l.ready > 0 && !l.copying && len(s.out) == 0 && s.whole() {
		ctx, stop := context.WithDeadline(context.Background(), within)
		_ = l.wire.Cancel(ctx)
		stop()
		_ = l.wire.SetReadDeadline(within)
		for l.ready > 0 {
			if l.in.fill(l.wire, l.need) != nil {
				break
			}
			if _, err := l.answer(); err != nil {
				break
			}
		}
	}
	if !s.whole() || len(s.out) > 0 {
		l.wire.Cut()
	}
	quiet := !l.broken && l.quiet() && s.whole() && len(s.out) == 0
	if quiet && l.status != statusIdle {
		_, err := l.ask("ROLLBACK")
		quiet = err == nil && l.status == statusIdle
	}
	if quiet && (s.pinned || s.pooling == SessionPooling || (l.effects|l.kept)&(sets|pins|unknown) != 0) {
		quiet = l.reset() == nil
		s.me.place.resets.Add(1)
	}
	s.release(quiet)
}

// abandonWithin bounds how long a connection whose client is gone is kept busy for its sake.
const abandonWithin = 500 * time.Millisecond

// effectsOf is what a statement of the client's may leave in its session.
func (s *session) effectsOf(sql string) (does effects) {
	does, s.customs = s.customs.effectsOf(sql)
	return does
}

func (s *session) idleInTransaction() bool {
	if !s.pump.takeTurn() {
		return false
	}
	defer func() { <-s.pump.turn }()
	return s.lease.quiet() && s.lease.status != statusIdle
}
