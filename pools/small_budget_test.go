package pools_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// bustle has workers make requests to more workspaces than there are connections, and to
// the system database; none may fail.
func bustle(t *testing.T, m *manager, workers, each int) {
	t.Helper()
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range each {
				w := m.Workspace(workspaceID((worker*7 + i) % 30))
				if i%5 == 0 {
					w = m.System()
				}
				if _, err := w.Exec(t.Context(), `SELECT 1`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if st := stats(t, m); st.Workspaces.Counters.ServerRefusals+st.System.Counters.ServerRefusals > 0 {
		t.Errorf("the server refused connections: %+v, %+v", st.Workspaces.Counters, st.System.Counters)
	}
}

func TestASmallBudgetOnAServerThatGrantsJustIt(t *testing.T) {
	for _, budget := range []int{3, 5, 12, 19, 20} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			watch := grant(t, budget)
			m := open(t, config(budget))
			fillSystem(t, m)
			peak := sampleBackends(t, watch)
			bustle(t, m, 16, times(5, 200))
			fillBudget(t, m, 30)
			if most := peak(); most > budget {
				t.Errorf("%d backends", most)
			}
			m.log.lacks(t, "DB_MAX_CONNECTIONS is more")
		})
	}
}

func TestTheSystemsShareMayBeChosen(t *testing.T) {
	const budget = 12
	grant(t, budget)
	cfg := config(budget)
	cfg.SystemConnections = 7
	m := open(t, cfg)
	fillSystem(t, m)
	bustle(t, m, 8, 5)
	fillBudget(t, m, 30)
	if st := stats(t, m); st.System.Budget != 7 || st.System.PerWorkspace != 6 || st.Workspaces.Budget != 5 {
		t.Errorf("%d, %d and %d", st.System.Budget, st.System.PerWorkspace, st.Workspaces.Budget)
	}
	if _, err := m.SetLimits(t.Context(), 7, 3); err == nil {
		t.Error("the workspaces are left none")
	}
	if _, err := m.SetLimits(t.Context(), 8, 3); err != nil {
		t.Error(err)
	}
	if st := stats(t, m); st.System.Budget != 7 || st.Workspaces.Budget != 1 {
		t.Errorf("after a change of the whole: %d and %d", st.System.Budget, st.Workspaces.Budget)
	}
}

func TestEightProcessesShareAServerOfAHundred(t *testing.T) {
	const processes, each = 8, 12
	grant(t, processes*each)
	var managers [processes]*manager
	for i := range managers {
		managers[i] = open(t, config(each))
	}
	began := time.Now()
	var wg sync.WaitGroup
	for _, m := range managers {
		wg.Go(func() { bustle(t, m, 8, times(5, 200)) })
	}
	wg.Wait()
	t.Logf("%d processes with %d connections each took %v", processes, each, time.Since(began))
}
