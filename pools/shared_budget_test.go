package pools_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Three managers, as three processes would be, on one budget, which is also what the server
// lets the role have: traffic that wanders from one to the next, and every refusal would
// be an error.
func TestThreeManagersShareOneBudget(t *testing.T) {
	const budget = 30
	watch := grant(t, budget)
	cfg := config(budget)
	cfg.MaxConnectionsPerDB = 2
	var managers []*manager
	for range 3 {
		managers = append(managers, open(t, cfg, pools.WithSharedBudget("shop")))
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
		if st := stats(t, m); st.Shared.Refusals > 0 || st.Shared.Group != "shop" || !st.Shared.Connected {
			t.Errorf("%+v", st)
		}
	}
	t.Logf("at most %d of %d connections", most.Load(), budget)
}

func TestTheBudgetOfAGroupIsChangedForAllByOne(t *testing.T) {
	watch := grant(t, 40)
	cfg := config(30)
	one := open(t, cfg, pools.WithSharedBudget("shop"))
	other := open(t, cfg, pools.WithSharedBudget("shop"))
	if _, err := one.SetLimits(t.Context(), 40, 2); err != nil {
		t.Fatal(err)
	}
	if n := stats(t, one).MaxConnectionsPerDB; n != 2 {
		t.Errorf("the cap is %d", n)
	}
	eventually(t, "the other one knows", func() bool { return stats(t, other).MaxConnections == 40 })
	all, err := other.SharedBudget(t.Context())
	if err != nil || all.Group != "shop" || all.Budget != 40 || all.Floor != 3 || all.Reserve != 4 || len(all.Replicas) != 2 || all.RoleLimit != -1 {
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
	open(t, cfg, pools.WithSharedBudget("small"))
	_, err := pools.Open(t.Context(), cfg, pools.WithSharedBudget("small"), pools.WithLogger(nil))
	if err == nil {
		t.Fatal("it was let in")
	}
	var dial *model.DialError
	if want := "2 replicas need 12 connections"; !errors.As(err, &dial) || !contains(err, want) {
		t.Errorf("%v", err)
	}
}

func contains(err error, words string) bool {
	return err != nil && strings.Contains(err.Error(), words)
}
