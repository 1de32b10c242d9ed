package door

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// desk knows the clients that are logged in. Its goroutine alone touches its fields; the
// others send it functions. Whatever is counted for each transaction is in the clients and
// the places themselves, so that a transaction costs no message.
type desk struct {
	owner
	clients map[uint32]*client
	places  map[model.WorkspaceID]*place
	last    uint32
	most    int
	// draining: nobody comes in any more. empty is closed when, then, the last is gone.
	draining bool
	empty    chan struct{}
	// gone is what places have counted that have no clients any more.
	gone counts
}

// client is what the door knows of a client that is logged in.
type client struct {
	id        uint32 // the process id that it is told
	secret    []byte // for cancel requests
	conn      net.Conn
	user      string
	workspace model.WorkspaceID
	database  string
	since     time.Time
	console   bool
	place     *place
	session   *session // nil in the console
	// The rest is the session's, and read by others.
	state       atomic.Int32                           // a clientState
	stateSince  atomic.Int64                           // in Unix nanoseconds
	server      atomic.Uint32                          // the server process, while it has one
	ending      atomic.Pointer[pgproto3.ErrorResponse] // what ends it; see end
	application atomic.Pointer[string]
}

// clientState is what a client does.
type clientState int32

const (
	clientIdle clientState = iota
	clientWaiting
	clientActive
	clientPinned
)

// place is a workspace that has clients. They count in it.
type place struct {
	id                      model.WorkspaceID
	clients                 int // the desk's
	active, waiting, pinned atomic.Int64
	counts
}

// counts are sums since the beginning.
type counts struct {
	transactions, queries, errors  atomic.Uint64
	fromClients, fromServers       atomic.Uint64
	waitTime, queryTime, leaseTime atomic.Int64 // nanoseconds
	prepared, resets, replays      atomic.Uint64
}

func (c *counts) add(o *counts) {
	for _, sum := range [][2]*atomic.Uint64{
		{&c.transactions, &o.transactions}, {&c.queries, &o.queries}, {&c.errors, &o.errors},
		{&c.fromClients, &o.fromClients}, {&c.fromServers, &o.fromServers},
		{&c.prepared, &o.prepared}, {&c.resets, &o.resets}, {&c.replays, &o.replays},
	} {
		sum[0].Add(sum[1].Load())
	}
	for _, sum := range [][2]*atomic.Int64{{&c.waitTime, &o.waitTime}, {&c.queryTime, &o.queryTime}, {&c.leaseTime, &o.leaseTime}} {
		sum[0].Add(sum[1].Load())
	}
}

func openDesk(most int) *desk {
	d := &desk{
		owner: newOwner(), empty: make(chan struct{}), most: most,
		clients: make(map[uint32]*client), places: make(map[model.WorkspaceID]*place),
	}
	go d.run()
	return d
}

func (d *desk) run() {
	watch := time.NewTicker(watchAfter)
	defer watch.Stop()
	for {
		select {
		case visit := <-d.visits:
			visit()
		case <-watch.C:
			for _, c := range d.clients {
				if c.session != nil {
					c.session.alarm.look()
				}
			}
		case <-d.closed:
			return
		}
	}
}

// enter lets a client in and gives it its key, of so many secret bytes.
func (d *desk) enter(c *client, secretBytes int) (refused *pgproto3.ErrorResponse) {
	refused = fatal(pgerrcode.AdminShutdown, "the door is closed; connect again")
	c.secret = make([]byte, secretBytes)
	_, _ = rand.Read(c.secret) // it never fails
	d.ask(func() {
		switch {
		case d.draining:
			return
		case len(d.clients) >= d.most:
			refused = fatal(pgerrcode.TooManyConnections, fmt.Sprintf("the door has %d clients, which is as many as it may have (MaxClients, TENANTPOOL_PG_MAX_CLIENTS)", d.most))
			return
		}
		refused = nil
		// The number of one that has just left is nobody's for long, lest a cancel request
		// or a KILL that is late means another.
		d.last = (d.last + 1) & 0x7fffffff
		for d.clients[d.last] != nil || d.last == 0 {
			d.last = (d.last + 1) & 0x7fffffff
		}
		c.id = d.last
		d.clients[c.id] = c
		if c.console {
			return
		}
		if d.places[c.workspace] == nil {
			d.places[c.workspace] = &place{id: c.workspace}
		}
		c.place = d.places[c.workspace]
		c.place.clients++
	})
	return refused
}

// leave is for a client that entered.
func (d *desk) leave(c *client) {
	d.ask(func() {
		delete(d.clients, c.id)
		if p := c.place; p != nil {
			if p.clients--; p.clients == 0 {
				d.gone.add(&p.counts)
				delete(d.places, p.id)
			}
		}
		d.look()
	})
}

// look tells whether a drain is over.
func (d *desk) look() {
	if d.draining && len(d.clients) == 0 {
		select {
		case <-d.empty:
		default:
			close(d.empty)
		}
	}
}

// find is the client of a cancel request; nil: there is none.
func (d *desk) find(id uint32, secret []byte) (found *client) {
	d.ask(func() {
		if c := d.clients[id]; c != nil && subtle.ConstantTimeCompare(c.secret, secret) == 1 {
			found = c
		}
	})
	return found
}

// list is who is logged in, by id.
func (d *desk) list() (all []*client) {
	d.ask(func() {
		all = slices.SortedFunc(maps.Values(d.clients), func(a, b *client) int { return cmp.Compare(a.id, b.id) })
	})
	return all
}

// drain lets nobody in any more, and tells when the last client is gone.
func (d *desk) drain() (empty <-chan struct{}) {
	d.ask(func() {
		d.draining = true
		d.look()
	})
	return d.empty
}

// end has a client's session end at the next moment at which nothing is lost: with this
// error, and at once if it has no transaction.
func (c *client) end(why *pgproto3.ErrorResponse) {
	c.ending.CompareAndSwap(nil, why)
	_ = c.conn.SetReadDeadline(time.Now()) // it looks when it waits for the client
}

// kill ends a client's session at once.
func (c *client) kill() {
	c.ending.CompareAndSwap(nil, fatal(pgerrcode.AdminShutdown, "terminating connection due to administrator command"))
	if c.session != nil {
		go c.session.gate.cancel(context.Background())
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second)) // it may not read
	_ = c.conn.SetReadDeadline(time.Now())
}

// enter notes what the client does from now on.
func (c *client) enter(state clientState) {
	before := clientState(c.state.Load()) // nobody else changes it
	if before == state {
		return
	}
	c.state.Store(int32(state))
	c.stateSince.Store(time.Now().UnixNano())
	for _, change := range []struct {
		state clientState
		by    int64
	}{{before, -1}, {state, 1}} {
		switch change.state {
		case clientWaiting:
			c.place.waiting.Add(change.by)
		case clientActive:
			c.place.active.Add(change.by)
		case clientPinned:
			c.place.pinned.Add(change.by)
		}
	}
}

// stats is what the desk and the places know.
func (d *desk) stats() (st model.DoorStats) {
	d.ask(func() {
		var all counts
		all.add(&d.gone)
		st.Clients, st.Draining = len(d.clients), d.draining
		for _, p := range d.places {
			w := p.stats()
			st.Active += w.Active
			st.Waiting += w.Waiting
			st.Pinned += w.Pinned
			st.Workspaces = append(st.Workspaces, w)
			all.add(&p.counts)
		}
		now := time.Now()
		for _, c := range d.clients {
			if clientState(c.state.Load()) != clientWaiting {
				continue
			}
			i := slices.IndexFunc(st.Workspaces, func(w model.DoorWorkspace) bool { return w.ID == c.workspace })
			if i >= 0 {
				st.Workspaces[i].LongestWait = max(st.Workspaces[i].LongestWait, now.Sub(time.Unix(0, c.stateSince.Load())))
			}
		}
		all.addTo(&st)
	})
	slices.SortFunc(st.Workspaces, func(a, b model.DoorWorkspace) int { return cmp.Compare(a.ID, b.ID) })
	return st
}

func (p *place) stats() model.DoorWorkspace {
	return model.DoorWorkspace{
		ID: p.id, Clients: p.clients,
		Active: int(p.active.Load()), Waiting: int(p.waiting.Load()), Pinned: int(p.pinned.Load()),
		Transactions: p.transactions.Load(), Queries: p.queries.Load(), Errors: p.errors.Load(),
		FromClients: p.fromClients.Load(), FromServers: p.fromServers.Load(),
		WaitTime: time.Duration(p.waitTime.Load()), QueryTime: time.Duration(p.queryTime.Load()),
		TransactionTime: time.Duration(p.leaseTime.Load()),
	}
}

func (c *counts) addTo(st *model.DoorStats) {
	st.Transactions, st.Queries, st.Errors = c.transactions.Load(), c.queries.Load(), c.errors.Load()
	st.Prepared, st.Resets, st.Replays = c.prepared.Load(), c.resets.Load(), c.replays.Load()
	st.FromClients, st.FromServers = c.fromClients.Load(), c.fromServers.Load()
	st.WaitTime, st.QueryTime = time.Duration(c.waitTime.Load()), time.Duration(c.queryTime.Load())
	st.TransactionTime = time.Duration(c.leaseTime.Load())
}
