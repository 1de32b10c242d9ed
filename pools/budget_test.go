package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/pools"
)

// sampleBackends watches how many connections the server has for the role, until
// stop, which returns the most that were seen.
func sampleBackends(t *testing.T, db *sql.DB) (stop func() int) {
	done, peak := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(2 * time.Millisecond):
				most = max(most, backends(t, db))
			}
		}
	}()
	return func() int { close(done); return <-peak }
}

// This is what makes the server the judge in the tests below.
func TestTheServerGrantsTheBudgetAndNotOneMore(t *testing.T) {
	const budget = 20
	watch := grant(t, budget)
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable",
		server.Host, server.Port, server.User, server.Password, server.Database))
	if err != nil {
		t.Fatal(err)
	}
	for i := range budget {
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatalf("connection %d of %d: %v", i+1, budget, err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
	}
	var refused *pgconn.PgError
	if _, err := pgx.ConnectConfig(t.Context(), config); !errors.As(err, &refused) || refused.Code != "53300" {
		t.Errorf("one more connection: %v", err)
	}
	if n := backends(t, watch); n != budget {
		t.Errorf("%d backends", n)
	}
}

// The server is the judge: it grants exactly what the manager may use, and
// refuses the connection that would be one too many.
func TestAHundredWorkspacesShareABudgetOfFortyAndTheServerRefusesNothing(t *testing.T) {
	const (
		workspaces = 100
		workers    = 64
		budget     = 40
	)
	requests := times(400, 3000)
	watch := grant(t, budget)
	databases := count(t, watch, `SELECT count(*) FROM pg_database`)
	m := open(t, config(budget))
	fillSystem(t, m)
	peak := sampleBackends(t, watch)
	var wg sync.WaitGroup
	for i := range workspaces {
		wg.Go(func() {
			if _, err := m.Workspace(workspaceID(i)).Exec(t.Context(), `CREATE TABLE IF NOT EXISTS visits (at timestamptz DEFAULT now())`); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()

	var left, cancelled atomic.Int64
	left.Store(int64(requests))
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				id := rand.IntN(workspaces)
				if rand.IntN(10) == 0 {
					if err := cancelledRequest(t.Context(), m, id); err != nil {
						t.Error(err)
					}
					cancelled.Add(1)
				} else if err := request(t.Context(), m, id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()

	st := stats(t, m)
	most := peak()
	t.Logf("%d requests, %d of them cancelled; %d hits, %d hand-offs, %d dials, %d evictions; at most %d backends of %d",
		requests, cancelled.Load(), st.Workspaces.Counters.Hits, st.Workspaces.Counters.HandOffs,
		st.Workspaces.Counters.Dials, st.Workspaces.Counters.Evictions(), most, budget)
	if n := st.Workspaces.Counters.ServerRefusals + st.System.Counters.ServerRefusals; n != 0 {
		t.Errorf("the server refused %d connections", n)
	}
	if most > budget {
		t.Errorf("the server had %d backends, the budget is %d", most, budget)
	}
	if st.Workspaces.Counters.Evictions() < uint64(requests)/15 {
		t.Errorf("only %d evictions: the test shows nothing", st.Workspaces.Counters.Evictions())
	}

	fillBudget(t, m, workspaces)
	closeManager(t, m.Manager)
	if n := backends(t, watch); n != 0 {
		t.Errorf("%d backends after Close", n)
	}
	if n := count(t, watch, `SELECT count(*) FROM pg_database`); n != databases {
		t.Errorf("%d databases, before there were %d", n, databases)
	}
}

// request does what a handler does, and checks whose database it was given.
func request(ctx context.Context, m *manager, i int) error {
	conn, err := m.Acquire(ctx, workspaceID(i))
	if err != nil {
		return err
	}
	defer conn.Release()
	var database string
	if err := conn.QueryRow(ctx, `SELECT current_database()`).Scan(&database); err != nil {
		return err
	}
	if want := databaseNames(i + 1)[i]; database != want {
		return fmt.Errorf("workspace %d was lent a connection to %s", i, database)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO visits DEFAULT VALUES`)
		return err
	})
}

// cancelledRequest is cancelled in the middle of its query.
func cancelledRequest(ctx context.Context, m *manager, i int) error {
	conn, err := m.Acquire(ctx, workspaceID(i))
	if err != nil {
		return err
	}
	defer conn.Release()
	ctx, stop := context.WithTimeout(ctx, 5*time.Millisecond)
	defer stop()
	_, err = conn.Exec(ctx, `SELECT pg_sleep(60)`)
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("a cancelled query returned: %v", err)
	}
	return nil
}

// The design that this one replaces managed 30.
func TestNinetyWorkspacesHoldAWarmConnectionEachAtTheSameTime(t *testing.T) {
	const workspaces, budget = 90, 100
	grant(t, budget)
	m := open(t, config(budget))
	for range 2 {
		held := make([]*pools.Conn, workspaces)
		var wg sync.WaitGroup
		for i := range held {
			wg.Go(func() {
				var err error
				if held[i], err = m.Acquire(t.Context(), workspaceID(i)); err == nil {
					err = held[i].Ping(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, conn := range held {
			if conn != nil {
				conn.Release()
			}
		}
	}
	st := stats(t, m).Workspaces
	if st.Counters.Dials != workspaces || st.Counters.Hits != workspaces || st.Idle != workspaces {
		t.Errorf("want each dialed once and then hit, all idle: %+v", st)
	}
}

// One connection after the other is closed and another dialed in its slot, with
// not one to spare: whoever frees a slot before the server has is refused.
func TestASlotIsFreeWhenTheServerSaysSo(t *testing.T) {
	const budget, workspaces = 20, 30
	swaps := times(150, 600)
	grant(t, budget)
	m := open(t, config(budget))
	fillSystem(t, m)
	before := stats(t, m).Workspaces
	for i := range swaps {
		conn, err := m.Acquire(t.Context(), workspaceID(i%workspaces))
		if err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 { // some in the middle of a query, which takes longer to end
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Millisecond)
			_, _ = conn.Exec(ctx, `SELECT pg_sleep(60)`)
			stop()
		}
		conn.Release()
	}
	st := stats(t, m).Workspaces
	if n := st.Counters.ServerRefusals; n != 0 {
		t.Errorf("the server refused %d of %d dials", n, st.Counters.Dials)
	}
	if n := st.Counters.Evictions() - before.Counters.Evictions(); n < uint64(swaps)/2 {
		t.Errorf("only %d evictions in %d turns: the test shows nothing", n, swaps)
	}
}

// fillSystem opens all connections of the system database's share; the manager's own
// is open since the start.
func fillSystem(t *testing.T, m *manager) {
	t.Helper()
	var held []*pools.Conn
	for range stats(t, m).System.PerWorkspace {
		conn, err := m.System().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		conn.Release()
	}
}

// Others use the server too: the manager makes do with what is left, and takes
// it back later.
func TestABudgetThatTheServerDoesNotGrantIsHeldAtWhatIsOpen(t *testing.T) {
	const granted, budget, workspaces = 26, 40, 60
	grant(t, granted)
	m := open(t, config(budget))
	m.log.line(t, "DB_MAX_CONNECTIONS is more than the server grants", `"available":27`, `"max_connections":40`)

	var wg sync.WaitGroup
	for worker := range 40 {
		wg.Go(func() {
			for i := range times(6, 20) {
				if err := m.Workspace(workspaceID((worker + i*7) % workspaces)).Ping(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	st := stats(t, m).Workspaces
	if st.Counters.ServerRefusals == 0 || st.EffectiveBudget > granted {
		t.Errorf("%d refusals and an effective budget of %d, where the server grants %d", st.Counters.ServerRefusals, st.EffectiveBudget, granted)
	}
}
