package pools_test

import (
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// pretender lets everybody in, and gives the same answer to everything.
type pretender struct{ login, answer []pgproto3.BackendMessage }

// start returns the settings of who takes it for the server.
func (p pretender) start(t *testing.T, atMost time.Duration) model.Config {
	t.Helper()
	cfg := config(20)
	cfg.Host, cfg.Port = "127.0.0.1", listen(t, p.serve).Port
	cfg.AcquireTimeout = atMost
	return cfg
}

func (p pretender) serve(conn net.Conn) {
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	say := func(messages []pgproto3.BackendMessage) error {
		for _, m := range messages {
			b.Send(m)
		}
		return b.Flush()
	}
	if say(p.login) != nil {
		return
	}
	for {
		message, err := b.Receive()
		if err != nil {
			return
		}
		switch message.(type) {
		case *pgproto3.Sync, *pgproto3.Query:
			if say(append(slices.Clone(p.answer), &pgproto3.ReadyForQuery{TxStatus: 'I'})) != nil {
				return
			}
		}
	}
}

// Connections are opened on goroutines of their own: a panic there is the end of
// the program.
func TestAnAnswerThatMakesNoSenseIsAFailedDial(t *testing.T) {
	column := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("now"), DataTypeOID: 1184, DataTypeSize: 8, Format: 1}}}
	soon := failsSoon(t)
	together(map[string][]pgproto3.BackendMessage{
		"nothing":        {},
		"no rows":        {column, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")}},
		"an empty row":   {column, &pgproto3.DataRow{}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}},
		"NULL":           {column, &pgproto3.DataRow{Values: [][]byte{nil}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}},
		"another type":   {column, &pgproto3.DataRow{Values: [][]byte{[]byte("now")}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}},
		"another column": {column, &pgproto3.DataRow{Values: [][]byte{make([]byte, 8), nil}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}},
	}, func(name string, answer []pgproto3.BackendMessage) {
		if err := openOnly(t, pretender{allIsWell, answer}.start(t, soon)); err == nil {
			t.Errorf("%s: a manager was opened", name)
		}
	})
}

// The error goes to a terminal when serve does not start.
func TestWhatAServerSaysMovesNoCursor(t *testing.T) {
	said := &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Message: "no\x1b[2J\x1b]0;owned\x07 \u009b1m\r\nlevel=info msg=fine"}
	err := openOnly(t, pretender{login: []pgproto3.BackendMessage{said}}.start(t, failsSoon(t)))
	if err == nil {
		t.Fatal("a manager was opened")
	}
	if text := err.Error(); strings.ContainsAny(text, "\x1b\x07\r\n\u009b") || !strings.Contains(text, "owned") {
		t.Errorf("the error is %q", text)
	}
}

// Whoever stands between may say that the server wants the password as it is.
// libpq's variable forbids it.
func TestThePasswordIsNotToldToWhoAsksForItIfOnlyScramIsAllowed(t *testing.T) {
	t.Setenv("PGREQUIREAUTH", "scram-sha-256")
	var told atomic.Bool
	cfg := config(20)
	cfg.Host, cfg.AcquireTimeout = "127.0.0.1", failsSoon(t)
	cfg.Port = listen(t, func(conn net.Conn) {
		b := pgproto3.NewBackend(conn, conn)
		if _, err := b.ReceiveStartupMessage(); err != nil {
			return
		}
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		if b.Flush() == nil && b.SetAuthType(pgproto3.AuthTypeCleartextPassword) == nil {
			if message, err := b.Receive(); err == nil {
				if _, password := message.(*pgproto3.PasswordMessage); password {
					told.Store(true)
				}
			}
		}
	}).Port
	if err := openOnly(t, cfg); err == nil || told.Load() {
		t.Errorf("told: %v; %v", told.Load(), err)
	}
}
