package door

import (
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// step is what is to be done next about what a client has sent.
type step uint8

const (
	stepReceive step = iota // wait for more
	stepSend                // send it, and have the answers come
	stepSettle              // that, and wait until the server has answered everything
)

// textAtMost bounds a statement's text, which is in memory as a whole.
const textAtMost = 256 << 20

// forward handles what the client has sent, as far as it is whole.
func (s *session) forward() (step, error) {
	if s.pump != nil && s.pump.takeTurn() {
		defer func(p *pump) { <-p.turn }(s.pump)
	}
	for {
		if s.from.passing > 0 {
			s.out = append(s.out, s.from.pass()...)
			if s.from.passing > 0 {
				return s.enough(), nil
			}
			s.late = s.lease != nil && s.lease.quiet()
		}
		if s.drop > 0 {
			s.consume(s.drop)
			if s.drop > 0 {
				return s.enough(), nil
			}
		}
		kind, size := s.from.next()
		if size < 0 {
			return 0, s.fatal(fatal(pgerrcode.ProtocolViolation, errClientProtocol.Error()))
		}
		s.need = size
		if size == 0 || size > s.from.len() && !s.streams(kind) {
			if size > textAtMost {
				return 0, s.fatal(fatal(pgerrcode.ProgramLimitExceeded, fmt.Sprintf("a message of %d bytes: the door takes %d at most", size, textAtMost)))
			}
			return s.enough(), nil
		}
		if len(s.out) >= bufferSize {
			return stepSend, nil
		}
		again, err := s.message(kind, size)
		if err != nil {
			return 0, err
		}
		if again != stepReceive {
			return again, nil
		}
	}
}

// enough tells what to do when the next message is not whole.
func (s *session) enough() step {
	l := s.lease
	if l != nil && (len(s.out) >= bufferSize || (len(s.out) > 0 && (l.ready > 0 || l.flushed || l.copying || s.from.passing > 0 || l.quiet()))) {
		return stepSend
	}
	return stepReceive
}

// streams tells whether a message of this kind need not be whole: what the door wants to
// know is at its beginning.
func (s *session) streams(kind byte) bool {
	switch kind {
	case msgCopyData, msgFunction:
		return true
	case msgBind:
		body := s.from.body(s.need)
		_, rest, ok := cutString(body)
		_, _, ok2 := cutString(rest)
		return ok && ok2
	}
	return false
}

// consume takes a message, or as much as is there of it; the rest is not wanted.
func (s *session) consume(size int) {
	n := min(size, s.from.len())
	s.from.r += n
	s.drop = size - n
}

// relay sends a message on as it is.
func (s *session) relay(size int) {
	n := min(size, s.from.len())
	s.out = append(s.out, s.from.buf[s.from.r:s.from.r+n]...)
	s.from.r += n
	s.from.passing = size - n
}

// message handles one. Another step than stepReceive: the message stays until that is done.
func (s *session) message(kind byte, size int) (step, error) {
	if kind == msgTerminate {
		return 0, errEnded
	}
	if s.skipping {
		if kind == msgSync {
			s.skipping = false
			s.consume(size)
			return 0, s.write(appendReady(nil, statusIdle))
		}
		s.consume(size)
		return 0, nil
	}
	switch kind {
	case msgQuery:
		return s.query(size)
	case msgFunction:
		return 0, s.function(size)
	case msgParse:
		return s.parse(size)
	case msgBind:
		return s.bind(size)
	case msgDescribe:
		return s.describe(size)
	case msgClose:
		return 0, s.close(size)
	case msgExecute:
		return 0, s.execute(size)
	case msgSync, msgFlush:
		return 0, s.sync(kind, size)
	case msgCopyData, msgCopyDone, msgCopyFail:
		s.copy(kind, size)
		return 0, nil
	}
	return 0, s.fatal(fatal(pgerrcode.ProtocolViolation, fmt.Sprintf("message %q is none that a client sends here", kind)))
}

// query is the simple protocol's.
func (s *session) query(size int) (step, error) {
	body := s.from.body(size)
	if len(body) == 0 || body[len(body)-1] != 0 {
		return 0, s.malformed(msgQuery)
	}
	sql := text(body[:len(body)-1])
	does := s.effectsOf(sql)
	if does&spoils != 0 {
		if step, done, err := s.own(sql, size); done {
			return step, err
		}
	}
	if does&pins != 0 && s.refusesPins() {
		return 0, s.refuse(msgQuery, size, pinRefusal)
	}
	if refused := s.needLease(); refused != nil {
		return 0, s.refuse(msgQuery, size, refused)
	}
	s.lease.effects |= does
	s.unnamed, s.lease.parsed = nil, nil
	s.relay(size)
	s.lease.await(awaited{kind: awaitReady})
	s.me.place.queries.Add(1)
	return 0, nil
}

// function is a FunctionCall, whose function may do anything.
func (s *session) function(size int) error {
	if refused := s.needLease(); refused != nil {
		return s.refuse(msgFunction, size, refused)
	}
	s.lease.effects |= unknown
	s.relay(size)
	s.lease.await(awaited{kind: awaitReady})
	s.me.place.queries.Add(1)
	return nil
}

func (s *session) sync(kind byte, size int) error {
	l := s.lease
	switch {
	case l == nil && kind == msgSync:
		s.consume(size)
		return s.write(appendReady(nil, statusIdle))
	case l == nil:
		s.consume(size)
	case kind == msgSync:
		s.relay(size)
		l.await(awaited{kind: awaitSync})
	default:
		s.relay(size)
		l.unsynced, l.flushed = true, true
	}
	return nil
}

// copy is for what belongs to a COPY. Without one, it comes late, after an error, and the
// server would not want it either.
func (s *session) copy(kind byte, size int) {
	l := s.lease
	switch {
	case l == nil || l.quiet():
		s.consume(size)
		return
	case kind != msgCopyData:
		l.awaited = append(l.awaited, awaited{kind: awaitCopyEnd})
	case !l.marked:
		l.marked = true
		l.awaited = append(l.awaited, awaited{kind: awaitCopyData})
	}
	s.relay(size)
}

// malformed ends the session of a client that sent what cannot be understood.
func (s *session) malformed(kind byte) error {
	return s.fatal(fatal(pgerrcode.ProtocolViolation, fmt.Sprintf("the client sent a message %q that is not as PostgreSQL's protocol has it", kind)))
}

// refuse answers a message with an error of the door's own, and goes on as the server does
// after one. If there is a server, it is made to fail, so that it, too, skips what follows
// and undoes the transaction; the client does not see its error.
func (s *session) refuse(kind byte, size int, why *pgproto3.ErrorResponse) error {
	if why.Severity == "FATAL" {
		return s.fatal(why)
	}
	s.me.place.errors.Add(1)
	s.consume(size)
	simple := kind == msgQuery || kind == msgFunction
	l := s.lease
	if l == nil {
		answer := encoded(why)
		if s.skipping = !simple; simple {
			answer = appendReady(answer, statusIdle)
		}
		return s.write(answer)
	}
	if simple {
		s.out = appendQuery(s.out, nobodysStatement)
		l.await(awaited{kind: awaitRefusal, refusal: why})
		l.await(awaited{kind: awaitReady})
		return nil
	}
	s.out = appendString(append(appendHead(s.out, msgBind, 1+len(nobodysStatement)+1+6), 0), nobodysStatement)
	s.out = binary.BigEndian.AppendUint16(append(s.out, 0, 0, 0, 0), 0)
	l.await(awaited{kind: awaitRefusal, refusal: why})
	return nil
}

// write is for what the door itself has to say to the client. There is no pump.
func (s *session) write(answer []byte) error {
	_, err := s.stream.Write(answer)
	return err
}

// fatal tells the client why its session ends.
func (s *session) fatal(why *pgproto3.ErrorResponse) error {
	_ = s.write(encoded(why))
	return errEnded
}
