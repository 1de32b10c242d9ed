package door_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// raw is a client that sends what it is told to.
type raw struct {
	t        *testing.T
	conn     net.Conn
	frontend *pgproto3.Frontend
}

// raw logs a client in.
func (s *stage) raw(t *testing.T, user, database string) *raw {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.dsn(user, database, ""))
	if err != nil {
		t.Fatal(err)
	}
	hijacked, err := conn.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hijacked.Conn.Close() })
	_ = hijacked.Conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &raw{t, hijacked.Conn, hijacked.Frontend}
}

func (r *raw) send(messages ...pgproto3.FrontendMessage) {
	r.t.Helper()
	for _, m := range messages {
		r.frontend.Send(m)
	}
	if err := r.frontend.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// until reads to a message of this kind, and returns what came: the kind of each, and of
// some what is in it. Parameters and notices are left out.
func (r *raw) until(kind byte) string {
	r.t.Helper()
	var got strings.Builder
	for {
		m, err := r.frontend.Receive()
		if err != nil {
			r.t.Fatalf("after %s: %v", got.String(), err)
		}
		encoded, err := m.Encode(nil)
		if err != nil {
			r.t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus, *pgproto3.NoticeResponse:
			continue
		case *pgproto3.DataRow:
			fmt.Fprintf(&got, "D(%s)", m.Values[0])
		case *pgproto3.ErrorResponse:
			fmt.Fprintf(&got, "E(%s)", m.Code)
		case *pgproto3.ReadyForQuery:
			fmt.Fprintf(&got, "Z(%c)", m.TxStatus)
		default:
			got.WriteByte(encoded[0])
		}
		if encoded[0] == kind {
			return got.String()
		}
	}
}

// config is what open opens.
func config(perWorkspace int) model.Config {
	return model.Config{
		Host: server.Host, Port: server.Port, User: server.User, Password: server.Password, SSLMode: "disable",
		Prefix: "t", SystemDatabase: "postgres", MaxConnections: 50, MaxConnectionsPerDB: perWorkspace, AcquireTimeout: 10 * time.Second,
	}
}
