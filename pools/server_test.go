package pools_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// entry is the one log line with the message.
func (b *logBuffer) entry(t *testing.T, message string) map[string]any {
	t.Helper()
	var entry map[string]any
	if err := json.Unmarshal([]byte(b.line(t, message)), &entry); err != nil {
		t.Fatal(err)
	}
	return entry
}

const tooMany = "DB_MAX_CONNECTIONS is more than the server grants this role"

func TestTheStartIsLoggedWithTheLimitsAsNumbers(t *testing.T) {
	cfg := config(60)
	cfg.MaxConnectionsPerDB = 4
	m := open(t, cfg)
	entry := m.log.entry(t, "Connection manager initialized")
	for field, want := range map[string]any{
		"msg": "Connection manager initialized", "level": "INFO",
		"max_connections": 60.0, "max_connections_per_db": 4.0, "workspace_budget": 54.0, "system_share": 6.0,
	} {
		if entry[field] != want {
			t.Errorf("%s is %v (%[2]T), want %v", field, entry[field], want)
		}
	}
	if strings.Contains(m.log.String(), `"level":"WARN"`) {
		t.Errorf("all is well, and yet:\n%s", m.log)
	}
}

func TestABudgetOfExactlyWhatTheServerGrantsIsNoReasonToWarn(t *testing.T) {
	m := open(t, config(serverGrants))
	if strings.Contains(m.log.String(), tooMany) {
		t.Errorf("%s", m.log)
	}
	m = open(t, config(serverGrants+1))
	entry := m.log.entry(t, tooMany)
	for field, want := range map[string]any{
		"level": "WARN", "max_connections": serverGrants + 1.0, "available": float64(serverGrants),
		"server_max_connections": float64(serverGrants + superuserReserved), "superuser_reserved_connections": float64(superuserReserved),
		"reserved_connections": 0.0, "role_connection_limit": -1.0,
	} {
		if entry[field] != want {
			t.Errorf("%s is %v, want %v", field, entry[field], want)
		}
	}
	m.log.line(t, "Connection manager initialized") // a warning is no error
}

func TestTheRolesOwnLimitIsAReasonToWarn(t *testing.T) {
	watch := superuser(t)
	limit := func(n int) {
		if _, err := watch.Exec(fmt.Sprintf(`ALTER ROLE %s CONNECTION LIMIT %d`, server.User, n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(30)
	t.Cleanup(func() { limit(-1) })
	m := open(t, config(31))
	if entry := m.log.entry(t, tooMany); entry["available"] != 30.0 || entry["role_connection_limit"] != 30.0 {
		t.Errorf("%v", entry)
	}
	if m := open(t, config(30)); strings.Contains(m.log.String(), tooMany) {
		t.Errorf("%s", m.log)
	}
}

// The workers of a parallel query take none of max_connections.
func TestTheWorkersOfAParallelQueryAreNoConnections(t *testing.T) {
	m := open(t, config(20))
	watch := superuser(t)
	if err := watch.Ping(); err != nil { // it stays connected
		t.Fatal(err)
	}
	c, err := m.Acquire(t.Context(), workspaceID(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	grantable := func() int {
		n, err := pools.Grantable(t.Context(), m.Manager)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	alone := grantable()
	if _, err := c.Exec(t.Context(),
		`SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')`); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, `SELECT pg_sleep(60)`)
		ended <- err
	}()
	defer func() { stop(); <-ended }()
	eventually(t, "the query has a worker", func() bool {
		return count(t, watch, `SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'`) > 0
	})
	if n := grantable(); n != alone {
		t.Errorf("the server could grant %d, and %d while a query has a worker", alone, n)
	}
}

// PostgreSQL 16 and later keep connections for the members of a role.
func TestReservedConnectionsAreAReasonToWarn(t *testing.T) {
	var version int
	if err := superuser(t).QueryRow(`SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version < 160000 {
		t.Skipf("this server (%d) has no reserved_connections", version)
	}
	other, err := localpg.Start(t.Context(), localpg.Options{
		MaxConnections: 43, Settings: map[string]string{"reserved_connections": "10"}, // 3 are the superuser's
		InMemory: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	// After the managers: t.Cleanup runs the last one first.
	t.Cleanup(func() {
		if err := other.Stop(); err != nil {
			t.Error(err)
		}
	})
	cfg := config(31)
	cfg.Port, cfg.User, cfg.Password, cfg.SystemDatabase = other.Port, other.User, other.Password, other.Database
	m := open(t, cfg)
	if entry := m.log.entry(t, tooMany); entry["available"] != 30.0 || entry["reserved_connections"] != 10.0 {
		t.Errorf("%v", entry)
	}
	closeManager(t, m.Manager)

	// Who may use them has 40.
	db, err := sql.Open("pgx", other.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`GRANT pg_use_reserved_connections TO ` + other.User); err != nil {
		t.Fatal(err)
	}
	cfg.MaxConnections = 40
	m = open(t, cfg)
	if strings.Contains(m.log.String(), tooMany) {
		t.Errorf("%s", m.log)
	}
	closeManager(t, m.Manager)
	cfg.MaxConnections = 41
	if entry := open(t, cfg).log.entry(t, tooMany); entry["available"] != 40.0 {
		t.Errorf("%v", entry)
	}
}

// startSilent stands between the manager and the server. When a client asks what the
// server grants, silent is closed, and of that connection, or of all such, nothing
// passes on before goOn.
func startSilent(t *testing.T, all bool) (port int, silent <-chan struct{}, goOn func()) {
	t.Helper()
	fellSilent, goesOn := make(chan struct{}), make(chan struct{})
	fallSilent := sync.OnceFunc(func() { close(fellSilent) })
	to := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
	port = listen(t, func(client net.Conn) {
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		var back sync.WaitGroup
		defer back.Wait()
		defer server.Close()
		back.Go(func() { forward(client, server) })
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			first := !within(fellSilent)
			if (first || all) && bytes.Contains(buffer[:n], []byte("superuser_reserved_connections")) {
				fallSilent()
				select {
				case <-goesOn:
				case <-t.Context().Done():
					return
				}
			}
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
	}).Port
	return port, fellSilent, sync.OnceFunc(func() { close(goesOn) })
}

func within(closed <-chan struct{}) bool {
	select {
	case <-closed:
		return true
	default:
		return false
	}
}

func TestAConnectionThatFallsSilentDoesNotUseUpTheWaitForTheServer(t *testing.T) {
	cfg := config(20)
	cfg.AcquireTimeout = failsSoon(t)
	port, silent, _ := startSilent(t, false)
	cfg.Host, cfg.Port = "127.0.0.1", port
	m := open(t, cfg, pools.WithLateServer())
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := m.WaitForServer(ctx); err != nil {
		t.Error(err)
	}
	if !within(silent) {
		t.Error("none fell silent, so this test shows nothing")
	}
	m.log.line(t, "Waiting for the server", "then did not answer within")
}

// The wait ends between two attempts, as a rule.
func TestAWaitInVainSaysWhatTheServerDid(t *testing.T) {
	cfg := config(20)
	cfg.Port, cfg.AcquireTimeout = 1, 10*time.Millisecond // nobody listens there
	m := open(t, cfg, pools.WithLateServer())
	for range 8 {
		ctx, stop := context.WithTimeout(t.Context(), 60*time.Millisecond)
		err := m.WaitForServer(ctx)
		stop()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%v", err)
		}
	}
}

func TestOpenDoesNotWaitForASilentServer(t *testing.T) {
	cfg := config(20)
	cfg.AcquireTimeout = failsSoon(t)
	port, _, _ := startSilent(t, true)
	cfg.Host, cfg.Port = "127.0.0.1", port
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	began := time.Now()
	_, err := pools.Open(ctx, cfg, pools.WithLogger(nil))
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "then did not answer within") {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > cfg.AcquireTimeout+pools.ClosingAtMost {
		t.Errorf("it waited for the server to let go: %v", took)
	}
}

func TestADialOfTheManagersOwnIsToldAsTheSystemDatabases(t *testing.T) {
	cfg := config(20)
	cfg.Port, cfg.AcquireTimeout = closedPort(t), failsSoon(t)
	log := &logBuffer{}
	_, err := pools.Open(t.Context(), cfg, pools.WithLogger(log.logger()))
	if err == nil || !strings.Contains(err.Error(), `"the system database"`) {
		t.Errorf("%v", err)
	}
	log.line(t, "Dial failed", `"workspace_id":"the system database"`)
}

func TestARequestThatALimitTurnsAwayIsLogged(t *testing.T) {
	m := open(t, onePerWorkspace())
	conn, err := m.Acquire(t.Context(), "w3")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	pools.SetAcquireTimeout(m.Manager, 100*time.Millisecond)
	_, err = m.Acquire(t.Context(), "w3")
	if err == nil {
		t.Fatal("the cap is 1")
	}
	entry := m.log.entry(t, "Connection limit reached")
	if entry["level"] != "WARN" || entry["workspace_id"] != "w3" || entry["error"] != err.Error() {
		t.Errorf("%v", entry)
	}
	pools.SetAcquireTimeout(m.Manager, patience)
	if _, err := m.Acquire(t.Context(), "nowhere"); err == nil {
		t.Fatal("there is such a database")
	}
	if n := strings.Count(m.log.String(), "Connection limit reached"); n != 1 {
		t.Errorf("%d lines for one refusal", n)
	}
}

// A burst of refusals must not become a burst of log lines.
func TestABurstOfRefusalsIsLoggedSparsely(t *testing.T) {
	cfg := onePerWorkspace()
	cfg.AcquireTimeout = 0
	m := open(t, cfg)
	conn, err := m.Acquire(t.Context(), "w3")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	began, refused := time.Now(), 0
	for range 2000 {
		if _, err := m.Acquire(context.Background(), "w3"); err != nil {
			refused++
		}
	}
	most := 21 + int(time.Since(began)/(200*time.Millisecond))
	lines := strings.Count(m.log.String(), "Connection limit reached")
	if refused != 2000 || lines == 0 || lines > most {
		t.Errorf("%d lines for %d refusals", lines, refused)
	}
}
