package door

import "github.com/jackc/pgerrcode"

// SessionState says what becomes, under transaction pooling, of a statement that leaves
// something in the server session which cannot be carried over to another one: LISTEN,
// temporary tables, cursors WITH HOLD, advisory locks of the session, PREPARE, SET ROLE.
type SessionState uint8

const (
	// PinSession lets the client keep its connection until it has taken that away again
	// (UNLISTEN, DROP, DISCARD ALL, ...), or ends.
	PinSession SessionState = iota
	// RefuseSession refuses such a statement (SQLSTATE 0A000).
	RefuseSession
)

var pinRefusal = refusal(pgerrcode.FeatureNotSupported,
	"this statement leaves something in its session, and the sessions of the server are shared by transaction here",
	"use what ends with the transaction (pg_advisory_xact_lock, a cursor without hold, SET LOCAL), session pooling for this user, or TENANTPOOL_PG_SESSION_STATE=pin")

func (s *session) refusesPins() bool {
	return s.pooling == TransactionPooling && s.door.options.SessionState == RefuseSession
}

// own carries out a statement that is about the session as the client sees it, and not
// about the server's: DISCARD ALL and DEALLOCATE. done is false if that is for the server.
func (s *session) own(sql string, size int) (next step, done bool, err error) {
	command, name := sole(sql)
	l := s.lease
	switch {
	case command == "" || l != nil && (l.unsynced || l.status == statusFailedTx):
		return 0, false, nil
	case l != nil && (!l.quiet() || s.pump != nil || len(s.out) > 0):
		return stepSettle, true, nil
	}
	switch command {
	case discardAll:
		if l != nil && l.status != statusIdle {
			return 0, false, nil // it refuses that
		}
		if l != nil {
			if l.reset() != nil {
				l.spoiled = true
			}
			s.pinned, s.listening = false, false
		}
		s.named, s.unnamed, s.wanted = nil, nil, s.begins
	case deallocateAll:
		s.named, s.unnamed = nil, nil
		if s.keeps() { // there may be some of PREPARE
			l.memory.statements = statements{}
			return 0, false, nil
		}
	default:
		p := s.statement([]byte(name))
		if p == nil && s.keeps() && !reserved([]byte(name)) {
			return 0, false, nil // of PREPARE
		}
		if p == nil {
			return 0, true, s.refuse(msgQuery, size, unknownStatement([]byte(name)))
		}
		p.gone = true
	}
	s.consume(size)
	status := byte(statusIdle)
	if l != nil {
		status = l.status
	}
	return stepSend, true, s.write(appendReady(appendCommandDone(nil, command), status))
}

// keeps tells whether the server session is the client's beyond the transaction, with what
// SQL has prepared there.
func (s *session) keeps() bool { return s.lease != nil && (s.pinned || s.pooling == SessionPooling) }

// goneStatement is prepared only to be deallocated.
const goneStatement = namePrefix + "gone"

// parseOwn is own for the extended protocol, with a lease: the names are the door's, and
// the answers the server's, which deallocates a statement that the door prepares before.
func (s *session) parseOwn(sql string, size int) (done bool) {
	l := s.lease
	if l.status == statusFailedTx {
		return false // it refuses that
	}
	switch command, name := sole(sql); command {
	case discardAll, deallocateAll:
		s.named = nil
	case deallocate:
		named := s.statement([]byte(name))
		if named == nil {
			return false
		}
		named.gone = true
		s.consume(size)
		s.out = appendNamed(s.out, msgClose, goneStatement)
		l.await(awaited{kind: awaitOwnClose})
		s.out = append(appendString(appendString(appendHead(s.out, msgParse, len(goneStatement)+1+1+2), goneStatement), ""), 0, 0)
		l.await(awaited{kind: awaitOwnParse})
		p := newPrepared([]byte(deallocate+" "+goneStatement+"\x00\x00\x00"), 0)
		p.pending, p.batch = true, l.batch
		s.unnamed, l.parsed = p, p
		rest := p.parse.Value()
		s.out = append(append(appendHead(s.out, msgParse, 1+len(rest)), 0), rest...)
		l.await(awaited{kind: awaitParse, client: p})
		return true
	}
	return false
}
