package pooltest

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// session is a client's connection to a Fake. One goroutine serves it; others may
// terminate it, or cancel what it runs.
type session struct {
	fake       *Fake
	conn       net.Conn
	client     *pgproto3.Backend
	pid        uint32
	secret     []byte
	database   string
	workspace  model.WorkspaceID
	cancels    chan struct{} // has room for one
	terminated context.Context
	terminate  context.CancelFunc

	tx         byte // the transaction's state, as ReadyForQuery has it
	statements map[string]string
	portals    map[string]*portal
}

// farewellWithin bounds telling a client that its session is over; it may not be reading.
const farewellWithin = time.Second

// serve talks to a client until its session ends.
func (f *Fake) serve(conn net.Conn) {
	s := &session{
		fake: f, conn: conn, client: pgproto3.NewBackend(conn, conn),
		secret: make([]byte, 4), cancels: make(chan struct{}, 1),
		tx: 'I', statements: make(map[string]string), portals: make(map[string]*portal),
	}
	_, _ = rand.Read(s.secret)
	s.terminated, s.terminate = context.WithCancel(f.ended)
	defer func() {
		s.terminate()
		f.forget(s)
		_ = conn.Close()
	}()
	stop := context.AfterFunc(s.terminated, func() { _ = conn.SetReadDeadline(time.Now()) }) // it may be idle
	defer stop()
	err := s.login()
	for err == nil {
		var message pgproto3.FrontendMessage
		if message, err = s.client.Receive(); err == nil {
			err = s.terminated.Err()
		}
		if err == nil {
			err = s.answer(message)
		}
	}
	if s.terminated.Err() != nil {
		err = fatal(pgerrcode.AdminShutdown, ending)
	}
	var last *pgconn.PgError
	if errors.As(err, &last) {
		_ = conn.SetWriteDeadline(time.Now().Add(farewellWithin))
		_ = s.refuse(last)
	}
}

// errDone ends a session without a word.
var errDone = errors.New("the session is over")

func (s *session) login() error {
	for {
		message, err := s.client.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := s.conn.Write([]byte{'N'}); err != nil {
				return err
			}
			continue
		case *pgproto3.CancelRequest:
			s.fake.cancel(m)
			return errDone
		case *pgproto3.StartupMessage:
			return s.welcome(m.Parameters)
		}
		return errDone
	}
}

// welcome lets the client in, or returns why not.
func (s *session) welcome(parameters map[string]string) error {
	s.database = parameters["database"]
	if id, found := strings.CutPrefix(s.database, workspacePrefix); found {
		s.workspace = model.WorkspaceID(id)
	}
	if err := s.delay(s.terminated); err != nil {
		return err
	}
	if refused := s.fake.admit(s); refused != nil {
		return refused
	}
	s.client.Send(&pgproto3.AuthenticationOk{})
	status := map[string]string{
		"server_version": "17.0", "server_encoding": "UTF8", "client_encoding": "UTF8", "standard_conforming_strings": "on",
		"integer_datetimes": "on", "DateStyle": "ISO, MDY", "TimeZone": "UTC", "in_hot_standby": "off",
		"default_transaction_read_only": "off", "is_superuser": "off",
		"session_authorization": parameters["user"], "application_name": parameters["application_name"],
	}
	for _, name := range slices.Sorted(maps.Keys(status)) {
		s.client.Send(&pgproto3.ParameterStatus{Name: name, Value: status[name]})
	}
	s.client.Send(&pgproto3.BackendKeyData{ProcessID: s.pid, SecretKey: s.secret})
	return s.ready()
}

func (s *session) ready() error {
	s.client.Send(&pgproto3.ReadyForQuery{TxStatus: s.tx})
	return s.client.Flush()
}

// cancel is for a cancel request, which nobody answers.
func (f *Fake) cancel(m *pgproto3.CancelRequest) {
	f.with(func(s *state) {
		whose := s.sessions[m.ProcessID]
		if whose == nil || string(whose.secret) != string(m.SecretKey) {
			return
		}
		select {
		case whose.cancels <- struct{}{}:
		default:
		}
	})
}

func (s *session) refuse(err *pgconn.PgError) error {
	s.client.Send(&pgproto3.ErrorResponse{
		Severity: err.Severity, SeverityUnlocalized: err.SeverityUnlocalized, Code: err.Code, Message: err.Message,
		Detail: err.Detail, Hint: err.Hint, Position: err.Position, Where: err.Where, SchemaName: err.SchemaName,
		TableName: err.TableName, ColumnName: err.ColumnName, DataTypeName: err.DataTypeName,
		ConstraintName: err.ConstraintName, Routine: err.Routine,
	})
	return s.client.Flush()
}

func refusal(code, message string) error { return Refuse(code, message) }

// isFinal tells whether the error ends the session.
func isFinal(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return said.SeverityUnlocalized == "FATAL" || said.SeverityUnlocalized == "PANIC"
	}
	return errors.Is(err, ErrHangUp) || errors.Is(err, errDone)
}

// asPgError is how the server tells the error of a handler.
func asPgError(err error) *pgconn.PgError {
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: pgerrcode.InternalError, Message: err.Error()}
	}
	complete := *said
	if complete.Severity == "" {
		complete.Severity = "ERROR"
	}
	if complete.SeverityUnlocalized == "" {
		complete.SeverityUnlocalized = complete.Severity
	}
	return &complete
}
