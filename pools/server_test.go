package pools_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
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
		"msg": "Connection manager initialized", "level": "info",
		"max_connections": 60.0, "max_connections_per_db": 4.0, "workspace_budget": 54.0, "system_share": 6.0,
	} {
		if entry[field] != want {
			t.Errorf("%s is %v (%[2]T), want %v", field, entry[field], want)
		}
	}
	if strings.Contains(m.log.String(), `"level":"warning"`) {
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
		"level": "warning", "max_connections": serverGrants + 1.0, "available": float64(serverGrants),
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
	if entry["level"] != "warning" || entry["workspace_id"] != "w3" || entry["error"] != err.Error() {
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
