package clients_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

// program is the command, built once for a test, with what its processes have in common.
type program struct {
	path, folder, publicKey string
	server                  *localpg.Server
	port                    int
	more                    []string
}

func buildProgram(t *testing.T, server *localpg.Server, more ...string) *program {
	t.Helper()
	p := &program{folder: t.TempDir(), server: server, more: more}
	p.path = filepath.Join(p.folder, "tenantpool")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, "github.com/tenantpool/tenantpool/cmd/tenantpool")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	keys, err := exec.CommandContext(t.Context(), p.path, "keygen").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, keys)
	}
	found := regexp.MustCompile(`PASETO_PUBLIC_KEY=(\S+)`).FindSubmatch(keys)
	if found == nil {
		t.Fatal("keygen gives no PASETO_PUBLIC_KEY")
	}
	p.publicKey = string(found[1])
	if err := os.WriteFile(filepath.Join(p.folder, "users"), []byte("\"app\" \"secret\" workspaces=*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.port = listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	return p
}

// process is one that serves.
type process struct {
	*exec.Cmd
	said  *said
	ended chan error
}

// said is what it has logged.
type said struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.text.String()
}

// start starts one more process on the same port, and waits until it serves.
func (p *program) start(t *testing.T) *process {
	t.Helper()
	one := &process{Cmd: exec.Command(p.path, "serve"), said: &said{}, ended: make(chan error, 1)}
	one.Stderr = one.said
	one.Env = append(os.Environ(), fmt.Sprintf("DB_HOST=%s", p.server.Host), fmt.Sprintf("DB_PORT=%d", p.server.Port), "DB_USER="+p.server.User,
		"DB_PASSWORD="+p.server.Password, "DB_SSLMODE=disable", "DB_NAME=postgres", "DB_PREFIX=p", "TENANTPOOL_ADDR=127.0.0.1:0", "PASETO_PUBLIC_KEY="+p.publicKey,
		fmt.Sprintf("TENANTPOOL_PG_LISTEN=127.0.0.1:%d", p.port), "TENANTPOOL_PG_USERS="+filepath.Join(p.folder, "users"), "DB_ACQUIRE_TIMEOUT=20s")
	one.Env = append(one.Env, p.more...)
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { one.ended <- one.Wait() }()
	t.Cleanup(func() {
		_ = one.Process.Kill()
		if t.Failed() {
			t.Logf("process %d said:\n%s", one.Process.Pid, one.said)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(one.said.String(), `"Serving"`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve:\n%s", one.said)
		}
	}
	return one
}

// traffic is clients that run transactions, and connect again when they were told to.
type traffic struct {
	done, broken, refused atomic.Int64
	wrong                 chan error
	stop                  context.CancelFunc
	wg                    sync.WaitGroup
}

func (p *program) traffic(t *testing.T, clients int) *traffic {
	ctx, stop := context.WithCancel(context.Background())
	l := &traffic{stop: stop, wrong: make(chan error, 100)}
	for i := range clients {
		l.wg.Go(func() {
			dsn := fmt.Sprintf("postgres://app:secret@127.0.0.1:%d/w%d?sslmode=disable", p.port, i%3)
			for ctx.Err() == nil {
				conn, err := pgx.Connect(context.Background(), dsn)
				if err != nil {
					l.refused.Add(1)
					time.Sleep(5 * time.Millisecond)
					continue
				}
				for ctx.Err() == nil && l.transaction(conn, i) {
				}
				_ = conn.Close(context.Background())
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// transaction is false when the client has to connect again.
func (l *traffic) transaction(conn *pgx.Conn, i int) bool {
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil { // nothing was begun
		return false
	}
	var got string
	err = tx.QueryRow(ctx, "SELECT current_database() || pg_sleep(0.002)").Scan(&got)
	if err == nil {
		err = tx.Commit(ctx)
	}
	switch {
	case err != nil:
		l.broken.Add(1)
		select {
		case l.wrong <- err:
		default:
		}
		return false
	case got != fmt.Sprintf("p_ws_w%d", i%3):
		l.wrong <- fmt.Errorf("client %d got %s", i, got)
	}
	l.done.Add(1)
	return true
}

func (l *traffic) end() {
	l.stop()
	l.wg.Wait()
}

// flows waits for so many more transactions.
func (l *traffic) flows(t *testing.T, more int64) {
	t.Helper()
	before := l.done.Load()
	for deadline := time.Now().Add(60 * time.Second); l.done.Load() < before+more; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d transactions in a minute", l.done.Load()-before)
		}
	}
}

func startServer(t *testing.T, connections int) *localpg.Server {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: connections, InMemory: true})
	if err == nil {
		t.Cleanup(func() { _ = server.Stop() })
		err = server.CreateDatabases(t.Context(), "p_ws_w0", "p_ws_w1", "p_ws_w2")
	}
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// makeGroups makes the tables of shared budgets, as a superuser does.
func (p *program) makeGroups(t *testing.T) {
	t.Helper()
	schema := exec.CommandContext(t.Context(), p.path, "replicas", "schema")
	schema.Env = append(os.Environ(), "DB_USER="+p.server.User)
	sql, err := schema.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	admin, err := pgx.Connect(t.Context(), p.server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	if _, err := admin.Exec(t.Context(), string(sql), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// A new process comes up on the port of an old one, which then ends: no transaction fails.
func TestARollingRestartBreaksNoTransaction(t *testing.T) {
	p := buildProgram(t, startServer(t, 60), "DB_MAX_CONNECTIONS=25")
	old := p.start(t)
	l := p.traffic(t, 8)
	l.flows(t, 100)
	for range 2 {
		next := p.start(t)
		if err := old.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-old.ended:
			if err != nil {
				t.Fatalf("the old one: %v\n%s", err, old.said)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("the old one does not end")
		}
		l.flows(t, 100)
		old = next
	}
	l.end()
	t.Logf("%d transactions, %d connections that had to be tried again", l.done.Load(), l.refused.Load())
	if n := l.broken.Load(); n > 0 {
		t.Errorf("%d transactions were broken, the first: %v", n, <-l.wrong)
	}
}

// Two doors share one budget, and the server allows no more than that. One is killed: its
// clients go on at the other, and the server refuses nothing.
func TestTwoDoorsShareABudgetAndOneIsKilled(t *testing.T) {
	const budget = 24
	server := startServer(t, budget+3+1) // the reserved ones, and this test's own
	p := buildProgram(t, server, fmt.Sprintf("DB_MAX_CONNECTIONS=%d", budget), "DB_SHARED_BUDGET=doors")
	p.makeGroups(t)
	first := p.start(t)
	p.start(t)
	l := p.traffic(t, 16)
	l.flows(t, 200)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	l.flows(t, 500)
	l.end()
	t.Logf("%d transactions, %d broken by the kill, %d connections that had to be tried again", l.done.Load(), l.broken.Load(), l.refused.Load())
	if log := server.LogTail(); strings.Contains(log, "too many clients") || strings.Contains(log, "remaining connection slots") || strings.Contains(log, "too many connections") {
		t.Errorf("the server has refused connections:\n%s", log)
	}
	if n := l.broken.Load(); n > 16 {
		t.Errorf("%d transactions were broken: more than there are clients: %v", n, <-l.wrong)
	}
}
