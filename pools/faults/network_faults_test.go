package faults

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// dialTime is the managers' DialTimeout in the short form.
const dialTime = time.Second

// silentlyDead is backWithin where connections are dead without a sign: only a
// request's deadline tells, after which the query's cancel has half a second, the
// closing a second, and then the server is asked.
func silentlyDead() time.Duration { return requestTime + mustBeBack }

// over plays the fault on a network of its own.
func (f fault) over(t *testing.T, w *wire) {
	t.Helper()
	f.config = w.between
	f.run(t)
}

// What a request may see of a network that is silent, and of one that breaks.
var (
	silent = []cause{timedOut, whileDialing}
	cut    = []cause{broken}
)

func TestTheNetworkIsSlow(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	for i, slow := range []struct{ name, kind, attributes string }{
		{"network slow: 50 ms each way, more or less 40", "latency", `{"latency": 50, "jitter": 40}`},
		{"network narrow: 100 kB/s for each connection", "bandwidth", `{"rate": 100}`},
		{"network in tiny packets: 16 bytes, more or less 8", "slicer", `{"average_size": 16, "size_variation": 8}`},
	} {
		fault{
			name: slow.name, variant: i > 0,
			begin: func(t *testing.T) { w.toxic(t, slow.kind, slow.attributes) },
			heal:  w.detoxify,
		}.over(t, w)
	}
}

func TestTheNetworkResetsConnections(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	fault{
		name: "all connections reset, ten times a second",
		during: func(ctx context.Context, _ *testing.T) {
			for !within(ctx.Done(), 100*time.Millisecond) {
				if w.sessions() > 0 { // a dial may take longer than that
					w.cut()
				}
			}
		},
		shows: cut,
	}.over(t, w)
	fault{
		name: "all connections reset, new ones too", variant: true,
		begin: func(*testing.T) {
			w.update(func() { w.refuse = true })
			w.cut()
		},
		heal: func(*testing.T) { w.heal() },
		// It is no failure that an idle connection was reset.
		shows: slices.Concat(cut, silent),
	}.over(t, w)
}

func TestTheNetworkIsDark(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	heal := func(*testing.T) { w.heal() }
	fault{
		name:  "network dark both ways; what was sent arrives late",
		begin: func(*testing.T) { w.hold(toServer, toClient) }, heal: heal,
		shows: silent,
	}.over(t, w)
	fault{
		name: "network dark both ways; old connections stay so", variant: true,
		begin: func(*testing.T) { w.hold(toServer, toClient) },
		heal:  func(*testing.T) { w.forget() },
		shows: silent, backWithin: silentlyDead(),
	}.over(t, w)
	fault{
		name: "requests arrive, answers do not", variant: true,
		begin: func(*testing.T) { w.hold(toClient) }, heal: heal,
		shows: silent,
	}.over(t, w)
	fault{
		name: "answers arrive, requests do not", variant: true,
		begin: func(*testing.T) { w.hold(toServer) }, heal: heal,
		shows: silent,
	}.over(t, w)
}

func TestNewConnectionsFindNobody(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	var lot *parkingLot
	fault{
		name: "new connections are not accepted", variant: true,
		begin: func(t *testing.T) { lot = w.goDeaf(t) },
		heal:  func(t *testing.T) { lot.clear(t) },
		shows: silent,
	}.over(t, w)
	fault{
		name:  "new connections are accepted and hear nothing",
		begin: func(*testing.T) { w.update(func() { w.fresh = [2]passage{held, held} }) },
		heal:  func(*testing.T) { w.heal() },
		shows: silent,
	}.over(t, w)
}

// onSome lets something happen to some sessions ten times a second.
func (w *wire) onSome(what func(*pair)) func(context.Context, *testing.T) {
	return func(ctx context.Context, _ *testing.T) {
		for !within(ctx.Done(), 100*time.Millisecond) {
			w.each(func(p *pair) {
				if rand.IntN(5) == 0 && p.tenants() && p.ways[toClient].passage == open {
					what(p)
				}
			})
		}
	}
}

func TestConnectionsAreHalfOpen(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	fault{
		name:   "client's side reset, the server does not hear of it",
		during: w.onSome(func(p *pair) { p.set(lost); hangUp(p.client) }),
		shows:  cut,
	}.over(t, w)
	fault{
		name: "server's side reset, the client does not hear of it", variant: true,
		during: w.onSome(func(p *pair) { p.set(lost); hangUp(p.server) }),
		shows:  silent, backWithin: silentlyDead(),
	}.over(t, w)
}

// watching lets look decide while the fault lasts.
func (f fault) watching(t *testing.T, w *wire, look func(p *pair, to direction, data []byte) verdict) {
	t.Helper()
	f.begin = func(*testing.T) { w.update(func() { w.look = look }) }
	f.heal = func(*testing.T) { w.heal() }
	f.over(t, w)
}

// atSomeStage is for half of the logins: the startup message, one of the
// scram-sha-256 exchange, the server's welcome, or the query that tests a session.
func atSomeStage(then verdict) func(p *pair, to direction, data []byte) verdict {
	return func(p *pair, to direction, _ []byte) verdict {
		if p.passed[toClient] < loggedIn && rand.IntN(10) == 0 {
			return then
		}
		return passOn
	}
}

func TestLoginsBreakOff(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	fault{name: "logins cut, at any stage"}.watching(t, w, atSomeStage(cutBefore))
	fault{
		name: "logins fall silent, at any stage", variant: true,
		shows: silent,
	}.watching(t, w, atSomeStage(holdIt))
}

// nowAndThen is for what is sent there, when what is sent is of a session.
func nowAndThen(to direction, n int, then verdict) func(p *pair, to direction, data []byte) verdict {
	return func(p *pair, way direction, _ []byte) verdict {
		if way == to && p.tenants() && rand.IntN(n) == 0 {
			return then
		}
		return passOn
	}
}

func TestQueriesBreakOff(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	fault{name: "connections cut between a query and its answer", variant: true, shows: cut}.
		watching(t, w, nowAndThen(toServer, 20, cutAfter))
	fault{name: "connections cut at an answer", variant: true, shows: cut}.
		watching(t, w, nowAndThen(toClient, 20, cutBefore))
	fault{name: "client's side cut between a query and its answer, the server does not hear of it", shows: cut}.
		watching(t, w, nowAndThen(toServer, 50, orphanAfter))
	fault{name: "client's side ended between a query and its answer, the server does not hear of it", variant: true, shows: cut}.
		watching(t, w, nowAndThen(toServer, 50, widowAfter))
	fault{
		name: "connections cut in the midst of a large result", variant: true, shows: cut,
		work: func(ctx context.Context, conn *pools.Conn) error {
			rows, err := conn.Query(ctx, `SELECT repeat('x', 100) FROM generate_series(1, 5000)`)
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		},
	}.watching(t, w, func(_ *pair, to direction, data []byte) verdict {
		if to == toClient && len(data) > 4<<10 && rand.IntN(100) == 0 {
			return cutAfter
		}
		return passOn
	})
}

var (
	terminateMessage = []byte{'X', 0, 0, 0, 4}
	cancelRequest    = []byte{0, 0, 0, 16, 4, 210, 22, 46}
)

func TestFarewellsAndCancelsAreLost(t *testing.T) {
	w := startWire(t, "127.0.0.1:0")
	fault{name: "farewells lost: the server hears nothing of closed connections"}.
		watching(t, w, func(_ *pair, to direction, data []byte) verdict {
			if to == toServer && bytes.HasSuffix(data, terminateMessage) && rand.IntN(3) == 0 {
				return loseIt
			}
			return passOn
		})
	fault{
		name: "cancel requests lost", shows: silent, config: w.between,
		work: func(ctx context.Context, conn *pools.Conn) error {
			if rand.IntN(10) > 0 {
				return ordinary(ctx, conn)
			}
			ctx, stop := context.WithTimeout(ctx, impatience)
			defer stop()
			_, err := conn.Exec(ctx, `SELECT pg_sleep(60)`)
			return err
		},
		begin: func(*testing.T) {
			w.update(func() {
				w.look = func(_ *pair, to direction, data []byte) verdict {
					if to == toServer && bytes.HasPrefix(data, cancelRequest) {
						return loseIt
					}
					return passOn
				}
			})
		},
		heal: func(*testing.T) {
			w.heal()
			// pgx waits 15 s for the answer to one, if nothing ends it.
			w.each(func(p *pair) {
				if p.passed[toClient] == 0 {
					p.cut()
				}
			})
		},
	}.run(t)
}

// toxiproxy's own proxy ends both directions as soon as one ends.
func TestAProxyEndsBothDirectionsAtOnce(t *testing.T) {
	port := startToxiproxy(t)
	fault{
		name: "a proxy that knows no half-open connections (all the time)", variant: true,
		config: func(cfg *model.Config) { cfg.Host, cfg.Port = "127.0.0.1", port; shortTimes(cfg) },
	}.run(t)
}
