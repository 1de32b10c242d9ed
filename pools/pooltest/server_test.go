package pooltest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/pooltest"
)

const schema = `
	CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
	CREATE TABLE orders (customer int REFERENCES customers, item text);
	INSERT INTO customers (name) VALUES ('Ada');`

func migrate(ctx context.Context, w *pools.Workspace) error {
	_, err := w.Exec(ctx, schema)
	return err
}

// server is that of this package's tests.
var server = pooltest.NewServer(pooltest.Config{
	Migrate: migrate,
	MigrateSystem: func(ctx context.Context, w *pools.Workspace) error {
		_, err := w.Exec(ctx, `CREATE TABLE tenants (id text)`)
		return err
	},
	Extensions: []string{"plpgsql"}, // which is there already
	Settings:   map[string]string{"work_mem": "3MB"},
})

func TestMain(m *testing.M) {
	if scenario := os.Getenv(scenarioVariable); scenario != "" {
		scenarios[scenario]()
	}
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const patience = time.Minute

// eventually waits for a condition, with a deadline.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited until %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestEachTestHasAWorkspaceOfItsOwnWithTheMigrations(t *testing.T) {
	for i := range 12 {
		t.Run(fmt.Sprintf("refund #%d", i%3), func(t *testing.T) {
			t.Parallel()
			w := server.Workspace(t)
			var names []string
			rows, err := w.Query(t.Context(), `INSERT INTO customers (name) VALUES ('Bob') RETURNING name`)
			if err != nil {
				t.Fatal(err)
			}
			if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(names) != 1 {
				t.Fatal(names, err) // another test's Bob would be in the way
			}
			var database, owner string
			var customers int
			if err := w.QueryRow(t.Context(), `SELECT current_database(), current_user, count(*) FROM customers`).Scan(&database, &owner, &customers); err != nil {
				t.Fatal(err)
			}
			if customers != 2 || database != "test_ws_"+string(w.ID()) || !strings.HasPrefix(string(w.ID()), "TestEachTestHasAWorkspaceOfItsOwn") {
				t.Errorf("%d customers in %q of %q", customers, database, w.ID())
			}
			// It is the application's own, to migrate further.
			if _, err := w.Exec(t.Context(), `ALTER TABLE customers ADD COLUMN mail text; CREATE SCHEMA more`); err != nil {
				t.Error(err)
			}
		})
	}
}

// databases are those of workspaces, and other names that begin with like.
func databases(t *testing.T, like string) []string {
	t.Helper()
	rows, err := server.Manager(t).System().Query(t.Context(), `SELECT datname FROM pg_database WHERE datname LIKE $1`, like)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAWorkspaceIsGoneAfterItsTest(t *testing.T) {
	var id model.WorkspaceID
	outer := t
	t.Run("test", func(t *testing.T) {
		w := server.Workspace(t)
		id = w.ID()
		if err := w.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Somebody else is connected, too, for longer than the test.
		cfg := server.Config(t)
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=test_ws_%s",
			cfg.Host, cfg.Port, cfg.User, cfg.Password, id))
		if err != nil {
			t.Fatal(err)
		}
		outer.Cleanup(func() { _ = conn.Close(context.Background()) })
		if ids, err := server.Manager(t).Workspaces(t.Context()); err != nil || !slices.Contains(ids, id) {
			t.Errorf("%v %v", ids, err)
		}
	})
	eventually(t, "its database is dropped", func() bool { return len(databases(t, "test_ws_"+string(id))) == 0 })
	if _, err := server.Manager(t).Acquire(t.Context(), id); !errors.Is(err, model.ErrNoWorkspace) {
		t.Errorf("acquire: %v", err)
	}
	// Nobody sees what is made ahead, and there is not much of it.
	ids, err := server.Manager(t).Workspaces(t.Context())
	if err != nil || slices.ContainsFunc(ids, func(id model.WorkspaceID) bool { return strings.Contains(string(id), "template") }) {
		t.Errorf("%v %v", ids, err)
	}
	if ahead := databases(t, "pooltest_%"); len(ahead) > 1+pooltest.AheadAtMost()+pooltest.Makers {
		t.Errorf("%d are made ahead", len(ahead))
	}
}

func TestTheServerIsAsItWasConfigured(t *testing.T) {
	t.Parallel()
	var memory string
	if err := server.Workspace(t).QueryRow(t.Context(), `SHOW work_mem`).Scan(&memory); err != nil || memory != "3MB" {
		t.Error(memory, err)
	}
	if _, err := server.Manager(t).System().Exec(t.Context(), `INSERT INTO tenants VALUES ('acme')`); err != nil {
		t.Error(err)
	}
	m, err := pools.Open(t.Context(), server.Config(t), pools.WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(context.Background())
	if err := m.Workspace(server.Workspace(t).ID()).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// witness is a test that may fail without harm.
type witness struct {
	testing.TB
	name    string
	said    []string
	cleanup []func()
	failed  bool
}

func (w *witness) Helper()           {}
func (w *witness) Name() string      { return w.name }
func (w *witness) Cleanup(f func())  { w.cleanup = append(w.cleanup, f) }
func (w *witness) Error(args ...any) { w.said, w.failed = append(w.said, fmt.Sprint(args...)), true }
func (w *witness) Fatalf(format string, args ...any) {
	w.said, w.failed = append(w.said, fmt.Sprintf(format, args...)), true
	panic(w)
}
func (w *witness) Fatal(args ...any) { w.Fatalf("%s", fmt.Sprint(args...)) }

// end runs what the test has left for its end, and returns what it said.
func (w *witness) end() string {
	for _, f := range slices.Backward(w.cleanup) {
		f()
	}
	return strings.Join(w.said, "\n")
}

// run runs f as far as its first Fatal.
func (w *witness) run(f func()) {
	defer func() {
		if r := recover(); r != nil && r != any(w) {
			panic(r)
		}
	}()
	f()
}

func leakRows(t *testing.T, w *pools.Workspace) pgx.Rows {
	rows, err := w.Query(t.Context(), `SELECT generate_series(1, 3)`)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestALeakedLeaseFailsTheTestAndSaysWhereItWasAcquired(t *testing.T) {
	t.Parallel()
	w := &witness{name: "TestLeak"}
	shop := server.Workspace(w)
	rows := leakRows(t, shop)
	said := w.end()
	if !w.failed || strings.Count(said, "was not released") != 1 || !strings.Contains(said, "leakRows") || !strings.Contains(said, string(shop.ID())) {
		t.Errorf("it said %q", said)
	}
	eventually(t, "its database is dropped all the same", func() bool { return len(databases(t, "test_ws_"+string(shop.ID()))) == 0 })
	rows.Close()
}

func TestALeaseThatComesHomeJustAfterTheTestIsNoLeak(t *testing.T) {
	t.Parallel()
	w := &witness{name: "TestLate"}
	shop := server.Workspace(w)
	rows := leakRows(t, shop)
	go func() {
		defer rows.Close()
		m := server.Manager(t)
		for { // the test's end waits for it
			st, err := m.Stats(context.Background())
			if err != nil || slices.ContainsFunc(st.Workspaces.Active, func(a model.WorkspaceStats) bool { return a.ID == shop.ID() && a.Paused }) {
				return
			}
		}
	}()
	if said := w.end(); w.failed {
		t.Errorf("it said %q", said)
	}
}

// What cannot be migrated fails each test that wants a workspace, and starts nothing
// again.
func TestAMigrationThatFailsFailsTheTests(t *testing.T) {
	t.Parallel()
	migrations := 0
	broken := pooltest.NewServer(pooltest.Config{Migrate: func(ctx context.Context, w *pools.Workspace) error {
		migrations++
		_, err := w.Exec(ctx, `CREATE TABLE`)
		return err
	}})
	for range 2 {
		w := &witness{name: "TestBroken"}
		w.run(func() { broken.Workspace(w) })
		if said := w.end(); !strings.Contains(said, "Config.Migrate") || !strings.Contains(said, "42601") {
			t.Errorf("it said %q", said)
		}
	}
	if migrations != 1 {
		t.Errorf("%d migrations", migrations)
	}
	if err := broken.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAMigrationThatLeavesAConnectionLentIsTold(t *testing.T) {
	t.Parallel()
	leaky := pooltest.NewServer(pooltest.Config{Migrate: func(ctx context.Context, w *pools.Workspace) error {
		_, err := w.Query(ctx, `SELECT 1`)
		return err
	}})
	w := &witness{name: "TestLeaky"}
	w.run(func() { leaky.Workspace(w) })
	if said := w.end(); !strings.Contains(said, "Config.Migrate") || !strings.Contains(said, "TestAMigrationThatLeavesAConnectionLentIsTold") {
		t.Errorf("it said %q", said)
	}
}

func TestAnExtensionThatIsNotThereIsTold(t *testing.T) {
	t.Parallel()
	poor := pooltest.NewServer(pooltest.Config{Extensions: []string{"no-such"}})
	w := &witness{name: "TestPoor"}
	w.run(func() { poor.Workspace(w) })
	if said := w.end(); !strings.Contains(said, `Config.Extensions: create "no-such"`) {
		t.Errorf("it said %q", said)
	}
}

func TestAStoppedServerSaysSoAndWhatIsStillLent(t *testing.T) {
	t.Parallel()
	own := pooltest.NewServer(pooltest.Config{
		Naming:    func(id model.WorkspaceID) (string, error) { return "shop." + string(id), nil },
		Configure: func(cfg *model.Config) { cfg.MaxConnections = 20 },
	})
	if err := own.Stop(); err != nil {
		t.Fatal(err) // it has not even started
	}
	var database string
	if err := own.Workspace(t).QueryRow(t.Context(), `SELECT current_database()`).Scan(&database); err != nil || !strings.HasPrefix(database, "shop.TestAStopped") {
		t.Error(database, err)
	}
	if st, err := own.Manager(t).Stats(t.Context()); err != nil || st.MaxConnections != 20 {
		t.Error(st.MaxConnections, err)
	}
	leakRows(t, own.Manager(t).System())
	if err := own.Stop(); err == nil || !strings.Contains(err.Error(), "leakRows") {
		t.Errorf("stop: %v", err)
	}
	w := &witness{name: "TestLater"}
	w.run(func() { own.Workspace(w) })
	if said := w.end(); !strings.Contains(said, "was stopped") {
		t.Errorf("it said %q", said)
	}
	if err := own.Stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
}
