package pools_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

// Nobody tells the manager that the server restarts.
func TestTheServerRestartsUnderTrafficAndTwoSecondsLaterAllIsWell(t *testing.T) {
	modes := []localpg.Mode{localpg.Kill}
	if long {
		modes = append(modes, localpg.Fast, localpg.Immediate)
	}
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			const workers, workspaces, budget = 16, 30, 20
			grant(t, budget)
			m := open(t, config(budget))
			fillSystem(t, m)
			slack := 20 * dialsTake(t) // for a machine that is slow or busy

			traffic := startTraffic(m, workers, workspaces, time.Second+slack)
			eventually(t, "the traffic flows", func() bool { return traffic.succeeded.Load() > 100 })
			if err := server.Shutdown(context.Background(), mode); err != nil {
				t.Fatal(err)
			}
			failures := traffic.failed.Load()
			eventually(t, "requests fail", func() bool { return traffic.failed.Load() > failures+workers/2 })
			if err := server.Resume(context.Background()); err != nil {
				t.Fatal(err)
			}
			back := time.Now()
			eventually(t, "every worker is served", func() bool { return traffic.allSucceededSince(back) })
			// Who was served once is served always.
			served, failures := traffic.succeeded.Load(), traffic.failed.Load()
			eventually(t, "the traffic flows on", func() bool { return traffic.succeeded.Load() > served+int64(times(150, 3000)) })
			if n := traffic.failed.Load() - failures; n != 0 {
				t.Errorf("%d requests failed after every worker had been served again", n)
			}
			slowest := traffic.stop()

			lastFailure := traffic.lastFailure.Sub(back)
			t.Logf("%d requests succeeded, %d failed, the last of them %v after the server's return; the slowest took %v",
				traffic.succeeded.Load(), traffic.failed.Load(), lastFailure, slowest)
			if lastFailure > 2*time.Second+slack {
				t.Errorf("a request failed %v after the server's return", lastFailure)
			}
			if slowest > traffic.timeout+time.Second+slack {
				t.Errorf("a request took %v, its deadline was %v", slowest, traffic.timeout)
			}
			for _, err := range traffic.bad {
				t.Error(err)
			}
			st := stats(t, m)
			if n := st.Workspaces.Counters.ServerRefusals + st.System.Counters.ServerRefusals; n != 0 {
				t.Errorf("the server refused %d connections", n)
			}
			fillBudget(t, m, workspaces)
		})
	}
}

// traffic is workers that send requests, and what came of them.
type traffic struct {
	timeout           time.Duration // of a request
	succeeded, failed atomic.Int64
	ending            chan struct{}
	wg                sync.WaitGroup

	lock        sync.Mutex
	slowest     time.Duration
	lastFailure time.Time
	lastSuccess []time.Time // of each worker
	bad         []error     // that no restart excuses
}

func startTraffic(m *manager, workers, workspaces int, timeout time.Duration) *traffic {
	tr := &traffic{timeout: timeout, ending: make(chan struct{}), lastSuccess: make([]time.Time, workers)}
	for worker := range workers {
		tr.wg.Go(func() {
			for {
				select {
				case <-tr.ending:
					return
				default:
				}
				began := time.Now()
				err := whoseDatabase(m, rand.IntN(workspaces), timeout)
				tr.note(worker, began, err)
			}
		})
	}
	return tr
}

// whoseDatabase is a request that reads back which database it was given.
func whoseDatabase(m *manager, i int, timeout time.Duration) error {
	ctx, stop := context.WithTimeout(context.Background(), timeout)
	defer stop()
	conn, err := m.Acquire(ctx, workspaceID(i))
	if err != nil {
		return err
	}
	defer conn.Release()
	for range 3 {
		var database string
		if err := conn.QueryRow(ctx, `SELECT current_database() FROM pg_sleep(0.001)`).Scan(&database); err != nil {
			return err
		}
		if want := databaseNames(i + 1)[i]; database != want {
			return &wrongTenant{want, database}
		}
	}
	return nil
}

type wrongTenant struct{ want, got string }

func (e *wrongTenant) Error() string { return "asked for " + e.want + ", was given " + e.got }

func (tr *traffic) note(worker int, began time.Time, err error) {
	now := time.Now()
	tr.lock.Lock()
	defer tr.lock.Unlock()
	tr.slowest = max(tr.slowest, now.Sub(began))
	if err == nil {
		tr.lastSuccess[worker] = now
		tr.succeeded.Add(1)
		return
	}
	tr.lastFailure = now
	tr.failed.Add(1)
	var wrong *wrongTenant
	if errors.As(err, &wrong) || strings.Contains(err.Error(), server.Password) || err.Error() == "" || errors.Is(err, pgx.ErrNoRows) {
		tr.bad = append(tr.bad, err)
	}
}

// allSucceededSince tells whether every worker had a success since then.
func (tr *traffic) allSucceededSince(then time.Time) bool {
	tr.lock.Lock()
	defer tr.lock.Unlock()
	return !slices.ContainsFunc(tr.lastSuccess, func(at time.Time) bool { return !at.After(then) })
}

// stop returns how long the slowest request took.
func (tr *traffic) stop() time.Duration {
	close(tr.ending)
	tr.wg.Wait()
	return tr.slowest
}

// One that is found dead makes the manager doubt the others.
func TestAfterARestartOneRequestFailsAtMostAndNoOtherDeadConnectionIsLent(t *testing.T) {
	for _, mode := range []localpg.Mode{localpg.Fast, localpg.Immediate} {
		t.Run(mode.String(), func(t *testing.T) {
			m := open(t, config(20))
			const workspaces = 5
			for i := range workspaces {
				var held []*pools.Conn
				for range 3 {
					conn, err := m.Acquire(t.Context(), workspaceID(i))
					if err != nil {
						t.Fatal(err)
					}
					held = append(held, conn)
				}
				release(held)
			}
			if st := stats(t, m).Workspaces; st.Idle != 3*workspaces {
				t.Fatalf("%+v", st.Counts)
			}
			restart(t, mode)
			failed := 0
			for i := range 3 * workspaces {
				if err := m.Workspace(workspaceID(i % workspaces)).Ping(t.Context()); err != nil {
					failed++
					t.Log(err)
				}
			}
			if failed > 1 {
				t.Errorf("%d requests were given a dead connection", failed)
			}
			fillBudget(t, m, workspaces)
		})
	}
}
