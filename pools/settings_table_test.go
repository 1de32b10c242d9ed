package pools_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

const settingsOfTheDocs = `workspace_id text COLLATE "C" PRIMARY KEY, max_connections integer, soft_max_connections integer,
	max_waiters integer, acquire_timeout_ms bigint, role text, statement_timeout_ms bigint`

// roleNamed is one that the application's role is a member of, until the test's end.
func roleNamed(t *testing.T, name string) {
	t.Helper()
	system := in(t, server.Database)
	statements(t, system, `CREATE ROLE `+name, `GRANT `+name+` TO `+server.User)
	t.Cleanup(func() { statements(t, system, `DROP ROLE `+name) })
}

// sessionUser asks who one of the workspace's sessions is.
func sessionUser(t *testing.T, m *manager, id model.WorkspaceID) (user string) {
	t.Helper()
	if err := m.Workspace(id).QueryRow(t.Context(), `SELECT current_user`).Scan(&user); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return user
}

// userOf asks who the workspace's sessions are, through all that lends them.
func userOf(t *testing.T, m *manager, id model.WorkspaceID) string {
	t.Helper()
	one, db := sessionUser(t, m, id), ""
	if err := m.Workspace(id).DB().QueryRowContext(t.Context(), `SELECT current_user`).Scan(&db); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	answer, err := m.Query(t.Context(), model.Query{Workspace: id, SQL: `SELECT current_user::text`}) // resets the session
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	if query := answer.Rows[0][0]; one != db || query != one {
		t.Fatalf("%s: %q, DB: %q, Query: %v", id, one, db, query)
	}
	return one
}

func isCancelled(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "57014"
}

func TestARoleAndAStatementTimeoutHoldForAllSessionsOfAWorkspace(t *testing.T) {
	roleNamed(t, "tenant_a")
	roleNamed(t, `"Tenant b"`)
	var own atomic.Pointer[pools.WorkspaceSettings]
	own.Store(&pools.WorkspaceSettings{Role: "tenant_a", StatementTimeout: 30 * time.Millisecond})
	m := open(t, config(20), pools.WithWorkspaceSettings(func(_ context.Context, id model.WorkspaceID) (pools.WorkspaceSettings, error) {
		if id == "w0" {
			return *own.Load(), nil
		}
		return pools.WorkspaceSettings{}, nil
	}))
	for range 2 { // and after a release and a reset
		if is := userOf(t, m, "w0"); is != "tenant_a" {
			t.Errorf("it is %q", is)
		}
		if _, err := m.Workspace("w0").Exec(t.Context(), `SELECT pg_sleep(60)`); !isCancelled(err) {
			t.Error(err)
		}
		if _, err := m.Workspace("w0").DB().ExecContext(t.Context(), `SELECT pg_sleep(60)`); !isCancelled(err) {
			t.Error(err)
		}
	}
	if is := userOf(t, m, "w1"); is != server.User {
		t.Errorf("another's is %q", is)
	}

	lent, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	pid := lent.Conn().PgConn().PID()
	own.Store(&pools.WorkspaceSettings{Role: "Tenant b"})
	stats(t, m) // it empties the seats, so that the next acquire asks
	if is := userOf(t, m, "w0"); is != "Tenant b" {
		t.Errorf("after the change it is %q", is)
	}
	lent.Release()
	for range 3 {
		if is := userOf(t, m, "w0"); is != "Tenant b" || processOf(t, m) == pid {
			t.Errorf("it is %q after the older one's release", is)
		}
	}
	if _, err := m.Workspace("w0").Exec(t.Context(), `SELECT pg_sleep(0.1)`); err != nil {
		t.Error(err)
	}
	own.Store(&pools.WorkspaceSettings{Role: "nobody_has_it"})
	var dial *model.DialError
	stats(t, m) // it empties the seats, so that the next acquire asks
	if err := m.Workspace("w0").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.Permanent || !strings.Contains(err.Error(), "check the workspace's settings") {
		t.Errorf("with a role that there is not: %v", err)
	}
}

func TestTwoManagersHaveTheSettingsOfOneTable(t *testing.T) {
	roleNamed(t, "tenant_c")
	pools.SettingsReadEvery(t, 20*time.Millisecond)
	change := tableNamed(t, "own_settings", settingsOfTheDocs)
	change(`INSERT INTO own_settings (workspace_id, max_connections) VALUES ('w1', 2)`)
	cfg := config(20)
	cfg.SettingsTable = "public.own_settings"
	a, b := open(t, config(20), pools.WithSettingsTable("own_settings")), open(t, cfg)
	for _, m := range []*manager{a, b} {
		if s, err := m.WorkspaceSettings(t.Context(), "w1"); err != nil || s != (pools.WorkspaceSettings{MaxConnections: 2}) {
			t.Errorf("%+v, %v", s, err)
		}
		if is := sessionUser(t, m, "w0"); is != server.User {
			t.Errorf("at first it is %q", is)
		}
	}
	want := pools.WorkspaceSettings{MaxConnections: 5, SoftMaxConnections: 2, MaxWaiters: 7, AcquireTimeout: 3 * time.Second, Role: "tenant_c", StatementTimeout: 4 * time.Second}
	if err := a.SetWorkspaceSettings(t.Context(), "w0", want); err != nil {
		t.Fatal(err)
	}
	if s, err := a.WorkspaceSettings(t.Context(), "w0"); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
	if is := sessionUser(t, a, "w0"); is != "tenant_c" {
		t.Errorf("at once it is %q", is)
	}
	for _, w := range stats(t, a).Workspaces.Active {
		if w.ID == "w0" && (w.Cap != 5 || w.SoftCap != 2) {
			t.Errorf("the caps are %d and %d", w.Cap, w.SoftCap)
		}
	}
	eventually(t, "the other one has it", func() bool { return sessionUser(t, b, "w0") == "tenant_c" })
	if err := b.SetWorkspaceSettings(t.Context(), "w0", pools.WorkspaceSettings{}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, in(t, server.Database), `SELECT count(*) FROM own_settings`); n != 1 {
		t.Errorf("%d rows", n)
	}
	if is := sessionUser(t, b, "w0"); is != server.User {
		t.Errorf("without a row it is %q", is)
	}
	eventually(t, "the first one has it", func() bool { return sessionUser(t, a, "w0") == server.User })
}

// Whoever has the id next must not get the role of another, nor the workspace lose its own.
func TestSettingsGoAndMoveWithTheirWorkspace(t *testing.T) {
	for name, opts := range map[string][]pools.Option{"by prefix": nil, "by table": {pools.WithWorkspaceTable("settled")}} {
		t.Run(name, func(t *testing.T) {
			roleNamed(t, "tenant_d")
			tableNamed(t, "settled", tableOfTheDocs)
			change := tableNamed(t, "own_settings", settingsOfTheDocs+", plan text DEFAULT 'free'")
			m := open(t, config(20), append(opts, pools.WithSettingsTable("own_settings"))...)
			create(t, m, "moves")
			dropLater(t, "test_ws_moved")
			if err := m.SetWorkspaceSettings(t.Context(), "moves", pools.WorkspaceSettings{Role: "tenant_d"}); err != nil {
				t.Fatal(err)
			}
			change(`UPDATE own_settings SET plan = 'gold'`)
			change(`INSERT INTO own_settings (workspace_id, max_connections) VALUES ('moved', 1)`) // nobody's
			if err := m.RenameWorkspace(t.Context(), "moves", "moved"); err != nil {
				t.Fatal(err)
			}
			if s, err := m.WorkspaceSettings(t.Context(), "moved"); err != nil || s != (pools.WorkspaceSettings{Role: "tenant_d"}) {
				t.Errorf("%+v, %v", s, err)
			}
			if is := sessionUser(t, m, "moved"); is != "tenant_d" {
				t.Errorf("renamed, its sessions are %q", is)
			}
			if n := count(t, in(t, server.Database), `SELECT count(*) FROM own_settings WHERE workspace_id = 'moved' AND plan = 'gold'`); n != 1 {
				t.Errorf("%d rows have moved", n)
			}
			if err := m.DropWorkspace(t.Context(), "moved"); err != nil {
				t.Fatal(err)
			}
			if s, err := m.WorkspaceSettings(t.Context(), "moved"); err != nil || s != (pools.WorkspaceSettings{}) {
				t.Errorf("dropped, it has %+v, %v", s, err)
			}
			if n := count(t, in(t, server.Database), `SELECT count(*) FROM own_settings`); n != 0 {
				t.Errorf("%d rows", n)
			}
		})
	}
}

func TestALowerCapHoldsUnderTraffic(t *testing.T) {
	tableNamed(t, "own_settings", settingsOfTheDocs)
	m := open(t, config(20), pools.WithSettingsTable("own_settings"))
	var most, done atomic.Int64 // how many of w0 are held at once
	var held atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := m.Acquire(t.Context(), "w0")
				if err != nil {
					t.Error(err)
					return
				}
				now := held.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				if err := conn.Ping(t.Context()); err != nil {
					t.Error(err)
				}
				held.Add(-1)
				conn.Release()
				done.Add(1)
			}
		})
	}
	eventually(t, "it has its three", func() bool { return most.Load() == 3 })
	if err := m.SetWorkspaceSettings(t.Context(), "w0", pools.WorkspaceSettings{MaxConnections: 1}); err != nil {
		t.Fatal(err)
	}
	open := func() int {
		for _, w := range stats(t, m).Workspaces.Active {
			if w.ID == "w0" {
				return w.Open() - w.Closing
			}
		}
		return 0
	}
	eventually(t, "it has one", func() bool { return open() == 1 })
	most.Store(0)
	before := done.Load()
	eventually(t, "traffic goes on", func() bool { return done.Load() > before+50 })
	if n := most.Load(); n != 1 {
		t.Errorf("%d at once", n)
	}
	stop()
	all.Wait()

	conn, err := m.Acquire(t.Context(), "w0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := m.SetWorkspaceSettings(t.Context(), "w0", pools.WorkspaceSettings{MaxConnections: 1, AcquireTimeout: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var limit *model.ConnectionLimitError
	if _, err := m.Acquire(t.Context(), "w0"); !errors.As(err, &limit) || limit.Limit != model.WorkspaceLimit || limit.MaxPerWorkspace != 1 {
		t.Error(err)
	}
}

func TestSettingsHoldAtOnceForAWorkspaceWithoutTraffic(t *testing.T) {
	roleNamed(t, "tenant_d")
	tableNamed(t, "own_settings", settingsOfTheDocs)
	m := open(t, config(20), pools.WithSettingsTable("own_settings"))
	var lent []*pools.Conn
	for range 3 {
		conn, err := m.Acquire(t.Context(), "w0")
		if err != nil {
			t.Fatal(err)
		}
		lent = append(lent, conn)
	}
	lent[0].Release()
	set := func(own pools.WorkspaceSettings, idle, inUse int) {
		t.Helper()
		if err := m.SetWorkspaceSettings(t.Context(), "w0", own); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what is beyond them is closed", func() bool {
			st := stats(t, m).Workspaces
			return st.Idle == idle && st.InUse == inUse && st.Closing == 0
		})
	}
	set(pools.WorkspaceSettings{MaxConnections: 2}, 0, 2)
	lent[1].Release() // it may stay
	set(pools.WorkspaceSettings{MaxConnections: 2, Role: "tenant_d"}, 0, 1)
	lent[2].Release()
	eventually(t, "the last one of the login's role is closed", func() bool { return stats(t, m).Workspaces.Open() == 0 })
}

func TestABrokenTableOfSettingsKeepsTheLastGoodValues(t *testing.T) {
	pools.SettingsReadEvery(t, 5*time.Millisecond)
	change := tableNamed(t, "own_settings", settingsOfTheDocs)
	change(`INSERT INTO own_settings (workspace_id, max_connections) VALUES ('w0', 2), ('w1', -1), ('a/b', 1)`)
	m := open(t, config(20), pools.WithSettingsTable("own_settings"))
	logged := func(words string) bool { return strings.Contains(m.log.String(), words) }
	good := func(when string) {
		t.Helper()
		if s, err := m.WorkspaceSettings(t.Context(), "w0"); err != nil || s.MaxConnections != 2 {
			t.Errorf("%s: %+v, %v", when, s, err)
		}
		if err := m.Workspace("w0").Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	var wrong *model.SettingsError
	if err := m.Workspace("w1").Ping(t.Context()); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "MaxConnections is -1") {
		t.Errorf("of a row that was never good: %v", err)
	}
	change(`DELETE FROM own_settings WHERE workspace_id <> 'w0'`)
	eventually(t, "all is well", func() bool { return logged("is in order again") })

	change(`UPDATE own_settings SET statement_timeout_ms = 99999999999`)
	eventually(t, "it is logged", func() bool { return logged("StatementTimeout is") })
	good("with a bad row")
	change(`ALTER TABLE own_settings RENAME TO elsewhere`)
	eventually(t, "it is logged", func() bool { return logged("does not exist") })
	good("without the table")
	acquires := stats(t, m).System.Counters.Acquires
	eventually(t, "it is read some more", func() bool { return stats(t, m).System.Counters.Acquires > acquires+5 })
	if n := strings.Count(m.log.String(), "does not exist"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if err := m.SetWorkspaceSettings(t.Context(), "w0", pools.WorkspaceSettings{MaxConnections: 1}); err == nil {
		t.Error("written to no table")
	}
	change(`ALTER TABLE elsewhere RENAME TO own_settings`)
	change(`UPDATE own_settings SET max_connections = 1, statement_timeout_ms = NULL`)
	eventually(t, "the new value is there", func() bool {
		s, err := m.WorkspaceSettings(t.Context(), "w0")
		return err == nil && s == (pools.WorkspaceSettings{MaxConnections: 1})
	})
}

func TestSettingsThatCannotBeAreRefusedAndChangeNothing(t *testing.T) {
	tableNamed(t, "own_settings", settingsOfTheDocs)
	m := open(t, config(20), pools.WithSettingsTable("own_settings"))
	for id, own := range map[model.WorkspaceID]pools.WorkspaceSettings{
		"a/b": {MaxConnections: 1}, "nobody": {MaxConnections: 1},
		"w1": {Role: "nobody_has_it"}, "w2": {Role: "postgres"}, "w3": {MaxConnections: -1, Role: "NONE"},
	} {
		err := m.SetWorkspaceSettings(t.Context(), id, own)
		if err == nil {
			t.Errorf("%s: taken", id)
		}
		var wrong *model.SettingsError
		var refused *model.SQLError
		if errors.As(err, &wrong) != (id == "w3") || errors.As(err, &refused) != (id == "w1" || id == "w2") {
			t.Errorf("%s: %v", id, err)
		}
	}
	if n := count(t, in(t, server.Database), `SELECT count(*) FROM own_settings`); n != 0 {
		t.Errorf("%d rows", n)
	}
	if is := userOf(t, m, "w0"); is != server.User {
		t.Errorf("it is %q", is)
	}
	plain := open(t, config(20))
	if err := plain.SetWorkspaceSettings(t.Context(), "w0", pools.WorkspaceSettings{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if s, err := plain.WorkspaceSettings(t.Context(), "w0"); err != nil || s != (pools.WorkspaceSettings{}) {
		t.Errorf("%+v, %v", s, err)
	}
	late := open(t, config(20), pools.WithSettingsTable("nowhere"), pools.WithLateServer())
	var refused *model.SQLError
	waiting, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	if err := late.WaitForServer(waiting); !errors.As(err, &refused) {
		t.Error(err)
	}
	var dial *model.DialError
	if err := late.Workspace("w0").Ping(t.Context()); !errors.As(err, &dial) || dial.Kind != model.ServerDown {
		t.Errorf("without settings: %v", err)
	}
	callback := pools.WithWorkspaceSettings(func(context.Context, model.WorkspaceID) (pools.WorkspaceSettings, error) {
		return pools.WorkspaceSettings{}, nil
	})
	for want, opts := range map[string][]pools.Option{
		"use one of them":               {callback, pools.WithSettingsTable("own_settings")},
		"is not the name of a table":    {pools.WithSettingsTable("a.b.c")},
		`relation "nowhere" does not`:   {pools.WithSettingsTable("nowhere")},
		`relation "n.nowhere" does not`: {pools.WithSettingsTable("n.nowhere")},
	} {
		if m, err := pools.Open(t.Context(), config(20), append(opts, pools.WithLogger(nil))...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
			if err == nil {
				closeManager(t, m)
			}
		}
	}
}
