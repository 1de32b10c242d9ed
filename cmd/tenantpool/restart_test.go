package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/web"
)

// inLongForm is how often a test repeats something there.
func inLongForm(short, long int) int {
	if os.Getenv("TENANTPOOL_TEST_LONG") == "1" {
		return long
	}
	return short
}

// balancer passes TCP connections on to those of its servers that are ready, in turns.
type balancer struct {
	listener net.Listener
	servers  []*backendServer
	turn     atomic.Uint64
	refused  atomic.Int64 // connections that a server did not take, or none was ready for
	wg       sync.WaitGroup
}

type backendServer struct {
	address string
	ready   atomic.Bool
}

func startBalancer(t *testing.T, addresses ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	ctx, stop := context.WithCancel(context.Background())
	for _, address := range addresses {
		s := &backendServer{address: address}
		b.servers = append(b.servers, s)
		b.wg.Go(func() { s.watch(ctx) })
	}
	b.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() { b.pass(client) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
		b.wg.Wait()
	})
	return b
}

// watch asks the server's /readyz all the time.
func (s *backendServer) watch(ctx context.Context) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for ctx.Err() == nil {
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/readyz", nil)
		response, err := client.Do(r)
		s.ready.Store(err == nil && response.StatusCode == http.StatusOK)
		if err == nil {
			_ = response.Body.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (b *balancer) pass(client net.Conn) {
	defer client.Close()
	for range b.servers {
		s := b.servers[b.turn.Add(1)%uint64(len(b.servers))]
		if !s.ready.Load() {
			continue
		}
		server, err := net.Dial("tcp", s.address)
		if err != nil {
			break // which a plain balancer does not hide
		}
		defer server.Close()
		var both sync.WaitGroup
		for to, from := range map[net.Conn]net.Conn{client: server, server: client} {
			both.Go(func() {
				_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
				_ = to.(*net.TCPConn).CloseWrite()
			})
		}
		both.Wait()
		return
	}
	b.refused.Add(1)
}

// load sends statements, until stop, which returns how many were answered.
type load struct {
	ending    chan struct{}
	wg        sync.WaitGroup
	succeeded atomic.Int64
}

// startLoad has failed told of each request that does not get a 200.
func startLoad(t *testing.T, url string, key web.PrivateKey, workers int, sql string, failed func(error)) *load {
	t.Helper()
	token, err := web.Issue(key, web.Claims{Subject: "load", Role: web.Service, Workspaces: loadWorkspaces(), TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	l := &load{ending: make(chan struct{})}
	for worker := range workers {
		l.wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer client.CloseIdleConnections()
			for i := worker; ; i++ {
				select {
				case <-l.ending:
					return
				default:
				}
				body := fmt.Sprintf(`{"workspaceId":%q,"sql":%q}`, loadWorkspaces()[i%len(loadWorkspaces())], sql)
				if err := post(client, url+"/api/workspace.query", token, body); err != nil {
					failed(err)
				} else {
					l.succeeded.Add(1)
				}
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

func post(client *http.Client, url, token, body string) error {
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", response.StatusCode, said)
	}
	return err
}

func (l *load) stop() int64 {
	select {
	case <-l.ending:
	default:
		close(l.ending)
	}
	l.wg.Wait()
	return l.succeeded.Load()
}

func loadWorkspaces() (ids []model.WorkspaceID) {
	for i := range 8 {
		ids = append(ids, model.WorkspaceID("load"+strconv.Itoa(i)))
	}
	return ids
}

// freeAddress is one where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func createLoadWorkspaces(t *testing.T, pg *localpg.Server, prefix string) {
	t.Helper()
	var names []string
	for _, id := range loadWorkspaces() {
		names = append(names, prefix+"_ws_"+string(id))
	}
	if err := pg.CreateDatabases(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
}

// Two processes behind a balancer are restarted one after the other.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	pg, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: 60, InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() })
	t.Setenv("DB_ACQUIRE_TIMEOUT", "1m")
	t.Setenv("TENANTPOOL_SHUTDOWN_DELAY", "1s") // the balancer asks every ten milliseconds
	addresses := []string{freeAddress(t), freeAddress(t)}
	var processes [2]*served
	key := web.NewPrivateKey()
	up := func(i int) {
		t.Helper()
		s := prepareServe(t, pg)
		for name, value := range map[string]string{
			"DB_PREFIX": "rolling", "TENANTPOOL_ADDR": addresses[i], "PASETO_PUBLIC_KEY": key.Public().String(),
		} {
			t.Setenv(name, value)
		}
		s.startUntil(t, "Serving")
		processes[i] = s
	}
	createLoadWorkspaces(t, pg, "rolling")
	up(0)
	up(1)
	b := startBalancer(t, addresses...)
	ready := func() bool { return b.servers[0].ready.Load() && b.servers[1].ready.Load() }
	eventually(t, "both are ready", ready)
	l := startLoad(t, "http://"+b.listener.Addr().String(), key, 8, "SELECT pg_sleep(0.005)", func(err error) { t.Error(err) })
	flows := func() {
		t.Helper()
		before := l.succeeded.Load()
		eventually(t, "requests are answered", func() bool { return t.Failed() || l.succeeded.Load() > before+50 })
	}
	for round := range inLongForm(1, 5) {
		for i := range processes {
			flows()
			processes[i].signal(syscall.SIGTERM)
			if status := processes[i].ended(); status != 0 {
				t.Fatalf("round %d, process %d: exit status %d:\n%s", round, i, status, processes[i].stderr())
			}
			flows()
			up(i)
			eventually(t, "both are ready", ready)
		}
	}
	flows()
	t.Logf("%d requests were answered", l.stop())
	if n := b.refused.Load(); n > 0 {
		t.Errorf("%d connections were refused", n)
	}
	for _, s := range processes {
		s.signal(syscall.SIGTERM)
		if status := s.ended(); status != 0 {
			t.Errorf("exit status %d:\n%s", status, s.stderr())
		}
	}
}

// Statements of a process that was killed run on: here until its successor has seen
// them. The server grants exactly the budget, and counts.
func TestTheBudgetHoldsAlthoughTheProcessIsKilledUnderLoad(t *testing.T) {
	const budget = 20
	pg, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: budget + 3 + 2, InMemory: true}) // the reserved ones, and the watcher's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() })
	createLoadWorkspaces(t, pg, "killed")
	watch := asSuperuser(t, pg, "killed").System()
	// Or the server itself would end them, after two seconds.
	for _, sql := range []string{`ALTER SYSTEM SET client_connection_check_interval = '1h'`, `SELECT pg_reload_conf()`} {
		if _, err := watch.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	// All databases see the roles.
	const wait = "DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_roles WHERE rolname = 'wait') LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
	address, key := freeAddress(t), web.NewPrivateKey()
	t.Setenv("DB_ACQUIRE_TIMEOUT", "1m")
	counting, stop := context.WithCancel(t.Context())
	most, counted := 0, make(chan struct{})
	go func() {
		defer close(counted)
		for counting.Err() == nil {
			var n int
			if err := watch.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, pg.User).Scan(&n); err != nil {
				t.Error(err)
				return
			}
			most = max(most, n)
		}
	}()
	l := startLoad(t, "http://"+address, key, 24, wait, func(error) { // it was killed
		select {
		case <-time.After(10 * time.Millisecond):
		case <-counting.Done():
		}
	})
	start := func(until string) *served {
		s := prepareServe(t, pg)
		s.key = key
		for name, value := range map[string]string{"DB_PREFIX": "killed", "TENANTPOOL_ADDR": address, "PASETO_PUBLIC_KEY": key.Public().String()} {
			t.Setenv(name, value)
		}
		s.startUntil(t, until)
		s.url = "http://" + address
		return s
	}
	s := start("Serving")
	for range inLongForm(3, 10) {
		before := l.succeeded.Load()
		eventually(t, "requests are answered", func() bool { return l.succeeded.Load() > before })
		if _, err := watch.Exec(t.Context(), "CREATE ROLE wait"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "much of the budget is used", func() bool {
			_, stats := s.ask(web.Viewer, "/api/admin.connectionStats", "")
			var st struct{ TotalInUseConnections int }
			return json.Unmarshal([]byte(stats), &st) == nil && st.TotalInUseConnections >= budget/2
		})
		s.signal(syscall.SIGKILL)
		s.ended()
		s = start("An earlier run of this instance has left connections, which count until the server has ended them")
		if _, err := watch.Exec(t.Context(), "DROP ROLE wait"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next one serves", func() bool { return strings.Contains(s.stderr(), `"Serving"`) })
		if strings.Contains(s.stderr(), "53300") {
			t.Errorf("the server refused a connection:\n%s", s.stderr())
		}
	}
	stop()
	<-counted
	l.stop()
	s.signal(syscall.SIGKILL)
	s.ended()
	if most > budget {
		t.Errorf("%d connections with a budget of %d", most, budget)
	}
	t.Logf("at most %d connections, %d requests", most, l.succeeded.Load())
}
