package pools

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// statement is one run of Manager.Query. It speaks the protocol itself, because
// only so can the server be told to stop after so many rows (pgconn always asks
// for all), and because all of it is sent at once and costs one round trip:
//
//	[reset] [BEGIN READ ONLY] statement Sync | [ROLLBACK;] reset
//
// The server answers each half with a ReadyForQuery. After an error it skips the rest
// of the half, so the statement never runs in a session that was not reset. The first
// reset is a transaction of its own, which the statement's failure does not undo.
type statement struct {
	backend *backend
	query   model.Query
	params  [][]byte
	before  []string // the commands before the statement that are not yet answered

	unrun bool // one of them was refused, so the statement was skipped
	// executed: its command is complete, but its transaction may still fail.
	// completed: the transaction has ended, and nothing can undo it.
	executed, completed bool

	failure   error
	oids      []uint32
	result    model.QueryResult
	bytes     int // of the rows that are kept
	discarded int // of those that are not
	told      int // bytes of notifications
	tooLarge  bool
	spoiled   bool // the session cannot be reset
	clean     bool
	// cancels is how many cancel requests there had been before. afterwards is the reset, and
	// resetAgain: a cancel has hit it (see resetAnswer).
	cancels    int
	afterwards string
	resetAgain bool
}

const (
	// discardAtMost is how much of a result too large is read for the sake of what
	// its statement did.
	discardAtMost = 64 << 20
	// valueAtLeast is what a value of MaxBytes counts, be it ever so short: it takes
	// more than its text in memory.
	valueAtLeast = 24
	// bodyAtMost is what a message may have besides MaxBytes: errors and column
	// descriptions are messages, too.
	bodyAtMost = 4 << 20
	// bodyDefault is pgproto3's own limit.
	bodyDefault = 1<<30 - 2
)

func newStatement(b *backend, q model.Query, params [][]byte) *statement {
	s := &statement{backend: b, query: q, params: params}
	s.result = model.QueryResult{Columns: []model.Column{}, Rows: [][]any{}}
	if b.dirty {
		s.before = resetFirst
	}
	if q.ReadOnly {
		s.before = append(s.before[:len(s.before):len(s.before)], "BEGIN READ ONLY")
	}
	return s
}

func (s *statement) run(ctx context.Context) error {
	if s.query.MaxBytes > 0 {
		s.frontend().SetMaxBodyLen(s.query.MaxBytes + bodyAtMost)
		defer s.frontend().SetMaxBodyLen(bodyDefault)
	}
	if err := s.send(ctx); err != nil {
		return s.outcome(ctx, err)
	}
	err := s.receive(ctx)
	s.clean = err == nil && !s.spoiled && !s.unrun
	if err := s.outcome(ctx, err); err != nil {
		return err
	}
	s.nameTypes(ctx)
	return nil
}

// outcome is the error of it all. A statement whose transaction has ended did not fail,
// whatever came after it.
func (s *statement) outcome(ctx context.Context, err error) error {
	var oversize *pgproto3.ExceededMaxBodyLenErr
	switch {
	case s.completed:
		return nil
	case s.tooLarge && s.failure != nil:
		return tooLarge(fmt.Sprintf("the answer is larger than %d bytes by more than %d, and the statement may not be finished without it (it is not read-only): it was cancelled and undone", s.query.MaxBytes, discardAtMost))
	case errors.As(err, &oversize):
		return tooLarge(fmt.Sprintf("a single row has %d bytes; the whole answer may have %d", oversize.ActualBodyLen, s.query.MaxBytes))
	case s.failure != nil:
		err = s.failure
	case err == nil:
		err = errors.New("the server did not say what became of the statement")
	}
	if !s.unrun && s.backend.lostBy(ctx, err) {
		return fmt.Errorf("%w: %w", model.ErrConnectionLost, briefly(err))
	}
	err = sqlError(err)
	if s.unrun {
		err = fmt.Errorf("the statement did not run, because its session could not be prepared for it: %w", err)
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

func tooLarge(message string) error {
	return &model.SQLError{Code: pgerrcode.ProgramLimitExceeded, Message: message, Hint: "select less of it, or set readOnly to get its beginning"}
}

func (s *statement) conn() *pgconn.PgConn         { return s.backend.pgx.PgConn() }
func (s *statement) frontend() *pgproto3.Frontend { return s.conn().Frontend() }

// send writes it all, unless ctx ends first.
func (s *statement) send(ctx context.Context) error {
	to := s.frontend()
	command := func(sql string, params [][]byte, maxRows uint32, describe bool) {
		to.SendParse(&pgproto3.Parse{Query: sql})
		to.SendBind(&pgproto3.Bind{Parameters: params})
		if describe {
			to.SendDescribe(&pgproto3.Describe{ObjectType: 'P'})
		}
		to.SendExecute(&pgproto3.Execute{MaxRows: maxRows})
	}
	for _, sql := range s.before {
		command(sql, nil, 0, false)
	}
	s.cancels, s.afterwards = s.backend.cancels(), resetAfterwards
	if s.query.ReadOnly {
		s.afterwards = "ROLLBACK; " + s.afterwards
	}
	maxRows := uint32(0)
	if s.query.MaxRows > 0 && s.query.MaxRows < math.MaxInt32 {
		maxRows = uint32(s.query.MaxRows) + 1 // to know whether there are more
	}
	command(s.query.SQL, s.params, maxRows, true)
	to.SendSync(&pgproto3.Sync{})
	to.SendQuery(&pgproto3.Query{String: s.afterwards})

	network := s.conn().Conn()
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = network.SetWriteDeadline(time.Now())
		close(cut)
	})
	err := to.Flush()
	if stop() {
		return err
	}
	<-cut
	if err == nil { // all was sent before ctx ended: what runs now is cancelled by receive
		return network.SetWriteDeadline(time.Time{})
	}
	return errors.Join(err, ctx.Err())
}

// receive reads until the server has answered both halves. It returns an error when
// the connection is not in a known state afterwards.
func (s *statement) receive(ctx context.Context) error {
	reading := ctx
	var ended time.Time // when ctx was seen to have
	asked := s.backend.cancel.asked
	for halves := 0; halves < 2; {
		if reading.Err() != nil {
			if ended.IsZero() {
				ended = time.Now()
				if deadline, has := ctx.Deadline(); has && deadline.Before(ended) {
					ended = deadline // the cancelHandler has tried since then
				}
			}
			if time.Since(ended) >= cancelWithin {
				return errors.New("the statement runs on although it was cancelled")
			}
			// A second cancel would hit the reset.
			if halves == 0 && s.backend.cancel.asked == asked {
				s.backend.interrupt()
			}
			asked = s.backend.cancel.asked
			var stop context.CancelFunc
			reading, stop = context.WithTimeout(context.WithoutCancel(ctx), endingTurn)
			defer stop()
		}
		message, err := s.conn().ReceiveMessage(reading)
		if err != nil {
			s.unrun = s.unrun || len(s.before) > 0 && errors.As(err, new(*pgconn.PgError)) // the end of the session
			if reading.Err() != nil && !s.conn().IsClosed() {
				continue // nothing came in this turn
			}
			return err
		}
		if _, ready := message.(*pgproto3.ReadyForQuery); ready {
			s.completed = s.executed
			if halves++; halves == 2 && s.resetAgain {
				halves, s.resetAgain, s.cancels = 1, false, s.backend.cancels() // once
				s.frontend().SendQuery(&pgproto3.Query{String: s.afterwards})
				if err := s.frontend().Flush(); err != nil {
					return err
				}
			}
			continue
		}
		handle := s.answer
		if halves == 1 {
			handle = s.resetAnswer
		}
		if err := handle(message); err != nil {
			return err
		}
	}
	return nil
}

// answer takes a message of the first half.
func (s *statement) answer(message pgproto3.BackendMessage) error {
	if len(s.before) > 0 {
		return s.answerBefore(message)
	}
	switch m := message.(type) {
	case *pgproto3.RowDescription:
		if s.oids != nil {
			return errForeignRow
		}
		s.oids = make([]uint32, 0, len(m.Fields))
		for _, field := range m.Fields {
			s.result.Columns = append(s.result.Columns, model.Column{Name: string(field.Name)})
			s.oids = append(s.oids, field.DataTypeOID)
		}
	case *pgproto3.DataRow:
		if len(m.Values) != len(s.oids) {
			return errForeignRow
		}
		s.row(m.Values)
	case *pgproto3.NoticeResponse:
		s.notice(m)
	case *pgproto3.NotificationResponse:
		s.completed = s.executed // the server sends none within a transaction
		return s.notified(m)
	case *pgproto3.CommandComplete:
		tag := pgconn.NewCommandTag(string(m.CommandTag))
		s.result.Command, s.result.RowsAffected = tag.String(), tag.RowsAffected()
		s.spoiled = slices.Contains(spoilers, strings.SplitN(tag.String(), " ", 2)[0])
		s.executed = true
	case *pgproto3.PortalSuspended, *pgproto3.EmptyQueryResponse:
		s.executed = true
	case *pgproto3.ErrorResponse:
		s.fail(pgconn.ErrorResponseToPgError(m))
	case *pgproto3.CopyInResponse, *pgproto3.CopyOutResponse, *pgproto3.CopyBothResponse:
		return &pgconn.PgError{Code: pgerrcode.FeatureNotSupported, Message: "COPY from or to the client is not supported here",
			Hint: "use INSERT with parameters, or SELECT"}
	}
	return nil
}

// answerBefore takes a message that comes before the statement's own.
func (s *statement) answerBefore(message pgproto3.BackendMessage) error {
	switch m := message.(type) {
	case *pgproto3.CommandComplete:
		s.before = s.before[1:]
	case *pgproto3.ErrorResponse:
		s.unrun = true
		s.failure = pgconn.ErrorResponseToPgError(m)
	case *pgproto3.NotificationResponse:
		return s.notified(m)
	}
	return nil
}

// fail notes the first error. It may come after the command was complete, from the end
// of its transaction: a deferred constraint.
func (s *statement) fail(err *pgconn.PgError) {
	s.executed = s.query.ReadOnly && s.result.Truncated && err.Code == pgerrcode.QueryCanceled // the rest was not wanted
	if !s.executed && s.failure == nil {
		s.failure = err
	}
}

// jsonLength is how many bytes the text takes in a JSON string: a control character
// takes six, so that a small statement could otherwise ask for a huge answer.
func jsonLength(text []byte) int {
	n := len(text)
	for _, c := range text {
		switch {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\b', c == '\f':
			n++
		case c < ' ':
			n += 5
		}
	}
	return n
}

// row keeps a row while there is room, and stops the statement, if it may be
// stopped, at the first one that there is none for.
func (s *statement) row(values [][]byte) {
	size, sent := 0, 0
	for _, value := range values {
		size += max(jsonLength(value), valueAtLeast)
		sent += len(value) + 1
	}
	q := &s.query
	switch {
	case s.result.Truncated:
		s.discarded += sent
		if s.discarded > discardAtMost && !q.ReadOnly && !s.tooLarge {
			s.tooLarge = true
			s.backend.interrupt()
		}
	case q.MaxRows > 0 && len(s.result.Rows) == q.MaxRows:
		s.result.Truncated = true
	case q.MaxBytes > 0 && s.bytes+size > q.MaxBytes:
		s.result.Truncated = true
		if q.ReadOnly { // its rest would come to nothing anyway
			s.backend.interrupt()
		}
	default:
		s.bytes += size
		row := make([]any, len(values))
		for i, value := range values {
			row[i] = jsonValue(s.oids[i], value)
		}
		s.result.Rows = append(s.result.Rows, row)
	}
}

const (
	noticesAtMost = 20
	noticeAtMost  = 2 << 10 // bytes of one
)

// notice keeps the first things that the server says besides, and the beginning of what
// is long.
func (s *statement) notice(m *pgproto3.NoticeResponse) {
	if len(s.result.Notices) == noticesAtMost {
		s.result.NoticesLost++
		return
	}
	n := model.Notice{Severity: m.SeverityUnlocalized, Code: m.Code, Message: m.Message, Detail: m.Detail, Hint: m.Hint}
	room := noticeAtMost
	for _, text := range []*string{&n.Message, &n.Detail, &n.Hint} {
		if len(*text) > room {
			*text = strings.Clone(strings.ToValidUTF8((*text)[:room], "")) // the rest is not to stay in memory
			n.Cut = true
		}
		room -= len(*text)
	}
	s.result.Notices = append(s.result.Notices, n)
}
