package door

import (
	"context"
	"sync/atomic"

	"github.com/tenantpool/tenantpool/pools"
)

// gate keeps a connection its client's for as long as a cancel request for it is under way.
// PostgreSQL carries a request out before it ends the request's own connection, so that
// after that end whatever the server process is sent next cannot be hit.
type gate struct {
	// state counts the requests under way; closed: no more begin.
	state     atomic.Int64
	wire      atomic.Pointer[pools.Wire]
	left      chan struct{}
	cancelled atomic.Bool
}

const gateClosed = 1 << 32

func (g *gate) init() {
	g.left = make(chan struct{}, 1)
	g.state.Store(gateClosed)
}

// open lets requests in, for this connection. The session calls it, and close.
func (g *gate) open(wire *pools.Wire) {
	g.wire.Store(wire)
	g.state.Add(-gateClosed)
}

// close waits until no request is under way, and tells whether there was one.
func (g *gate) close() (cancelled bool) {
	for state := g.state.Add(gateClosed); state != gateClosed; state = g.state.Load() {
		<-g.left
	}
	return g.cancelled.Swap(false)
}

// cancel sends a request, and blocks until it has taken effect. It does nothing if the
// client has no connection.
func (g *gate) cancel(ctx context.Context) {
	defer g.leave()
	if g.state.Add(1) >= gateClosed {
		return
	}
	g.cancelled.Store(true)
	_ = g.wire.Load().Cancel(ctx) // if it fails the connection is not lent again
}

func (g *gate) leave() {
	if g.state.Add(-1) == gateClosed {
		select {
		case g.left <- struct{}{}:
		default: // whoever waits looks again in any case
		}
	}
}
