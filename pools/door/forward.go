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
	if l != nil && (len(s.out) >= bufferSize || (len(s.out) > 0 && (l.ready > 0 || l.flushed || l.copying || s.from.passing > 0))) {
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

func (s *session) parse(size int) (step, error) {
	if refused := s.needLease(); refused != nil {
		return 0, s.refuse(msgParse, size, refused)
	}
	l := s.lease
	name, sql, rest, ok := parseOf(s.from.body(size))
	if !ok {
		return 0, s.malformed(msgParse)
	}
	does := s.effectsOf(text(sql))
	if does&pins != 0 && s.refusesPins() {
		return 0, s.refuse(msgParse, size, pinRefusal)
	}
	if does&spoils != 0 && len(name) == 0 && s.parseOwn(text(sql), size) {
		return 0, nil
	}
	p := newPrepared(rest, does)
	p.pending, p.batch = true, l.batch
	if len(name) == 0 {
		s.unnamed, l.parsed = p, p
		s.relay(size)
		l.await(awaited{kind: awaitParse, client: p})
		return 0, nil
	}
	before := s.statement(name)
	o := l.memory.statements.use(p.parse)
	switch {
	case l.uncertain(before, o):
		return stepSettle, nil
	case before != nil:
		return 0, s.refuse(msgParse, size, refusal(pgerrcode.DuplicatePreparedStatement, fmt.Sprintf("prepared statement %q already exists", name), ""))
	}
	if refused := s.remember(string(name), p); refused != nil {
		return 0, s.refuse(msgParse, size, refused)
	}
	s.consume(size)
	if o != nil {
		// What it is about may have changed since; of a Parse the client expects that it
		// finds this out.
		s.out = appendNamed(s.out, msgClose, o.name)
		l.await(awaited{kind: awaitOwnClose})
		l.memory.statements.forget(o)
	}
	s.prepare(p, awaited{kind: awaitParse, client: p})
	return 0, nil
}

// uncertain tells whether it is not known yet if there is such a statement: its Parse was of
// an earlier batch, and is not answered.
func (l *lease) uncertain(p *prepared, o *onServer) bool {
	return p != nil && p.pending && p.batch != l.batch || o != nil && !o.confirmed && o.batch != l.batch
}

// statement is the client's of this name, or nil.
func (s *session) statement(name []byte) *prepared {
	if p := s.named[text(name)]; p != nil && !p.gone {
		return p
	}
	return nil
}

func (s *session) remember(name string, p *prepared) *pgproto3.ErrorResponse {
	if s.named == nil {
		s.named = make(map[string]*prepared)
	}
	if len(s.named) >= namesAtMost {
		for name, p := range s.named {
			if p.gone {
				delete(s.named, name)
			}
		}
		if len(s.named) >= namesAtMost {
			return refusal(pgerrcode.ProgramLimitExceeded, fmt.Sprintf("the client has %d prepared statements", namesAtMost), "close those that are not needed any more")
		}
	}
	s.named[name] = p
	return nil
}

// prepare has the server prepare a statement that it does not have.
func (s *session) prepare(p *prepared, answer awaited) *onServer {
	l := s.lease
	o, gone := l.memory.statements.add(p.parse, l.batch)
	if gone != nil {
		s.out = appendNamed(s.out, msgClose, gone.name)
		l.await(awaited{kind: awaitOwnClose})
	}
	rest := p.parse.Value()
	s.out = appendString(appendHead(s.out, msgParse, len(o.name)+1+len(rest)), o.name)
	s.out = append(s.out, rest...)
	answer.server = o
	l.await(answer)
	return o
}

// serverName is what the server calls the statement that a Bind or a Describe is about, which
// it has from now on. ok: it is known.
func (s *session) serverName(name []byte) (server string, ok bool, refused *pgproto3.ErrorResponse) {
	l := s.lease
	p := s.unnamed
	if len(name) > 0 {
		p = s.statement(name)
	}
	switch {
	case (p == nil || p.gone) && s.keeps() && len(name) > 0 && !reserved(name):
		return string(name), true, nil // of PREPARE
	case p == nil || p.gone:
		return "", true, unknownStatement(name)
	}
	var o *onServer
	if len(name) > 0 {
		o = l.memory.statements.use(p.parse)
	}
	if l.uncertain(p, o) {
		return "", false, nil
	}
	l.effects |= p.effects
	switch {
	case o != nil:
		return o.name, true, nil
	case len(name) > 0:
		s.me.place.prepared.Add(1)
		return s.prepare(p, awaited{kind: awaitOwnParse}).name, true, nil
	case l.parsed != p: // it was prepared on another connection
		rest := p.parse.Value()
		s.out = append(append(appendHead(s.out, msgParse, 1+len(rest)), 0), rest...)
		l.await(awaited{kind: awaitOwnParse})
		l.parsed = p
		s.me.place.prepared.Add(1)
	}
	return "", true, nil
}

func (s *session) bind(size int) (step, error) {
	if refused := s.needLease(); refused != nil {
		return 0, s.refuse(msgBind, size, refused)
	}
	body := s.from.body(size)
	portal, rest, ok := cutString(body)
	name, _, ok2 := cutString(rest)
	if !ok || !ok2 {
		return 0, s.malformed(msgBind)
	}
	server, known, refused := s.serverName(name)
	switch {
	case !known:
		return stepSettle, nil
	case refused != nil:
		return 0, s.refuse(msgBind, size, refused)
	}
	s.lease.unsynced = true
	if server == string(name) {
		s.relay(size)
		return 0, nil
	}
	s.out = append(appendHead(s.out, msgBind, size-head+len(server)-len(name)), portal...)
	s.out = appendString(append(s.out, 0), server)
	taken := head + len(portal) + 1 + len(name) + 1
	s.from.r += taken
	s.relay(size - taken)
	return 0, nil
}

func (s *session) describe(size int) (step, error) {
	if refused := s.needLease(); refused != nil {
		return 0, s.refuse(msgDescribe, size, refused)
	}
	kind, name, ok := objectOf(s.from.body(size))
	if !ok {
		return 0, s.malformed(msgDescribe)
	}
	if kind == 'S' {
		server, known, refused := s.serverName(name)
		switch {
		case !known:
			return stepSettle, nil
		case refused != nil:
			return 0, s.refuse(msgDescribe, size, refused)
		}
		s.consume(size)
		s.out = appendNamed(s.out, msgDescribe, server)
	} else {
		s.relay(size)
	}
	s.lease.unsynced = true
	return 0, nil
}

// objectOf splits the body of a Describe or a Close.
func objectOf(body []byte) (kind byte, name []byte, ok bool) {
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' || body[len(body)-1] != 0 {
		return 0, nil, false
	}
	return body[0], body[1 : len(body)-1], true
}

// close is of a statement or a portal. The server keeps a statement for other clients.
func (s *session) close(size int) error {
	kind, name, ok := objectOf(s.from.body(size))
	if !ok {
		return s.malformed(msgClose)
	}
	var p *prepared
	switch {
	case kind == 'S' && len(name) == 0:
		p = s.unnamed
	case kind == 'S':
		p = s.statement(name)
	}
	if p != nil {
		p.gone = true
	}
	if s.lease == nil {
		s.consume(size)
		return s.write(appendHead(nil, ansCloseDone, 0))
	}
	if byServer := p == nil && s.keeps() && !reserved(name); kind == 'S' && !byServer {
		s.consume(size)
		s.out = appendNamed(s.out, msgClose, nobodysStatement)
	} else {
		s.relay(size)
	}
	s.lease.await(awaited{kind: awaitClose, client: p})
	return nil
}

func (s *session) execute(size int) error {
	if refused := s.needLease(); refused != nil {
		return s.refuse(msgExecute, size, refused)
	}
	s.relay(size)
	s.lease.unsynced = true
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
