package pools

import (
	"context"
	"net"
	"testing"
)

// Its holder may do so: then it says nothing about the other connections.
func TestAConnectionThatWasClosedIsNotLost(t *testing.T) {
	for closedByUs, lost := range map[bool]bool{true: false, false: true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := newExactConn(raw)
		if closedByUs {
			_ = c.Close()
		}
		_ = server.Close()
		if !closedByUs {
			_, _ = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		<-c.ended
		if c.lost.Load() != lost {
			t.Errorf("closed by us: %v; lost: %v", closedByUs, c.lost.Load())
		}
	}
}

// pgx cancels on a goroutine of its own when a login breaks off; that must not
// look like a further attempt, on which the slot would depend.
func TestACancelRequestIsNoLoginAttempt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := &network{connect: new(net.Dialer).DialContext}
	for _, ctx := range []context.Context{context.WithValue(t.Context(), attempt{}, true), t.Context()} {
		conn, err := n.dial(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if len(n.opened) != 1 {
		t.Errorf("%d attempts were noted, of one login and one cancel request", len(n.opened))
	}
}
