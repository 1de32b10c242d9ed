package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// group is a server of its own, whose role app may make no tables, and the environment set
// to it.
type group struct {
	t    *testing.T
	pg   *localpg.Server
	look *pools.Manager // as a superuser
}

func setGroup(t *testing.T) *group {
	t.Helper()
	pg, err := localpg.Start(t.Context(), localpg.Options{MaxConnections: 60, InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() })
	for name, value := range map[string]string{
		"DB_PREFIX": "shop", "DB_HOST": pg.Host, "DB_PORT": fmt.Sprint(pg.Port), "DB_USER": "app",
		"DB_PASSWORD": "secret", "DB_NAME": pg.Database, "DB_SSLMODE": "disable", "DB_MAX_CONNECTIONS": "40", "DB_SHARED_BUDGET": "shop",
	} {
		t.Setenv(name, value)
	}
	g := &group{t, pg, asSuperuser(t, pg, "shop")}
	g.must("CREATE ROLE app LOGIN PASSWORD 'secret'")
	g.must("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	return g
}

func (g *group) must(sql string) {
	g.t.Helper()
	if _, err := g.look.System().Exec(g.t.Context(), sql); err != nil {
		g.t.Fatal(err)
	}
}

// tables makes them, by what the command prints.
func (g *group) tables() {
	g.t.Helper()
	_, sql, _ := g.run("replicas", "schema")
	for statement := range strings.SplitSeq(strings.TrimSuffix(sql, ";\n"), ";\n") {
		g.must(statement)
	}
}

// replica opens one.
func (g *group) replica() *pools.Manager {
	g.t.Helper()
	cfg, err := pools.ConfigFromEnv()
	if err != nil {
		g.t.Fatal(err)
	}
	m, err := pools.Open(g.t.Context(), cfg, pools.WithLogger(nil))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

func (g *group) run(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(g.t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

// do runs it, and checks what it says.
func (g *group) do(want int, line string, says ...string) (stdout string) {
	g.t.Helper()
	status, stdout, stderr := g.run(strings.Fields(line)...)
	if status != want {
		g.t.Errorf("%s: status %d, want %d\n%s%s", line, status, want, stdout, stderr)
	}
	for _, text := range says {
		if !strings.Contains(stdout+stderr, text) {
			g.t.Errorf("%s does not say %q:\n%s%s", line, text, stdout, stderr)
		}
	}
	return stdout
}

func (g *group) json() (s sharedJSON) {
	g.t.Helper()
	if err := json.Unmarshal([]byte(g.do(0, "replicas --json")), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// Another role or password does not help when nobody answers.
func TestReplicasAndFenceSayThatTheServerIsDown(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(silent.Addr().String())
	_ = silent.Close() // nobody listens there now
	for name, value := range map[string]string{
		"DB_PREFIX": "shop", "DB_HOST": "127.0.0.1", "DB_PORT": port, "DB_USER": "app", "DB_PASSWORD": "secret", "DB_SSLMODE": "disable",
		"DB_SHARED_BUDGET": "shop", "DB_ACQUIRE_TIMEOUT": "100ms", adminPasswordVariable: "secret",
	} {
		t.Setenv(name, value)
	}
	for _, line := range []string{"replicas", "fence", "replicas --as postgres", "fence --as postgres"} {
		var stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(line), &bytes.Buffer{}, &stderr)
		last := stderr.String()[strings.LastIndex(strings.TrimSpace(stderr.String()), "\n")+1:]
		if status != 1 || !strings.Contains(last, "check that the server runs") || strings.Contains(last, "--as") {
			t.Errorf("%s: status %d: %s", line, status, last)
		}
	}
}

func TestReplicasShowsWhoHasWhat(t *testing.T) {
	g := setGroup(t)
	g.do(1, "replicas", "has no tables of shared budgets", "tenantpool replicas schema")
	g.tables()
	g.do(1, "replicas", `there is no group "shop"`)
	t.Setenv("DB_SHARED_BUDGET", "")
	g.do(1, "replicas", "there is no group yet")
	t.Setenv("DB_SHARED_BUDGET", "shop")

	first, second := g.replica(), g.replica()
	lease, err := first.System().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	eventually(t, "it is seen who has what", func() bool {
		s := g.json()
		return len(s.Replicas) == 2 && s.Replicas[0].InUse == 1 && s.Strangers == 0
	})
	s := g.json()
	if s.Group != "shop" || s.Budget != 40 || s.Floor != 3 || s.Reserve != 4 || s.Role != "app" || s.RoleLimit != nil || s.Usable != 57 || s.Budget != 2+s.Replicas[0].Share+s.Replicas[1].Share+s.Free {
		t.Errorf("%+v", s)
	}
	g.do(0, "replicas", "present", "budget 40 = control sessions 2 + shares 6 + strangers 0 + free 32 (of them in reserve for a newcomer: 4)", "WARNING: the role app has no CONNECTION LIMIT")

	// A stranger, a limit that is not the budget, a role of others, a label that a terminal
	// might heed.
	t.Setenv("DB_SHARED_BUDGET", "")
	stranger := g.replica()
	if err := stranger.System().Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.must("ALTER ROLE app CONNECTION LIMIT 30")
	g.must("UPDATE tenantpool_replicas SET label = E'\\x1b[31mred'")
	g.must("INSERT INTO tenantpool_groups VALUES ('other', 1, 20, 3)")
	out := g.do(0, "replicas", `group "other"`, `group "shop"`, "are no replica's and take from the budget: ", ` of "tenantpool"`, "may have 30 connections and the budget is 40")
	if strings.Contains(out, "\x1b") {
		t.Errorf("%q", out)
	}
	g.do(0, "replicas --group other", "budget 20 = control sessions 0")
	g.must("CREATE ROLE rotated LOGIN PASSWORD 'secret' IN ROLE app")
	t.Setenv("DB_USER", "rotated")
	t.Setenv("DB_SHARED_BUDGET", "shop")
	rotated := g.replica()
	t.Setenv("DB_USER", "app")
	g.do(0, "replicas", "budget 40 = control sessions 3", "other roles have replicas in the group, too (rotated)")
	if err := rotated.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.do(0, "replicas --group shop", "budget 40 = control sessions 1")
	g.must("REVOKE SELECT ON tenantpool_replicas FROM app")
	g.do(1, "replicas --group shop", `the role "app" may not`, "tenantpool replicas schema")
}

func TestReplicasAreWatchedUntilAnInterrupt(t *testing.T) {
	g := setGroup(t)
	g.tables()
	g.replica()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var errs bytes.Buffer
	drawn := &draws{after: 2, then: interrupt}
	if status := execute(ctx, newRoot(), []string{"replicas", "--watch"}, drawn, &errs); status != 0 || strings.Count(drawn.String(), "budget 40 = control sessions 1") != 2 {
		t.Errorf("status %d\n%s%s", status, drawn, &errs)
	}
}

// draws calls then after some writes.
type draws struct {
	drawn bytes.Buffer
	after int
	then  func()
}

func (d *draws) String() string { return d.drawn.String() }

func (d *draws) Write(p []byte) (int, error) {
	if d.after--; d.after == 0 {
		d.then()
	}
	return d.drawn.Write(p)
}

// fence is the role's limit and the group's budget.
func (g *group) fence() (limit, budget int) {
	g.t.Helper()
	if err := g.look.System().QueryRow(g.t.Context(), `SELECT rolconnlimit, budget FROM pg_roles, tenantpool_groups WHERE rolname = 'app'`).Scan(&limit, &budget); err != nil {
		g.t.Fatal(err)
	}
	return limit, budget
}

func TestFenceSetsTheRolesLimitAndTheBudgetInTheRightOrder(t *testing.T) {
	g := setGroup(t)
	g.tables()
	g.do(1, "fence", "there is no group")
	t.Setenv("DB_MAX_CONNECTIONS_PER_DB", "30")
	if err := g.pg.CreateDatabases(t.Context(), "shop_ws_w"); err != nil {
		t.Fatal(err)
	}
	m := g.replica()
	g.replica()
	is := func(limit, budget int) {
		t.Helper()
		if l, b := g.fence(); l != limit || b != budget {
			t.Errorf("limit %d and budget %d, want %d and %d", l, b, limit, budget)
		}
	}
	g.do(0, "fence --dry-run --budget 50", "would set the CONNECTION LIMIT of the role app from none to 50", "would set the budget")
	is(-1, 40)
	if out := g.do(1, "fence", `the role "app" may not alter the role "app"`, "--as ROLE"); out != "ALTER ROLE \"app\" CONNECTION LIMIT 40;\n" {
		t.Errorf("%q", out)
	}
	g.do(1, "fence --budget 50", "run this command again: the budget is still 40")
	is(-1, 40) // it rises after the role's limit
	name, password := superuser(g.pg)
	t.Setenv(adminPasswordVariable, "wrong")
	if _, _, stderr := g.run("fence", "--budget", "50", "--as", name); !strings.Contains(stderr, "--as postgres, with the password of TENANTPOOL_ADMIN_PASSWORD: ") || strings.Contains(stderr, "wrong") {
		t.Error(stderr)
	}
	is(-1, 40)
	t.Setenv(adminPasswordVariable, password)
	as := " --as " + name
	g.do(0, "fence"+as, "from none to 40")
	is(40, 40)
	g.do(0, "fence", "is 40 already")
	g.do(0, "fence --budget 50"+as, "the budget of the group \"shop\" from 40 to 50")
	is(50, 50)
	g.do(1, "fence --budget 11"+as, "nothing was changed: 2 replicas need 12 connections")
	is(50, 50)
	g.do(0, "fence --budget 58"+as, "WARNING: the server has 57 connections")
	g.do(0, "fence --budget 57"+as, "logins under way need some")

	// It falls first in the table, then the replicas give back, then the role's limit falls.
	var leases []*pools.Conn
	for range 20 {
		lease, err := m.Acquire(t.Context(), "w")
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, lease)
	}
	g.do(1, "fence --budget 20 --timeout 0s"+as, "the budget is 20: ", "and a control session (present", "run this command again")
	is(57, 20)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out bytes.Buffer
	waiting := &draws{after: 1, then: interrupt}
	if status := execute(ctx, newRoot(), strings.Fields("fence"+as), &out, waiting); status != exitInterrupted || !strings.Contains(waiting.String(), "waiting until 20 connections are enough") {
		t.Errorf("status %d\n%s%s", status, &out, waiting)
	}
	is(57, 20)
	for _, lease := range leases {
		lease.Release()
	}
	g.do(0, "fence"+as, "from 57 to 20")
	is(20, 20)

	// When the role has no connection left another one gets in.
	t.Setenv("DB_ACQUIRE_TIMEOUT", "100ms")
	g.must("ALTER ROLE app CONNECTION LIMIT 1")
	g.do(1, "replicas", "log in as the role app (--as takes another one)")
	t.Setenv("DB_ACQUIRE_TIMEOUT", "")
	g.do(0, "replicas"+as, "control sessions 2", "strangers 0", "the role app may have 1 connections and the budget is 20")
	g.do(0, "fence"+as, "from 1 to 20")
	// One that may alter the role need have no right on its tables.
	t.Setenv(adminPasswordVariable, "boss")
	g.must("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'boss'")
	g.must("GRANT app TO boss WITH ADMIN OPTION")
	g.must("ALTER ROLE boss NOINHERIT")
	g.do(1, "replicas --as boss", `the role "boss" may not (ERROR: permission denied for table tenantpool_groups`)
	g.do(0, "fence --budget 30 --as boss", "from 20 to 30")
	is(30, 30)
}

func TestAWrongCommandLineOfReplicasAndFenceAsksNobody(t *testing.T) {
	t.Setenv("DB_HOST", "nowhere.invalid")
	t.Setenv("DB_SHARED_BUDGET", "")
	for _, line := range []string{"replicas x", "replicas --json --watch", "replicas schema x", "replicas schema --role=", "fence x --group a", "fence", "fence --group a --budget 0", "fence --group a --as=", "replicas --as=", "fence --group a --timeout -1s"} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), strings.Fields(line), &out, &errs); status != exitMisused || !strings.Contains(errs.String(), "--help") {
			t.Errorf("%s: %d %s", line, status, errs.String())
		}
	}
}

// What comes on top of the budget is no replica of it.
func TestACommandIsNoReplica(t *testing.T) {
	g := setGroup(t)
	g.do(0, "workspaces list")
	var there bool
	if err := g.look.System().QueryRow(t.Context(), `SELECT to_regclass('tenantpool_groups') IS NOT NULL`).Scan(&there); err != nil || there {
		t.Error("it has made a group", err)
	}
}
