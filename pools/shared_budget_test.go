package pools_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// newGroup is a name that no test before has left a budget for.
func newGroup(t *testing.T) string {
	groups++
	return fmt.Sprintf("%s %d", t.Name(), groups)
}

var groups int

// Three managers, as three processes would be, on one budget, which is also what the server
// lets the role have: traffic that wanders from one to the next, and every refusal would
// be an error.
func TestThreeManagersShareOneBudget(t *testing.T) {
	const budget = 30
	watch := grant(t, budget)
	cfg := config(budget)
	cfg.MaxConnectionsPerDB = 2
	group := newGroup(t)
	var managers []*manager
	for range 3 {
		managers = append(managers, open(t, cfg, pools.WithSharedBudget(group)))
	}
	counting, stop := context.WithCancel(t.Context())
	defer stop()
	var most atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for counting.Err() == nil {
			most.Store(max(most.Load(), int64(backends(t, watch))))
		}
	})
	const whole = budget - 3 - 2*3 - 4 - 2 // control sessions, the others' floors, the reserve, the system share of its own
	for turn, m := range managers {
		ending := make(chan struct{})
		var served atomic.Int64
		var handlers sync.WaitGroup
		for i := range 40 {
			handlers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 0))
				for {
					select {
					case <-ending:
						return
					default:
					}
					if _, err := m.Workspace(workspaceID(random.IntN(20))).Exec(t.Context(), "SELECT pg_sleep(0.01)"); err != nil {
						t.Error(err)
						return
					}
					served.Add(1)
				}
			})
		}
		began := time.Now()
		eventually(t, "the busy one has what the others leave", func() bool {
			return t.Failed() || stats(t, m).Workspaces.Budget >= whole
		})
		t.Logf("manager %d has %d after %v", turn, stats(t, m).Workspaces.Budget, time.Since(began))
		before := served.Load()
		eventually(t, "it serves", func() bool { return t.Failed() || served.Load() > before+200 })
		close(ending)
		handlers.Wait()
	}
	stop()
	all.Wait()
	if n := most.Load(); n > budget {
		t.Errorf("%d connections with a budget of %d", n, budget)
	}
	for _, m := range managers {
		if st := stats(t, m); st.Shared.Refusals > 0 || st.Shared.Group != group || !st.Shared.Connected {
			t.Errorf("%+v", st)
		}
	}
	t.Logf("at most %d of %d connections", most.Load(), budget)
}

func TestTheBudgetOfAGroupIsChangedForAllByOne(t *testing.T) {
	watch := grant(t, 40)
	cfg := config(30)
	group := newGroup(t)
	one := open(t, cfg, pools.WithSharedBudget(group))
	other := open(t, cfg, pools.WithSharedBudget(group))
	if _, err := one.SetLimits(t.Context(), 40, 2); err != nil {
		t.Fatal(err)
	}
	if n := stats(t, one).MaxConnectionsPerDB; n != 2 {
		t.Errorf("the cap is %d", n)
	}
	eventually(t, "the other one knows", func() bool { return stats(t, other).MaxConnections == 40 })
	all, err := other.SharedBudget(t.Context())
	if err != nil || all.Group != group || all.Budget != 40 || all.Floor != 3 || all.Reserve != 4 || len(all.Replicas) != 2 || all.RoleLimit != -1 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, r := range all.Replicas {
		if r.Self != (i == 1) || r.State != model.ReplicaPresent || r.Share < 3 || r.Granted != r.Share || r.Label == "" || r.Age <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if sum := 2 + all.Replicas[0].Share + all.Replicas[1].Share + all.Free + all.Strangers; sum != 40 {
		t.Errorf("%d of 40: %+v", sum, all)
	}
	var refused *model.ConfigError
	if _, err := one.SetLimits(t.Context(), 11, 2); !errors.As(err, &refused) || !contains(err, "2 replicas need 12 connections") {
		t.Errorf("too small: %v", err)
	}
	if _, err := one.SetLimits(t.Context(), 0, 2); !errors.As(err, &refused) {
		t.Errorf("nothing: %v", err)
	}
	if n := backends(t, watch); n > 40 {
		t.Errorf("%d connections", n)
	}
	if _, err := open(t, cfg).SharedBudget(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("not shared: %v", err)
	}
}

func TestAGroupWhoseFloorsDoNotFitRefusesTheNext(t *testing.T) {
	cfg := config(11)
	group := newGroup(t)
	open(t, cfg, pools.WithSharedBudget(group))
	_, err := pools.Open(t.Context(), cfg, pools.WithSharedBudget(group), pools.WithLogger(nil))
	if err == nil {
		t.Fatal("it was let in")
	}
	var dial *model.DialError
	if want := "2 replicas need 12 connections"; !errors.As(err, &dial) || !contains(err, want) || !contains(err, "tenantpool fence --budget") {
		t.Errorf("%v", err)
	}
}

// Where the others have all but the group's floor, a replica that is configured for more
// connections to the system database than that has one for the workspaces all the same.
func TestTheGroupsFloorHasRoomForAWorkspaceWhateverTheSystemsShareIs(t *testing.T) {
	grant(t, 16)
	cfg := config(16)
	group := newGroup(t)
	one := open(t, cfg, pools.WithSharedBudget(group))
	for i := range 16 - 1 - 4 - 2 { // a control session, the reserve, the system database's
		conn, err := one.Acquire(t.Context(), workspaceID(i))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	cfg.SystemConnections = 9
	other := open(t, cfg, pools.WithSharedBudget(group))
	if _, err := other.Workspace("w0").Exec(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
	if st := stats(t, other); st.System.Budget != 2 {
		t.Errorf("%+v", st.System)
	}
}

// The role has fewer connections than the budget: what is refused waits, and is counted.
func TestWhatTheFenceRefusesWaits(t *testing.T) {
	grant(t, 40)
	role := pgx.Identifier{server.User}.Sanitize()
	statements(t, superuser(t), "ALTER ROLE "+role+" CONNECTION LIMIT 9")
	t.Cleanup(func() { statements(t, superuser(t), "ALTER ROLE "+role+" CONNECTION LIMIT -1") })
	var log logBuffer
	m := open(t, config(30), pools.WithSharedBudget(newGroup(t)), pools.WithLogger(log.logger()))
	log.line(t, "CONNECTION LIMIT is not the shared budget", `"role_connection_limit":9`, `"budget":30`)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 5 {
				if _, err := m.Workspace(workspaceID(i)).Exec(t.Context(), "SELECT pg_sleep(0.005)"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if st := stats(t, m); st.Shared.Refusals == 0 {
		t.Errorf("%+v", st.Shared)
	}
}

// A handler that renames its connection takes nothing from the group.
func TestARenamedConnectionIsNoStranger(t *testing.T) {
	m := open(t, config(30), pools.WithSharedBudget(newGroup(t)))
	for i := range 3 {
		conn, err := m.Acquire(t.Context(), workspaceID(i))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		if _, err := conn.Exec(t.Context(), "SET application_name = 'report'"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they are all its own", func() bool {
		all, err := m.SharedBudget(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all.Strangers == 0 && all.Replicas[0].InUse >= 3
	})
	stranger, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s", server.Host, server.Port, server.User, server.Password, server.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close(context.Background())
	eventually(t, "somebody else is one", func() bool {
		all, err := m.SharedBudget(t.Context())
		return err == nil && all.Strangers == 1
	})
}

// elsewhere is a database of its own on the strict server, and a superuser's connection to it.
func elsewhere(t *testing.T, cfg *model.Config) *pgx.Conn {
	t.Helper()
	statements(t, superuser(t), "CREATE DATABASE elsewhere OWNER "+pgx.Identifier{server.User}.Sanitize())
	super, err := pgx.ParseConfig(server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	super.Database, cfg.SystemDatabase = "elsewhere", "elsewhere"
	conn, err := pgx.ConnectConfig(t.Context(), super)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close(context.Background())
		server = strict.Server
		statements(t, superuser(t), "DROP DATABASE elsewhere WITH (FORCE)")
	})
	return conn
}

// Close ends the wait for a place in the group, and whoever waits leaves nothing there.
func TestCloseEndsTheWaitForAPlaceInTheGroup(t *testing.T) {
	grant(t, 40)
	cfg := config(12) // two fit
	db := elsewhere(t, &cfg)
	before := goroutines()
	one := open(t, cfg, pools.WithSharedBudget("full"))
	if _, err := db.Exec(t.Context(), `INSERT INTO tenantpool_replicas ("group", id, label, application_name, seq, pid, control, max_dialing, granted, promised)
VALUES ('full', 'gone', '', 'gone', 1, 1, 'gone', 1, 0, 3)`); err != nil {
		t.Fatal(err)
	}
	left, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s application_name=gone", server.Host, server.Port, server.User, server.Password, server.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close(context.Background())
	late, err := pools.Open(t.Context(), cfg, pools.WithSharedBudget("full"), pools.WithLateServer(), pools.WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- late.WaitForServer(t.Context()) }()
	eventually(t, "its control session is there", func() bool {
		var n int
		err := db.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = 'elsewhere' AND application_name LIKE $1", replicas.ControlName+"%").Scan(&n)
		return err == nil && n == 2
	})
	closeManager(t, late)
	if err := <-waited; !errors.Is(err, model.ErrClosed) {
		t.Errorf("%v", err)
	}
	eventually(t, "nothing is left of it", func() bool {
		all, err := one.SharedBudget(t.Context())
		return err == nil && len(all.Replicas) == 2 && all.Strangers == 0
	})
	closeManager(t, one.Manager)
	eventually(t, "the goroutines end", func() bool { return goroutines() <= before })
}

// A configuration that cannot work must not stay as the group's.
func TestAGroupThatIsTooSmallForOneIsNotMade(t *testing.T) {
	group := newGroup(t)
	_, err := pools.Open(t.Context(), config(7), pools.WithSharedBudget(group), pools.WithLogger(nil))
	if !contains(err, "1 replicas need 8 connections") {
		t.Errorf("%v", err)
	}
	m := open(t, config(8), pools.WithSharedBudget(group))
	if all, err := m.SharedBudget(t.Context()); err != nil || all.Budget != 8 {
		t.Errorf("%+v, %v", all, err)
	}
}

func contains(err error, words string) bool {
	return err != nil && strings.Contains(err.Error(), words)
}

func TestWhatRefusesASharedBudgetForGoodIsNotWaitedFor(t *testing.T) {
	statements(t, superuser(t), "DROP ROLE IF EXISTS without_rights", "CREATE ROLE without_rights LOGIN PASSWORD 'x'")
	t.Cleanup(func() { statements(t, superuser(t), "DROP ROLE without_rights") })
	open(t, config(20), pools.WithSharedBudget(newGroup(t))) // the tables are there
	for want, spoil := range map[string]func(*model.Config){
		"create the database first":         func(c *model.Config) { c.SystemDatabase = "nowhere" },
		"SQL of tenantpool replicas schema": func(c *model.Config) { c.User, c.Password = "without_rights", "x" },
	} {
		cfg := config(20)
		spoil(&cfg)
		m := open(t, cfg, pools.WithSharedBudget(newGroup(t)), pools.WithLateServer())
		ctx, stop := context.WithTimeout(t.Context(), patience)
		err := m.WaitForServer(ctx)
		stop()
		var dial *model.DialError
		if !contains(err, want) || !errors.As(err, &dial) || dial.Kind != model.Permanent || dial.WorkspaceID != "the system database" {
			t.Errorf("%s: %v", want, err)
		}
	}
	// A place in the group may come free.
	cfg := config(7)
	m := open(t, cfg, pools.WithSharedBudget(newGroup(t)), pools.WithLateServer())
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := m.WaitForServer(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// Nobody waits, so that nobody is seen waiting: the first are turned away, and that the
// replica needs more is known all the same.
func TestAReplicaInWhichNobodyWaitsGrows(t *testing.T) {
	cfg := config(30)
	cfg.AcquireTimeout = 0
	cfg.MaxConnectionsPerDB = 50
	m := open(t, cfg, pools.WithSharedBudget(newGroup(t)))
	turnedAway := 0
	var held []*pools.Conn
	eventually(t, "it has ten", func() bool {
		conn, err := m.Acquire(t.Context(), "w0")
		if err == nil {
			held = append(held, conn)
			return len(held) == 10
		}
		var limit *model.ConnectionLimitError
		if !errors.As(err, &limit) || !limit.Shared || !strings.Contains(err.Error(), "tenantpool fence --budget") {
			t.Errorf("%v", err)
		}
		turnedAway++
		return t.Failed()
	})
	for _, conn := range held {
		conn.Release()
	}
	if turnedAway == 0 {
		t.Error("nobody was turned away, so this test shows nothing")
	}
}

// The group's budget holds, and that is what the server is to grant.
func TestTheServerNeedNotGrantWhatTheGroupDoesNotHeed(t *testing.T) {
	grant(t, 40)
	group := newGroup(t)
	open(t, config(30), pools.WithSharedBudget(group))
	other := open(t, config(60), pools.WithSharedBudget(group))
	other.log.line(t, "The group has another budget", `"configured_budget":60`, `"budget":30`)
	other.log.lacks(t, tooMany)
}
