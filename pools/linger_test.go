//go:build unix

package pools_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// The rest of a result that nobody reads is not sent: the server is told to
// stop. (FROM generate_series(...) would be slow for another reason: it stores
// the rows in a file, before the query returns and until it ends.)
func TestAReleaseWithATrillionUnreadRowsFreesItsSlotSoon(t *testing.T) {
	pools.CancelPatiently(t) // the slot is not free because the server was asked for it
	m := open(t, config(20))
	for i := range times(8, 30) {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), `SELECT generate_series(1, 1000000000000), repeat('x', 20)`)
		if err != nil {
			t.Fatal(err)
		}
		for range i * 300 {
			rows.Next()
		}
		conn.Release()
		eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Open() == 0 })
	}
}

// A cancel can be lost (see TestACancelIsRepeatedUntilTheQueryStops), also the
// one that ends a connection.
func TestAClosingConnectionIsCancelledAgainBeforeItIsTerminated(t *testing.T) {
	pools.CancelPatiently(t)
	m := open(t, config(20))
	if _, err := m.Workspace("w0").Exec(t.Context(), `CREATE OR REPLACE FUNCTION catch_two_cancels() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1..2 LOOP
			BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
		END LOOP;
		PERFORM pg_sleep(60);
	END $$`); err != nil {
		t.Fatal(err)
	}
	asked := stats(t, m).System.Counters.Acquires
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	// The first rows are enough for the server to send some.
	if _, err := conn.Query(t.Context(), `SELECT CASE WHEN i < 1000 THEN repeat('x', 100) ELSE catch_two_cancels() END FROM generate_series(1, 1000) i`); err != nil {
		t.Fatal(err)
	}
	conn.Release()
	eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Open() == 0 })
	if n := stats(t, m).System.Counters.Acquires - asked; n != 0 {
		t.Errorf("the server was asked %d times to terminate it", n)
	}
}

// freeze stops the server process until the returned function, or the test's
// end, lets it go on.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	t.Cleanup(thaw)
	return thaw
}

// Raising a limit does not help where holders wait for the server.
func TestALimitIsNotBlamedWhileTheServerIsSilent(t *testing.T) {
	cfg := config(20)
	cfg.MaxConnectionsPerDB = 1
	m := open(t, cfg)
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	refused := func() string {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		_, err := m.Acquire(ctx, "w0")
		var limit *model.ConnectionLimitError
		if !errors.As(err, &limit) {
			t.Fatal(err)
		}
		return limit.Error()
	}
	thaw := freeze(t, idle(t, m.System(), 1)[0])
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := m.Ping(ctx); err == nil {
		t.Fatal("a frozen server answers")
	}
	if said := refused(); !strings.Contains(said, "does not answer") || strings.Contains(said, "raise") {
		t.Errorf("it blames the limit: %s", said)
	}
	thaw()
	eventually(t, "the server answers", func() bool { return m.Ping(t.Context()) == nil })
	if said := refused(); !strings.Contains(said, "raise DB_MAX_CONNECTIONS_PER_DB") {
		t.Errorf("the server answers, and the limit is not blamed: %s", said)
	}
}

func TestAQueryOutlivesItsTimeOnAFrozenServerByOneCancelOnly(t *testing.T) {
	const cancel = 1500 * time.Millisecond
	pools.CancelWithin(t, cancel)
	m := open(t, config(20))
	result, err := m.Query(t.Context(), model.Query{Workspace: "w0", SQL: `SELECT pg_backend_pid()`})
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(fmt.Sprint(result.Rows[0][0]))
	if err != nil {
		t.Fatal(err)
	}
	freeze(t, pid)
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	_, err = m.Query(ctx, model.Query{Workspace: "w0", SQL: `SELECT 1`})
	deadline, _ := ctx.Deadline()
	if late := time.Since(deadline); late > cancel+time.Second || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v after its time: %v", late, err)
	}
}

// A frozen process is one that ignores everything: the end of its connection,
// cancels, and being terminated.
func TestABackendThatWillNotGoKeepsItsSlotAndOthersGoOn(t *testing.T) {
	const budget, workspaces = 20, 40
	watch := grant(t, budget)
	m := open(t, config(budget))
	conn, err := m.Acquire(t.Context(), "w90")
	if err != nil {
		t.Fatal(err)
	}
	pid := int(conn.Conn().PgConn().PID())
	thaw := freeze(t, pid)
	conn.Release()
	evicted := make(chan error, 1)
	go func() { evicted <- second(m.Evict(context.Background(), "w90")) }()
	lingers(t, m, func() {
		peak := sampleBackends(t, watch)
		var wg sync.WaitGroup
		for worker := range 30 {
			wg.Go(func() {
				for i := range times(6, 20) {
					if err := m.Workspace(workspaceID((worker + 7*i) % workspaces)).Ping(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if most := peak(); most > budget {
			t.Errorf("%d backends with a budget of %d", most, budget)
		}
	})
	if backendCount(t, watch, pid) != 1 {
		t.Fatal("the backend went, so this test shows nothing")
	}
	select {
	case err := <-evicted:
		t.Errorf("Evict returned before the server had let go: %v", err)
	default:
	}
	thaw()
	if err := <-evicted; err != nil {
		t.Error(err)
	}
	if n := backendCount(t, watch, pid); n != 0 {
		t.Error("the slot was freed before the backend was gone")
	}
	st := stats(t, m)
	if n := st.Workspaces.Counters.ServerRefusals + st.System.Counters.ServerRefusals; n != 0 {
		t.Errorf("the server refused %d connections", n)
	}
	fillBudget(t, m, workspaces)
}

// lingers shows that one connection stays closing, while others go on and until
// the server was asked for it several times.
func lingers(t *testing.T, m *manager, others func()) {
	t.Helper()
	asked := stats(t, m).System.Counters.Acquires
	others()
	eventually(t, "the server was asked", func() bool { return stats(t, m).System.Counters.Acquires >= asked+3 })
	if st := stats(t, m).Workspaces; st.Closing != 1 {
		t.Errorf("one should be closing: %+v", st.Counts)
	}
}

// Its query ignores its cancel, so the server is told to end it.
func TestABackendThatIgnoresCancelsIsTerminated(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	pid := int(conn.Conn().PgConn().PID())
	_, _ = whileItSleeps(t, watch, conn)
	conn.Release()
	if st := stats(t, m).Workspaces; st.Closing != 1 {
		t.Errorf("it should be closing: %+v", st.Counts)
	}
	if err := m.Workspace("w1").Ping(t.Context()); err != nil {
		t.Errorf("another workspace: %v", err)
	}
	eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Closing == 0 })
	if n := backendCount(t, watch, pid); n != 0 {
		t.Error("the slot was freed before the backend was gone")
	}
	if n := stats(t, m).System.Counters.Acquires; n < 2 { // the first is Open's
		t.Error("nobody asked the server, so how did it end?")
	}
}

// Without an end-of-file nothing is known: the process may live on, as one whose
// network is gone does until its next write.
func TestAConnectionThatBrokeIsCountedUntilTheServerSaysThatItsProcessIsGone(t *testing.T) {
	for name, breakIt := range map[string]func(*proxied){
		"reset":  (*proxied).reset,
		"silent": (*proxied).silence,
	} {
		t.Run(name, func(t *testing.T) {
			watch := superuser(t)
			proxy := startProxy(t)
			cfg := config(20)
			cfg.Host, cfg.Port = "127.0.0.1", proxy.port()
			m := open(t, cfg)
			conn, err := m.Acquire(t.Context(), "w0")
			if err != nil {
				t.Fatal(err)
			}
			pid := int(conn.Conn().PgConn().PID())
			thaw := freeze(t, pid)
			breakIt(proxy.find(t, conn))
			conn.Release()
			evicted := make(chan error, 1)
			go func() { evicted <- second(m.Evict(context.Background(), "w0")) }()
			lingers(t, m, func() {
				if err := m.Workspace("w1").Ping(t.Context()); err != nil {
					t.Errorf("another workspace: %v", err)
				}
			})
			if n := backendCount(t, watch, pid); n != 1 {
				t.Fatal("the backend went, so this test shows nothing")
			}
			thaw()
			if err := <-evicted; err != nil {
				t.Error(err)
			}
			eventually(t, "its slot is free", func() bool { return stats(t, m).Workspaces.Closing == 0 })
			if n := backendCount(t, watch, pid); n != 0 {
				t.Error("the slot was freed before the backend was gone")
			}
		})
	}
}

// proxy stands between the manager and the server, as a network does.
type proxy struct {
	listener net.Listener
	to       atomic.Pointer[string] // the server's address
	lock     sync.Mutex
	pairs    map[string]*proxied // by the client's address
}

type proxied struct {
	client, server net.Conn
	broken         atomic.Bool // by reset
}

func startProxy(t *testing.T) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, pairs: map[string]*proxied{}}
	to := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
	p.to.Store(&to)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		p.lock.Lock()
		for _, pair := range p.pairs {
			_, _ = pair.client.Close(), pair.server.Close()
		}
		p.lock.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", *p.to.Load())
			if err != nil {
				_ = client.Close()
				continue
			}
			pair := &proxied{client: client, server: server}
			p.lock.Lock()
			p.pairs[client.RemoteAddr().String()] = pair
			p.lock.Unlock()
			wg.Go(func() { forward(server, client) })
			wg.Go(func() { forward(client, server) })
		}
	})
	return p
}

// forward passes on the end-of-file, but no other end.
func forward(to, from net.Conn) {
	// The system's splice would keep the other side's connection from closing.
	if _, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}); err == nil {
		_ = to.(*net.TCPConn).CloseWrite()
	}
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// find returns the lent connection's pair.
func (p *proxy) find(t *testing.T, conn *pools.Conn) *proxied {
	t.Helper()
	p.lock.Lock()
	defer p.lock.Unlock()
	pair := p.pairs[conn.Conn().PgConn().Conn().LocalAddr().String()]
	if pair == nil {
		t.Fatal("it is not connected through the proxy")
	}
	return pair
}

// resetAll is reset for all that is connected.
func (p *proxy) resetAll() {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, pair := range p.pairs {
		pair.reset()
	}
}

// reset breaks the client's side; the server hears nothing of it.
func (c *proxied) reset() {
	c.broken.Store(true)
	_ = c.client.(*net.TCPConn).SetLinger(0)
	_ = c.client.Close()
}

// endBroken lets the server hear of what was reset: a manager that closes need not find
// out about its last connection to the system database.
func (p *proxy) endBroken() {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, pair := range p.pairs {
		if pair.broken.Load() {
			_ = pair.server.Close()
		}
	}
}

// silence lets nothing through any more, and says nothing.
func (c *proxied) silence() {
	past := time.Unix(1, 0)
	_, _ = c.client.SetReadDeadline(past), c.server.SetReadDeadline(past)
}
