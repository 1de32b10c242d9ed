package door

import (
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"
)

// The messages of the extended protocol that name a statement. prepared.go has what the
// names stand for.

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
