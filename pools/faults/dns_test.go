package faults

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tenantpool/tenantpool/model"
)

// nameServer is a DNS server for one host. The resolver of this process asks it
// while the test runs.
type nameServer struct {
	conn net.PacketConn
	// is is the host's address. None: the answer is fails.
	is    atomic.Pointer[netip.Addr]
	fails atomic.Uint32 // a dnsmessage.RCode
}

const hostName = "db.faults.test"

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	s := &nameServer{conn: conn}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() {
		net.DefaultResolver = before
		_ = conn.Close()
		<-done
	})
	return s
}

// move tells from now on that the host is there.
func (s *nameServer) move(address string) {
	is := netip.MustParseAddr(address)
	s.is.Store(&is)
}

// fail tells from now on that it is nowhere.
func (s *nameServer) fail(code dnsmessage.RCode) {
	s.fails.Store(uint32(code))
	s.is.Store(nil)
}

func (s *nameServer) serve() {
	packet := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(packet)
		if err != nil {
			return
		}
		var question dnsmessage.Message
		if question.Unpack(packet[:n]) != nil || len(question.Questions) != 1 {
			continue
		}
		answer := s.answer(question)
		if packed, err := answer.Pack(); err == nil {
			_, _ = s.conn.WriteTo(packed, from)
		}
	}
}

func (s *nameServer) answer(question dnsmessage.Message) dnsmessage.Message {
	asked := question.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true},
		Questions: question.Questions,
	}
	is := s.is.Load()
	switch {
	case asked.Name.String() != hostName+".":
		answer.RCode = dnsmessage.RCodeNameError
	case is == nil:
		answer.RCode = dnsmessage.RCode(s.fails.Load())
	case asked.Type == dnsmessage.TypeA: // it has no other address
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: is.As4()},
		}}
	}
	return answer
}

func TestTheHostMoves(t *testing.T) {
	names := startNameServer(t)
	old := startWire(t, "127.0.0.1:0")
	other := startWire(t, net.JoinHostPort("127.0.0.2", strconv.Itoa(old.port())))
	names.move("127.0.0.1")
	config := func(cfg *model.Config) {
		old.between(cfg)
		cfg.Host = hostName
		// A dial to the old address outlasts the request that waits for it. If not, no
		// request fails where all slots were being dialed when the host moved.
		cfg.DialTimeout = 2 * requestTime
	}
	fault{
		name:   "host moves to another address; the old one is dark",
		config: config,
		begin: func(*testing.T) {
			old.hold(toServer, toClient)
			names.move("127.0.0.2")
		},
		// Nobody is at the old address any more.
		heal: func(*testing.T) {
			old.forget()
			old.update(func() { old.refuse = true })
		},
		shows: silent, backWithin: silentlyDead(),
	}.run(t)
	if !eventually(mustBeBack+slack(), func() bool { return old.connections() == 0 && other.connections() == 0 }) {
		t.Errorf("%d connections are left to the old address, %d to the new one", old.connections(), other.connections())
	}
}

func TestTheHostsNameIsNotFound(t *testing.T) {
	names := startNameServer(t)
	w := startWire(t, "127.0.0.1:0")
	for _, c := range []struct {
		name string
		code dnsmessage.RCode
	}{
		{"host's name unknown (NXDOMAIN), connections cut", dnsmessage.RCodeNameError},
		{"host's name server out of order (SERVFAIL), connections cut", dnsmessage.RCodeServerFailure},
	} {
		names.move("127.0.0.1")
		fault{
			name: c.name, variant: c.code == dnsmessage.RCodeServerFailure,
			config: func(cfg *model.Config) { w.between(cfg); cfg.Host = hostName },
			begin: func(*testing.T) {
				names.fail(c.code)
				w.cut() // or what is open might do
			},
			heal: func(*testing.T) { names.move("127.0.0.1") },
			// The address is remembered for a second.
			// Meanwhile nobody can ask whether the cut ones are gone: they hold the budget.
			shows: []cause{noSuchHost, budgetLimit},
		}.run(t)
	}
}
