package pools_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestABadWorkspaceIDIsAnErrorBeforeAnythingIsDialed(t *testing.T) {
	m := open(t, config(20))
	for name, id := range map[string]model.WorkspaceID{
		"empty":            "",
		"a slash":          "a/b",
		"a quote":          `a"b`,
		"a single quote":   "a'b",
		"a NUL":            "a\x00b",
		"a space":          "a b",
		"a letter too far": "ä",
		"a dot":            "a.b",
		"far too long":     model.WorkspaceID(strings.Repeat("x", 64)),
		"too long with the prefix: the server would cut it": model.WorkspaceID(strings.Repeat("x", 63-len("test_ws_")+1)),
	} {
		t.Run(name, func(t *testing.T) {
			var bad *model.WorkspaceIDError
			for what, err := range map[string]error{
				"Acquire": second(m.Acquire(t.Context(), id)),
				"Ping":    m.Workspace(id).Ping(t.Context()),
				"DB":      m.Workspace(id).DB().PingContext(t.Context()),
				"Evict":   second(m.Evict(t.Context(), id)),
			} {
				if !errors.As(err, &bad) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	if st := stats(t, m).Workspaces; st.Counters.Acquires != 0 || st.Counters.Dials != 0 {
		t.Errorf("something was asked of the supervisor: %+v", st.Counters)
	}
	longest := model.WorkspaceID(strings.Repeat("x", 63-len("test_ws_")))
	var dial *model.DialError
	if err := m.Workspace(longest).Ping(t.Context()); !errors.As(err, &dial) {
		t.Errorf("the longest id that fits is refused otherwise than by the server: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestTwoIDsNeverShareADatabase(t *testing.T) {
	watch := superuser(t)
	for _, name := range []string{"test_ws_a-b", "test_ws_a_b", "test_ws_A_b"} {
		if err := server.CreateDatabases(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = watch.Exec(`DROP DATABASE "` + name + `"`) })
	}
	m := open(t, config(20))
	for _, id := range []model.WorkspaceID{"a-b", "a_b", "A_b"} {
		var name string
		if err := m.Workspace(id).QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil || name != "test_ws_"+string(id) {
			t.Errorf("workspace %q is in %q (%v)", id, name, err)
		}
	}
	closeManager(t, m.Manager) // before the databases are dropped
}

func TestANamingMayBeTheUsersOwn(t *testing.T) {
	naming := func(id model.WorkspaceID) (string, error) {
		switch id {
		case "known":
			return "test_ws_w7", nil
		case "long":
			return strings.Repeat("x", 64), nil
		case "system":
			return server.Database, nil
		}
		return "", errors.New("it is not in the catalogue")
	}
	m := open(t, config(20), pools.WithNaming(naming))
	var name string
	if err := m.Workspace("known").QueryRow(t.Context(), `SELECT current_database()`).Scan(&name); err != nil || name != "test_ws_w7" {
		t.Errorf("%q %v", name, err)
	}
	if err := m.Workspace("other").Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "it is not in the catalogue") {
		t.Errorf("%v", err)
	}
	var bad *model.WorkspaceIDError
	for _, id := range []model.WorkspaceID{"long", "system"} {
		if err := m.Workspace(id).Ping(t.Context()); !errors.As(err, &bad) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if st := stats(t, m).Workspaces; st.Counters.Dials != 1 {
		t.Errorf("%d dials", st.Counters.Dials)
	}
}

// Its data are everybody's.
func TestTheSystemDatabaseIsNoWorkspaces(t *testing.T) {
	cfg := config(20)
	cfg.SystemDatabase = databaseNames(9)[8]
	m := open(t, cfg)
	var bad *model.WorkspaceIDError
	_, err := m.Query(t.Context(), model.Query{Workspace: "w8", SQL: `SELECT 1`})
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "DB_NAME") {
		t.Errorf("%v", err)
	}
	if err := m.DropWorkspace(t.Context(), "w8"); !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
}

func TestAWorkspaceWithoutADatabaseGetsItsOwnErrorAtOnceAndCostsNobodyASlot(t *testing.T) {
	m := open(t, config(20))
	for range 5 {
		_, err := m.Acquire(t.Context(), "nowhere")
		var dial *model.DialError
		if !errors.As(err, &dial) || dial.Kind != model.Permanent || !strings.Contains(err.Error(), `"test_ws_nowhere" does not exist`) {
			t.Errorf("%v", err)
		}
		if err := m.Workspace("w1").Ping(t.Context()); err != nil {
			t.Errorf("another workspace: %v", err)
		}
	}
	fillBudget(t, m, 10)
}

func TestADatabaseThatIsCreatedLaterIsFound(t *testing.T) {
	watch := superuser(t)
	m := open(t, config(20))
	if err := m.Workspace("later").Ping(t.Context()); err == nil {
		t.Fatal("it exists already")
	}
	if err := server.CreateDatabases(t.Context(), "test_ws_later"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the database is found", func() bool { return m.Workspace("later").Ping(t.Context()) == nil })
	closeManager(t, m.Manager)
	if _, err := watch.Exec(`DROP DATABASE test_ws_later`); err != nil {
		t.Error(err)
	}
}

func TestARevokedRightIsAPermanentError(t *testing.T) {
	watch := superuser(t)
	if _, err := watch.Exec(`REVOKE CONNECT ON DATABASE test_ws_w9 FROM PUBLIC, ` + server.User); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Exec(`ALTER DATABASE test_ws_w9 OWNER TO CURRENT_USER`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = watch.Exec(`GRANT CONNECT ON DATABASE test_ws_w9 TO PUBLIC`)
		_, _ = watch.Exec(`ALTER DATABASE test_ws_w9 OWNER TO ` + server.User)
	})
	m := open(t, config(20))
	var dial *model.DialError
	if err := m.Workspace("w9").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.Permanent {
		t.Errorf("%v", err)
	}
}

func TestNoErrorAndNoLogLineHoldsThePassword(t *testing.T) {
	log := &logBuffer{}
	wrong := config(20)
	wrong.Password = "not-the-secret-3f9a"
	_, errPassword := pools.Open(t.Context(), wrong, pools.WithLogger(log.logger()))
	var dial *model.DialError
	if !errors.As(errPassword, &dial) || dial.Kind != model.Permanent {
		t.Errorf("a wrong password: %v", errPassword)
	}
	away := wrong
	away.Port, away.AcquireTimeout = 1, 100*time.Millisecond
	_, errAway := pools.Open(t.Context(), away, pools.WithLogger(log.logger()))
	if !errors.As(errAway, &dial) || dial.Kind != model.ServerDown {
		t.Errorf("no server: %v", errAway)
	}
	nowhere := wrong
	nowhere.Host = "no-such-host.invalid"
	nowhere.AcquireTimeout = 100 * time.Millisecond
	_, errHost := pools.Open(t.Context(), nowhere, pools.WithLogger(log.logger()))
	if errHost == nil {
		t.Error("an unknown host: no error")
	}
	bad := wrong
	bad.SSLMode, bad.Password = "perhaps", "another-secret\x00"
	_, errConfig := pools.Open(t.Context(), bad, pools.WithLogger(log.logger()))

	m := open(t, config(20))
	_, errDatabase := m.Acquire(t.Context(), "nowhere")

	texts := log.String() + m.log.String()
	for _, err := range []error{errPassword, errAway, errHost, errConfig, errDatabase} {
		for ; err != nil; err = errors.Unwrap(err) {
			texts += err.Error() + "\n"
		}
	}
	for _, secret := range []string{wrong.Password, "another-secret", server.Password, "postgres://", "password="} {
		if strings.Contains(texts, secret) {
			t.Errorf("%q is in:\n%s", secret, texts)
		}
	}
}

func TestAConnectionLimitErrorTellsWhoWaitsForWhat(t *testing.T) {
	m := open(t, config(20))
	for _, id := range []model.WorkspaceID{"w50", "w51"} { // so that the catalogue takes none of their time
		if err := m.Workspace(id).Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	held := holdAll(t, m)
	defer release(held)
	const timeout = 300 * time.Millisecond
	pools.SetAcquireTimeout(m.Manager, timeout)

	_, err := m.Acquire(t.Context(), "w50")
	var limit *model.ConnectionLimitError
	if !errors.As(err, &limit) || !errors.Is(err, model.ErrAcquireTimeout) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the acquire timeout: %v", err)
	}
	if limit.MaxConnections != 15 || limit.CurrentConnections != 15 || limit.WorkspaceID != "w50" || limit.Limit != model.BudgetLimit ||
		limit.Waiting != 1 || limit.LongestLease < timeout || limit.LongestLeaseWorkspace != "w0" {
		t.Errorf("%+v", limit)
	}
	m.log.line(t, `"level":"WARN"`, `"workspace_id":"w50"`, `"error":`, "connection limit reached")

	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	_, err = m.Acquire(ctx, "w51")
	if !errors.As(err, &limit) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context's deadline: %v", err)
	}
	_, err = m.Acquire(t.Context(), "w0") // which holds its cap
	if !errors.As(err, &limit) || limit.Limit != model.WorkspaceLimit || limit.CurrentWorkspace != 3 {
		t.Errorf("the workspace's cap: %v", err)
	}
}

// holdAll leases the whole budget: three connections of w0, three of w1, ...
func holdAll(t *testing.T, m *manager) (held []*pools.Conn) {
	t.Helper()
	for i := range stats(t, m).Workspaces.Budget {
		conn, err := m.Acquire(t.Context(), workspaceID(i/3))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	return held
}

func release(held []*pools.Conn) {
	for _, conn := range held {
		conn.Release()
	}
}

func TestAnAcquireTimeoutOfZeroWaitsForNobody(t *testing.T) {
	cfg := config(20)
	cfg.AcquireTimeout = 0
	m := open(t, cfg)
	held := holdAll(t, m) // dialing is not waiting
	var limit *model.ConnectionLimitError
	if _, err := m.Acquire(t.Context(), "w50"); !errors.As(err, &limit) || limit.Cause != nil { // no time-out
		t.Errorf("%v", err)
	}
	release(held)
	if err := m.Workspace("w50").Ping(t.Context()); err != nil {
		t.Errorf("an idle one can be evicted: %v", err)
	}
}

// pgx tries with and without TLS, and says the same of both.
func TestThatTheServerIsDownIsSaidOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(20)
	cfg.Port, cfg.SSLMode, cfg.AcquireTimeout = l.Addr().(*net.TCPAddr).Port, "prefer", 100*time.Millisecond
	if err := l.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	_, err = pools.Open(t.Context(), cfg, pools.WithLogger((&logBuffer{}).logger()))
	if err == nil || strings.Count(err.Error(), "connection refused") != 1 {
		t.Error(err)
	}
}
