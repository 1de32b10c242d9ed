package pools

import (
	"context"
	"net"
	"testing"
)

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
