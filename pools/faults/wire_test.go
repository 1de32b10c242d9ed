package faults

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/rs/zerolog"

	"github.com/tenantpool/tenantpool/model"
)

// wire is the network between a manager and the server: a port on loopback whose
// connections lead on to the server's. The server's own view does not go over it.
//
// toxiproxy makes it slow (see toxic). Its own proxy would be no network: it closes
// both directions when one ends, so that its client sees the end of a session that
// the server still has. Here each direction ends by itself, a reset is a reset, and
// what is dark says nothing at all; that is done by the ways, at both ends of
// toxiproxy's links.
type wire struct {
	listener *net.TCPListener
	api      *toxiproxy.ApiServer
	toxics   *toxiproxy.ToxicCollection
	wg       sync.WaitGroup

	lock    sync.Mutex
	changed sync.Cond
	pairs   map[*pair]bool
	// fresh is how the ways of a new pair begin.
	fresh [2]passage
	// refuse: new connections are reset. deaf: they are not even accepted.
	refuse, deaf bool
	// look sees what is about to be passed on, and says what becomes of the pair.
	look func(p *pair, to direction, data []byte) verdict
}

// direction is an index for the two ways of a pair.
type direction = stream.Direction

const (
	toServer = stream.Upstream
	toClient = stream.Downstream
)

// passage is what becomes of what is sent.
type passage int

const (
	open passage = iota
	// held: it arrives when the way is open again, as what TCP repeats does. Ends
	// and resets do not arrive before that, either.
	held
	// lost: it never arrives, nor does an end.
	lost
)

// verdict is what becomes of a pair on account of what is sent.
type verdict int

const (
	passOn verdict = iota
	// cutAfter resets both sides when this has arrived, cutBefore in its place.
	cutAfter
	cutBefore
	// loseIt: neither this nor anything after it arrives on either way. holdIt: not
	// before the network is healed.
	loseIt
	holdIt
	// orphanAfter passes this on. Then the client's side is reset, or ended (widow),
	// and the server hears nothing of it.
	orphanAfter
	widowAfter
)

// pair is a connection of the manager's and the one that leads on to the server.
type pair struct {
	wire           *wire
	client, server *net.TCPConn
	ways           [2]*way
	passed         [2]int // bytes; the wire's lock
	ended          int    // ways that have; the wire's lock
	system         bool   // it leads to the system database; the wire's lock
}

// way is one direction of a pair: where a link of toxiproxy reads from, and what it
// writes to.
type way struct {
	pair     *pair
	to       direction
	from, at *net.TCPConn
	passage  passage // the wire's lock
	reset    bool    // from was; written before the link ends, and read after
}

func startWire(t *testing.T, address string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	must(t, err)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy has a logger that nobody gave it
	w := &wire{
		listener: listener.(*net.TCPListener),
		api:      toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		pairs:    map[*pair]bool{},
	}
	w.changed.L = &w.lock
	// Only its toxics are used; it never listens.
	w.toxics = toxiproxy.NewProxy(w.api, "wire", "", "").Toxics
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		_ = w.listener.Close()
		w.update(func() { w.deaf = false })
		w.heal()
		w.cut()
		w.wg.Wait()
	})
	return w
}

func (w *wire) port() int { return w.listener.Addr().(*net.TCPAddr).Port }

// between lets a manager reach the server over the wire.
func (w *wire) between(cfg *model.Config) {
	cfg.Host, cfg.Port = "127.0.0.1", w.port()
	shortTimes(cfg)
}

// shortTimes keeps scenes short; the long form has the defaults.
func shortTimes(cfg *model.Config) {
	if !long {
		cfg.DialTimeout = dialTime
	}
}

func (w *wire) accept() {
	for {
		w.lock.Lock()
		for w.deaf {
			w.changed.Wait()
		}
		w.lock.Unlock()
		client, err := w.listener.AcceptTCP()
		if err != nil {
			return
		}
		w.wg.Go(func() { w.connect(client) })
	}
}

func (w *wire) connect(client *net.TCPConn) {
	w.lock.Lock()
	refuse := w.refuse
	w.lock.Unlock()
	if refuse {
		hangUp(client)
		return
	}
	server, err := net.Dial("tcp", net.JoinHostPort(server.Host, strconv.Itoa(server.Port)))
	if err != nil {
		hangUp(client)
		return
	}
	p := &pair{wire: w, client: client, server: server.(*net.TCPConn)}
	w.lock.Lock()
	p.ways[toServer] = &way{pair: p, to: toServer, from: p.client, at: p.server, passage: w.fresh[toServer]}
	p.ways[toClient] = &way{pair: p, to: toClient, from: p.server, at: p.client, passage: w.fresh[toClient]}
	w.pairs[p] = true
	w.lock.Unlock()
	for to, way := range p.ways {
		name := client.RemoteAddr().String() + " " + direction(to).String()
		w.toxics.StartLink(w.api, name, way, way, direction(to))
	}
}

// hangUp resets a connection.
func hangUp(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

func (w *way) Read(b []byte) (int, error) {
	n, err := w.from.Read(b)
	w.reset = err != nil && err != io.EOF
	return n, err
}

// Write takes everything, or what comes after would be stuck in the link.
func (w *way) Write(b []byte) (int, error) {
	p := w.pair
	passage, then := p.wire.judge(w, b)
	switch {
	case passage == lost:
		return len(b), nil
	case then == cutBefore:
		p.cut()
		return len(b), nil
	}
	if _, err := w.at.Write(b); err != nil {
		hangUp(w.from) // nobody is there, which the sender is told
	}
	switch then {
	case cutAfter:
		p.cut()
	case orphanAfter:
		hangUp(p.client)
	case widowAfter:
		_ = p.client.CloseWrite()
	}
	return len(b), nil
}

// judge waits until the way is not held.
func (w *wire) judge(way *way, b []byte) (passage, verdict) {
	w.lock.Lock()
	defer w.lock.Unlock()
	p, then := way.pair, passOn
	if way.to == toServer && p.passed[toServer] == 0 {
		p.system = bytes.Contains(b, []byte("database\x00"+server.Database+"\x00"))
	}
	if way.passage == open && w.look != nil && len(b) > 0 {
		then = w.look(p, way.to, b)
	}
	switch then {
	case holdIt:
		p.set(held)
	case loseIt:
		p.set(lost)
	case orphanAfter, widowAfter:
		p.set(lost)
		return open, then
	}
	for way.passage == held {
		w.changed.Wait()
	}
	p.passed[way.to] += len(b)
	return way.passage, then
}

// set is for both ways; its caller has the wire's lock.
func (p *pair) set(both passage) {
	p.ways[toServer].passage, p.ways[toClient].passage = both, both
	p.wire.changed.Broadcast()
}

// Close passes on the end of from.
func (w *way) Close() error {
	wire, p := w.pair.wire, w.pair
	passage, _ := wire.judge(w, nil)
	switch {
	case passage == lost:
	case w.reset:
		hangUp(w.at)
	default:
		_ = w.at.CloseWrite()
	}
	wire.lock.Lock()
	defer wire.lock.Unlock()
	if p.ended++; p.ended == len(p.ways) {
		_, _ = p.client.Close(), p.server.Close()
		delete(wire.pairs, p)
		wire.changed.Broadcast()
	}
	return nil
}

// cut resets both sides.
func (p *pair) cut() { hangUp(p.client); hangUp(p.server) }

func (w *wire) update(how func()) {
	w.lock.Lock()
	defer w.lock.Unlock()
	how()
	w.changed.Broadcast()
}

// hold keeps back all that is sent to there, on the pairs there are and on new ones.
func (w *wire) hold(to ...direction) {
	w.update(func() {
		for _, to := range to {
			w.fresh[to] = held
			for p := range w.pairs {
				p.ways[to].passage = held
			}
		}
	})
}

// heal ends what hold and look do. What was held arrives.
func (w *wire) heal() {
	w.update(func() {
		w.fresh, w.look, w.refuse = [2]passage{}, nil, false
		for p := range w.pairs {
			for _, way := range p.ways {
				if way.passage == held { // lost stays lost
					way.passage = open
				}
			}
		}
	})
}

// forget is a network that works again and knows nothing of the old connections:
// what is sent on them is lost for ever, and so is what was held.
//
// But for those that were logging in: these it resets. The server holds the slot
// of a login that it hears no more of until its authentication_timeout, a minute,
// and tells nobody whose it is; so does the manager. And but for those to the
// system database: who holds the whole system share (as fill does) leaves the manager
// one connection to ask over, and if that one is dead without a sign, none to ask
// about it until TCP gives up.
func (w *wire) forget() {
	w.update(func() {
		w.fresh, w.look, w.refuse = [2]passage{}, nil, false
		for p := range w.pairs {
			if p.system || p.passed[toClient] < loggedIn {
				defer p.cut()
			}
			p.set(lost)
		}
	})
}

// tenants tells of a workspace's session that has been tested. The system database's
// are what the server is asked over: for one of these that is reset, the manager asks
// over another one for half a second only (see closer.gone in package pools).
func (p *pair) tenants() bool { return !p.system && p.passed[toClient] >= loggedIn }

// loggedIn is how many bytes the server has sent when a session has been welcomed
// and tested, and some more.
const loggedIn = 700

// each does something to all pairs.
func (w *wire) each(do func(*pair)) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for p := range w.pairs {
		do(p)
	}
}

// sessions counts the pairs that lead to a workspace's database and have been tested.
func (w *wire) sessions() (n int) {
	w.each(func(p *pair) {
		if p.tenants() {
			n++
		}
	})
	return n
}

func (w *wire) connections() (n int) {
	w.each(func(*pair) { n++ })
	return n
}

// cut resets all connections.
func (w *wire) cut() { w.each((*pair).cut) }

// toxic adds one of toxiproxy's in both directions.
func (w *wire) toxic(t *testing.T, kind, attributes string) {
	for _, way := range []direction{toServer, toClient} {
		_, err := w.toxics.AddToxicJson(strings.NewReader(
			`{"type": "` + kind + `", "stream": "` + way.String() + `", "attributes": ` + attributes + `}`))
		must(t, err)
	}
}

func (w *wire) detoxify(t *testing.T) { w.toxics.ResetToxics(t.Context()) }
