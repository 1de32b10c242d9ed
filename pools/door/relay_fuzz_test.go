package door_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// fuzzed is the door of a search, and a client beside who fuzzes. A search has two processes,
// each with a server of its own, which ends with it.
var fuzzed = sync.OnceValues(func() (*stage, error) {
	var err error
	if server == nil {
		if server, err = localpg.Start(context.Background(), localpg.Options{MaxConnections: 30, InMemory: true}); err != nil {
			return nil, err
		}
		if err = server.CreateDatabases(context.Background(), "t_ws_w0"); err != nil {
			return nil, err
		}
	}
	cfg := config(2)
	cfg.MaxConnections = 20
	manager, err := pools.Open(context.Background(), cfg, pools.WithLogger(nil))
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "door-fuzz-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	file := filepath.Join(folder, "users")
	if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
		return nil, err
	}
	list, err := door.ReadUsers(file)
	if err != nil {
		return nil, err
	}
	d, err := door.New(manager, door.Options{Users: list})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { _ = d.Serve(listener) }()
	return &stage{d, manager, listener.Addr().String()}, nil
})

// FuzzRelay has a client send anything after its log-in. Its session ends when the client
// does, its connection comes home, and another client's answer is its own.
func FuzzRelay(f *testing.F) {
	seed := func(messages ...pgproto3.FrontendMessage) {
		var sent []byte
		for _, m := range messages {
			sent, _ = m.Encode(sent)
		}
		f.Add(sent, uint16(7))
	}
	seed(&pgproto3.Query{String: "SELECT 1"})
	seed(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "SELECT 1/0"}, &pgproto3.Query{String: "DISCARD ALL"})
	seed(&pgproto3.Parse{Name: "a", Query: "SELECT $1::int"}, &pgproto3.Describe{ObjectType: 'S', Name: "a"}, &pgproto3.Bind{PreparedStatement: "a", Parameters: [][]byte{[]byte("1")}}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "a"}, &pgproto3.Sync{})
	seed(&pgproto3.Parse{Query: "COPY (SELECT 1) TO STDOUT"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}, &pgproto3.Sync{})
	seed(&pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, &pgproto3.CopyFail{Message: "no"}, &pgproto3.Sync{})
	seed(&pgproto3.Query{String: "LISTEN a; SET search_path = b"}, &pgproto3.Query{String: "UNLISTEN *"}, &pgproto3.Sync{}, &pgproto3.Terminate{})
	seed(&pgproto3.FunctionCall{Function: 1, ResultFormatCode: 1}, &pgproto3.PasswordMessage{Password: "x"})
	f.Fuzz(func(t *testing.T, sent []byte, cut uint16) {
		s, err := fuzzed()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(bytes.ToLower(sent), []byte("sleep")) || bytes.Contains(bytes.ToLower(sent), []byte("shutdown")) {
			t.Skip("it would wait")
		}
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		defer stop()
		conn, err := pgx.Connect(ctx, s.dsn("app", "w0", ""))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.PgConn().Hijack()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Conn.Close() }()
		_ = raw.Conn.SetDeadline(time.Now().Add(20 * time.Second))
		answered := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, raw.Conn)
			answered <- err
		}()
		for at := int(cut) % (len(sent) + 1); ; at = len(sent) { // in two parts
			if _, err := raw.Conn.Write(sent[:at]); err != nil {
				break // it was told to go
			}
			sent = sent[at:]
			if len(sent) == 0 {
				break
			}
		}
		_ = raw.Conn.(*net.TCPConn).CloseWrite()
		if err := <-answered; os.IsTimeout(err) {
			t.Fatal("the session does not end")
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if st := s.door.Stats(); st.Clients == 0 && st.Active+st.Waiting+st.Pinned == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("something is left: %+v", s.door.Stats())
			}
		}
		other, err := pgx.Connect(ctx, s.dsn("app", "w0", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close(ctx) }()
		var mark string
		if err := other.QueryRow(ctx, "SELECT $1 || current_setting('search_path')", "mine ").Scan(&mark); err != nil || mark != `mine "$user", public` {
			t.Fatalf("another client got %q, %v", mark, err)
		}
	})
}
