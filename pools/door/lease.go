package door

import (
	"bytes"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/pools"
)

// lease is a server connection while a session has it.
type lease struct {
	wire   *pools.Wire
	memory *memory
	began  time.Time
	in     inbox // what the server has sent
	// status is that of the last ReadyForQuery.
	status byte
	// awaited are answers, in the order in which they will come; ready is how many of
	// them are ReadyForQuery.
	awaited []awaited
	ready   int
	// batch counts the Syncs that were sent.
	batch int
	// copying: the server takes in a COPY.
	copying bool
	// unsynced: the server was sent something after the last Sync; flushed: a Flush, too.
	unsynced, flushed bool
	// used: a transaction has begun that was not counted yet.
	used bool
	// sent is when the server was sent what it works on; zero: it works on nothing. worked is
	// for how long it has, and failed how many errors it has told, since both were counted.
	sent   time.Time
	worked time.Duration
	failed uint64
	// need is how many bytes the next message of the server has, if it is not whole.
	need int
	// effects are what statements may have left in the session since it was last looked at;
	// kept those that are dealt with when it is not the client's alone any more.
	effects, kept effects
	// late is what came for the client while the door asked something.
	late []byte
	// spoiled: the connection is not to be used again; broken: it cannot be.
	spoiled, broken bool
	// farewell: the server has said why it ends the connection.
	farewell bool
	// marked: the queue has a mark for the first CopyData.
	marked bool
	// parsed is the unnamed statement that is the server's now; nil: none of this lease.
	parsed *prepared
}

// memory is what a connection's holders know of its session.
type memory struct {
	statements statements
	// applied are the settings that it was brought to; nil: as it was dialed.
	applied *settings
	// reported is what the server has reported last.
	reported reported
}

// awaited is an answer that is to come, and what becomes of it.
type awaited struct {
	kind awaitedKind
	// client is the session's statement that a Parse is about, server the connection's.
	client *prepared
	server *onServer
	// refusal takes the place of the server's error.
	refusal *pgproto3.ErrorResponse
}

type awaitedKind uint8

const (
	awaitReady    awaitedKind = iota // ReadyForQuery, of a Query or a FunctionCall
	awaitSync                        // ReadyForQuery, of a Sync
	awaitParse                       // ParseComplete, which the client gets
	awaitOwnParse                    // ParseComplete, which it does not get
	awaitClose                       // CloseComplete, which it gets
	awaitOwnClose                    // CloseComplete, which it does not get
	awaitRefusal                     // an error, in whose place it gets another
	awaitCopyData                    // none: the first CopyData
	awaitCopyEnd                     // none: CopyDone or CopyFail
)

func (a awaited) ready() bool { return a.kind == awaitReady || a.kind == awaitSync }

func (l *lease) await(a awaited) {
	l.unsynced = !a.ready()
	if a.ready() {
		if l.ready == 0 {
			l.sent = time.Now() // or in a moment
		}
		l.flushed = false
		l.ready++
		l.batch++
	}
	l.awaited = append(l.awaited, a)
}

// quiet tells whether the server has answered everything.
func (l *lease) quiet() bool { return l.ready == 0 && !l.unsynced }

// answer handles what the server has sent, as far as it is whole, and returns what the
// client gets. That is good until the next fill.
func (l *lease) answer() (forward []byte, err error) {
	in := &l.in
	from := in.r // in.buf[from:in.r] goes to the client as it is
	l.need = 0
	for {
		if in.passing > 0 {
			in.pass()
			if in.passing > 0 {
				break
			}
		}
		kind, size := in.next()
		if size < 0 {
			return nil, errServerProtocol
		}
		if size == 0 || size > in.len() && handled(kind) {
			l.need = size
			break
		}
		if size > in.len() {
			in.passing = size
			continue
		}
		if !handled(kind) {
			in.r += size
			continue
		}
		instead, keep := l.answered(kind, in.buf[in.r:in.r+size])
		if keep {
			in.r += size
			continue
		}
		// What is before it moves up, over it.
		if len(instead) <= size {
			to := in.r + size
			before := in.buf[from:in.r]
			copy(in.buf[to-len(instead):], instead)
			from = to - len(instead) - len(before)
			copy(in.buf[from:], before)
			in.r = to
			continue
		}
		before := slices.Clone(in.buf[from:in.r])
		in.r += size
		rest, err := l.answer()
		return slices.Concat(before, instead, rest), err
	}
	return in.buf[from:in.r], nil
}

// handled tells whether the door looks into an answer of this kind. The others go through
// in parts, as they come.
func handled(kind byte) bool {
	switch kind {
	case ansParseDone, ansCloseDone, ansReady, ansError, ansParameter, ansCopyIn, ansCommand:
		return true
	}
	return false
}

// answered takes note of one answer. keep: the client gets it as it is; else it gets
// instead, which may be nothing.
func (l *lease) answered(kind byte, message []byte) (instead []byte, keep bool) {
	body := message[head:]
	switch kind {
	case ansReady:
		if len(body) == 1 {
			l.status = body[0]
		}
		l.readyAnswered()
		return nil, true
	case ansParseDone:
		a := l.pop()
		if a.server != nil {
			a.server.confirmed = true
		}
		if a.client != nil {
			a.client.pending = false
		}
		return nil, a.kind != awaitOwnParse
	case ansCloseDone:
		a := l.pop()
		return nil, a.kind != awaitOwnClose
	case ansError:
		l.failed++
		severity := text(errorField(body, 'V'))
		l.wire.NoteError(severity, text(errorField(body, 'C')))
		l.farewell = l.farewell || severity == "FATAL" || severity == "PANIC"
		if l.copying {
			l.copyEnded(awaitCopyData)
		}
		if refusal := l.refused(body); refusal != nil {
			return encoded(refusal), false
		}
	case ansParameter:
		l.noteParameter(body)
	case ansCopyIn:
		l.copying = true
	case ansCommand:
		if l.copying {
			l.copyEnded(awaitCopyEnd)
		}
	}
	return nil, true
}

// pop takes the next awaited answer to a Parse or a Close.
func (l *lease) pop() awaited {
	for i, a := range l.awaited {
		switch a.kind {
		case awaitReady, awaitSync:
			return awaited{kind: awaitReady} // nothing was awaited: the client sees what the server says
		case awaitCopyData, awaitCopyEnd, awaitRefusal:
			continue
		}
		l.awaited = slices.Delete(l.awaited, i, i+1)
		return a
	}
	return awaited{kind: awaitReady}
}

// readyAnswered takes everything up to the ReadyForQuery that came. What was not answered
// before it was skipped, after an error.
func (l *lease) readyAnswered() {
	l.copying, l.marked = false, false
	for i, a := range l.awaited {
		if a.ready() {
			l.awaited = l.awaited[i+1:]
			l.ready--
			break
		}
		if a.server != nil && !a.server.confirmed {
			l.memory.statements.forget(a.server)
		}
		if a.client != nil {
			a.client.gone, a.client.pending = a.kind != awaitClose, false
		}
	}
	if len(l.awaited) == 0 {
		l.awaited = nil
	}
	if l.ready == 0 && !l.sent.IsZero() {
		l.worked += time.Since(l.sent)
		l.sent = time.Time{}
	}
}

// copyEnded drops the Syncs that the server has ignored because it took in a COPY: those
// before the CopyDone; after an error, those before what it was in the middle of
// ("COPY Operations" in the protocol's documentation).
func (l *lease) copyEnded(until awaitedKind) {
	l.copying = false
	end := slices.IndexFunc(l.awaited, func(a awaited) bool { return a.kind == until || a.kind == awaitCopyEnd })
	if end < 0 {
		end = len(l.awaited)
	}
	ignored := 0
	kept := slices.DeleteFunc(l.awaited[:end:end], func(a awaited) bool {
		if a.kind == awaitSync {
			ignored++
		}
		return a.kind == awaitSync
	})
	if ignored == 0 {
		return
	}
	l.awaited = append(kept, l.awaited[end:]...)
	l.ready -= ignored
	l.unsynced = l.ready == 0
}

// refused returns what the client is told instead of the server's error, if that is the
// one which the door has provoked.
func (l *lease) refused(body []byte) *pgproto3.ErrorResponse {
	if !bytes.Contains(errorField(body, 'M'), []byte(nobodysStatement)) {
		return nil
	}
	for i, a := range l.awaited {
		if a.kind == awaitRefusal {
			l.awaited = slices.Delete(l.awaited, i, i+1)
			return a.refusal
		}
		if a.ready() {
			break
		}
	}
	return nil
}

func (l *lease) noteParameter(body []byte) {
	name, rest, ok := cutString(body)
	value, _, ok2 := cutString(rest)
	if ok && ok2 {
		l.memory.reported = l.memory.reported.with(parameter{string(name), string(value)})
	}
}
