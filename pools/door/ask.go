package door

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// askAtMost bounds the door's own questions to a server.
const askAtMost = 5 * time.Second

// ask sends a simple query of the door's own, in a session that is quiet, and returns its
// rows as text. An error that the server gives as an answer is a *pgconn.PgError; after
// another one the connection is broken.
func (l *lease) ask(sql string) (rows [][]string, err error) {
	_ = l.wire.SetReadDeadline(time.Now().Add(askAtMost))
	if _, err := l.wire.Write(appendQuery(nil, sql)); err != nil {
		l.broken = true
		return nil, err
	}
	var refused error
	for {
		kind, size := l.in.next()
		if size < 0 {
			l.broken = true
			return nil, errServerProtocol
		}
		if size == 0 || size > l.in.len() {
			if err := l.in.fill(l.wire, size); err != nil {
				l.broken = true
				return nil, err
			}
			continue
		}
		body := l.in.body(size)
		l.in.r += size
		switch kind {
		case ansReady:
			l.status = body[0]
			_ = l.wire.SetReadDeadline(time.Time{})
			l.in.Rest()
			return rows, refused
		case ansError:
			l.wire.NoteError(text(errorField(body, 'V')), text(errorField(body, 'C')))
			refused = serverError(body)
		case ansParameter:
			l.noteParameter(body)
		case ansNotification:
			l.late = append(l.late, l.in.buf[l.in.r-size:l.in.r]...)
		case ansDataRow:
			rows = append(rows, rowOf(body))
		}
	}
}

// serverError is an ErrorResponse.
func serverError(body []byte) error {
	var response pgproto3.ErrorResponse
	if err := response.Decode(body); err != nil {
		return errServerProtocol
	}
	return pgconn.ErrorResponseToPgError(&response)
}

// rowOf splits a DataRow; NULL is "".
func rowOf(body []byte) []string {
	if len(body) < 2 {
		return nil
	}
	row := make([]string, 0, binary.BigEndian.Uint16(body))
	for body = body[2:]; len(body) >= 4; {
		n := int(int32(binary.BigEndian.Uint32(body)))
		body = body[4:]
		if n < 0 {
			row = append(row, "")
			continue
		}
		n = min(n, len(body))
		row = append(row, string(body[:n]))
		body = body[n:]
	}
	return row
}

// reset brings the session to how it was dialed, but for its prepared statements.
func (l *lease) reset() error {
	_, err := l.ask(resetSession)
	l.memory.applied = nil
	l.effects, l.kept = 0, 0
	return err
}

// remembered finds what is known of the session, and what the server has reported at the
// login, if nothing is.
func (l *lease) remembered() {
	known, reset := l.wire.Memory()
	if known == nil {
		l.memory = &memory{}
		for _, name := range reportedSettings {
			if value := l.wire.Parameter(name); value != "" {
				l.memory.reported = append(l.memory.reported, parameter{name, value})
			}
		}
		l.wire.SetMemory(l.memory)
		return
	}
	l.memory = known.(*memory)
	if reset {
		l.memory.applied = nil
	}
}

// learnSettings asks the server which settings the session has by now.
func (s *session) learnSettings(l *lease) error {
	rows, err := l.ask(s.customs.askSettings())
	if err != nil {
		return err
	}
	l.memory.applied = settingsOf(rows, s.door.introduces)
	// What was reset is as the client has begun.
	s.wanted = newSettings(slices.Concat(s.begins.all(), l.memory.applied.all()))
	if slices.Equal(s.wanted.all(), l.memory.applied.all()) {
		s.wanted = l.memory.applied
	}
	return nil
}

// settingsRefusal is what a client is told whose settings the server does not take. To
// carry out its statements without them could give it wrong rows.
func settingsRefusal(err error) *pgproto3.ErrorResponse {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return fatal(refused.Code, "the session's settings cannot be restored: "+refused.Message)
	}
	return fatal(pgerrcode.ConnectionFailure, "the session's settings cannot be restored: "+err.Error())
}
