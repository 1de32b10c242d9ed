package door_test

import (
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/pools/door"
)

// Protocol 3.2 has longer keys for cancel requests.
func TestACancelRequestOfProtocol32(t *testing.T) {
	s := open(t, 1, door.Options{})
	conn := s.connect(t, "app", "w0", "max_protocol_version=3.2&min_protocol_version=3.2")
	if n := len(conn.PgConn().SecretKey()); n != 32 {
		t.Errorf("the key has %d bytes", n)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = conn.PgConn().CancelRequest(t.Context()) })
	if _, err := conn.Exec(t.Context(), "SELECT pg_sleep(60)"); state(err) != "57014" {
		t.Errorf("it was not cancelled: %v", err)
	}
	// Another key, and another number, cancel nothing.
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT pg_sleep(0.3)")
		answered <- err
	}()
	eventually(t, "it runs", func() bool { return s.door.Stats().Active == 1 })
	wrong := append([]byte{}, conn.PgConn().SecretKey()...)
	wrong[31] ^= 1
	for _, request := range []*pgproto3.CancelRequest{{ProcessID: conn.PgConn().PID(), SecretKey: wrong}, {ProcessID: conn.PgConn().PID() + 1, SecretKey: conn.PgConn().SecretKey()}} {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		sent, _ := request.Encode(nil)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, 1)) // until its end
		_ = c.Close()
	}
	if err := <-answered; err != nil {
		t.Errorf("a wrong key has cancelled it: %v", err)
	}
}

func TestAFunctionCallIsRelayed(t *testing.T) {
	s := open(t, 1, door.Options{})
	c := s.raw(t, "app", "w0")
	argument := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	const int4pl = 177
	c.send(&pgproto3.FunctionCall{Function: int4pl, ArgFormatCodes: []uint16{1}, Arguments: [][]byte{argument(2), argument(3)}, ResultFormatCode: 1})
	if got := c.until('Z'); got != "VZ(I)" {
		t.Errorf("got %s", got)
	}
	c.send(&pgproto3.Query{String: "SELECT 1"})
	if got := c.until('Z'); got != "TD(1)CZ(I)" {
		t.Errorf("got %s", got)
	}
}

func TestADoorListensOnSeveralAddresses(t *testing.T) {
	s := open(t, 1, door.Options{})
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.door.Serve(listener) }()
	conn, err := pgx.Connect(t.Context(), "host="+folder+" port=5432 user=app password=secret dbname=w0")
	if err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, conn, "SELECT current_database()"); got != "t_ws_w0" {
		t.Error(got)
	}
	_ = conn.Close(t.Context())
	exec(t, s.connect(t, "app", "w0", ""), "SELECT 1")
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	_ = s.door.Shutdown(ctx)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
