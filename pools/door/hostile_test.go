package door_test

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/pools/door"
)

// A thousand who never say a word keep nobody out: the oldest gives way.
func TestWhoNeverLogsInKeepsNobodyOut(t *testing.T) {
	s := open(t, 2, door.Options{MaxStarting: 50})
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			_ = c.Close()
		}
	}()
	n := 200
	if long {
		n = 1000
	}
	for i := range n {
		c, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
		if i%3 == 0 {
			_, _ = c.Write([]byte{0, 0, 0, 80, 0, 3}) // half a packet
		}
	}
	conn := s.connect(t, "app", "w0", "")
	exec(t, conn, "SELECT 1")
	_ = silent[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := silent[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first of them hears %v", err)
	}
	if got := s.door.Stats().Starting; got > 50 {
		t.Errorf("%d are in the start-up", got)
	}
}

func TestALogInHasATime(t *testing.T) {
	s := open(t, 1, door.Options{LoginTimeout: 50 * time.Millisecond})
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	eventually(t, "it is gone", func() bool { return s.door.Stats().Starting == 0 })
}

// A client that does not read what it asked for keeps nothing but its own connection.
func TestAClientThatDoesNotReadKeepsNobodyElse(t *testing.T) {
	s := open(t, 2, door.Options{})
	deaf := s.raw(t, "app", "w0")
	deaf.send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"})
	eventually(t, "it is served", func() bool { return s.door.Stats().Active == 1 })
	other := s.connect(t, "app", "w0", "")
	for range 20 {
		exec(t, other, "SELECT 1")
	}
	_ = deaf.conn.Close()
	eventually(t, "its connection is free", func() bool { return s.door.Stats().Active == 0 })
}

func TestNonsenseEndsTheSession(t *testing.T) {
	s := open(t, 1, door.Options{})
	for _, sent := range [][]byte{
		{'Q', 0, 0, 0, 3}, {'Q', 0x80, 0, 0, 0}, {'!', 0, 0, 0, 4}, {'Q', 0, 0, 0, 5, 'x'}, {'P', 0, 0, 0, 6, 0, 0},
		{'B', 0, 0, 0, 5, 'x'}, {'D', 0, 0, 0, 6, 'X', 0}, {'p', 0, 0, 0, 5, 0}, {'Q', 0x3f, 0xff, 0xff, 0xff},
	} {
		c := s.raw(t, "app", "w0")
		if _, err := c.conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		if sent[0] == 'Q' && sent[1] == 0x3f || sent[0] == 'B' {
			_ = c.conn.(*net.TCPConn).CloseWrite() // it waits for the rest
		}
		if _, err := io.Copy(io.Discard, c.conn); err != nil {
			t.Errorf("%q: %v", sent, err)
		}
	}
	exec(t, s.connect(t, "app", "w0", ""), "SELECT 1")
	eventually(t, "all are gone", func() bool { return s.door.Stats().Clients <= 1 })
}

// An idle client has a goroutine and no buffer.
func TestIdleClientsAreCheap(t *testing.T) {
	n := 200
	if long {
		n = 5000
	}
	s := open(t, 2, door.Options{})
	exec(t, s.connect(t, "app", "w0", ""), "SELECT 1")
	memory := func() (bytes, goroutines int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()
	}
	before, goroutines := memory()
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := pgx.Connect(t.Context(), s.dsn("app", "w0", "default_query_exec_mode=exec"))
		if err != nil {
			t.Fatal(err)
		}
		exec(t, conn, "SELECT 1")
		hijacked, err := conn.PgConn().Hijack()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = hijacked.Conn
	}
	eventually(t, "all are idle", func() bool { return s.door.Stats().Active == 0 })
	after, goroutinesAfter := memory()
	t.Logf("%d idle clients: %d bytes and %.2f goroutines each, with the test's own end of the connection", n, (after-before)/n, float64(goroutinesAfter-goroutines)/float64(n))
	if each := float64(goroutinesAfter-goroutines) / float64(n); each > 2.1 {
		t.Errorf("%.2f goroutines a client", each)
	}
	if each := (after - before) / n; each > 24<<10 {
		t.Errorf("%d bytes a client", each)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, "all are gone", func() bool { return s.door.Stats().Clients == 1 })
}
