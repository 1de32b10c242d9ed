package pools_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
	"github.com/tenantpool/tenantpool/pools"
)

func TestWithoutAPlannerThereIsNoCapacity(t *testing.T) {
	cfg := config(20)
	cfg.Planner = "off"
	m := open(t, cfg)
	if _, err := m.Capacity(t.Context()); !errors.Is(err, errors.ErrUnsupported) || !contains(err, "DB_PLANNER is off") {
		t.Error(err)
	}
	st, err := m.Stats(t.Context())
	if err != nil || st.Utilisation != (model.Utilisation{}) {
		t.Errorf("%+v %v", st.Utilisation, err)
	}
	if entries := dump(t, m); entries[pools.DumpTraffic] != nil || !strings.Contains(readAbout(t, entries).Missing[pools.DumpTraffic], "DB_PLANNER is off") {
		t.Error("a dump has traffic, or does not say why it has none")
	}
}

func TestCapacityAfterClose(t *testing.T) {
	m := open(t, config(20))
	closeManager(t, m.Manager)
	if _, err := m.Capacity(t.Context()); !errors.Is(err, model.ErrClosed) {
		t.Error(err)
	}
}

func TestBeforeThereIsTrafficTheCapacityIsNotKnown(t *testing.T) {
	m := open(t, config(20))
	c, err := m.Capacity(t.Context())
	if err != nil || c.Recommendation.Verdict != model.TooLittleSeen || !strings.Contains(c.Recommendation.Text, "Too little seen") {
		t.Errorf("%+v %v", c.Recommendation, err)
	}
}

// A pool begins with a second of next to nothing, and that is not what is told from then on.
func TestThatTooLittleIsSeenIsToldOfTheTrafficSoFar(t *testing.T) {
	m := open(t, config(20))
	eventually(t, "three seconds have been seen", func() bool {
		if err := m.Workspace(workspaceID(0)).Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		return stats(t, m).Utilisation.Windows[0].Seen >= 3*time.Second
	})
	if c, err := m.Capacity(t.Context()); err != nil || c.Acquires == 0 || c.Window < time.Second {
		t.Errorf("%d acquires in %v, %v", c.Acquires, c.Window, err)
	}
}

// What the manager lends is what the dump's traffic has.
func TestADumpHasTheTraffic(t *testing.T) {
	m := open(t, config(20))
	const each = 3
	// The recording begins with the first look.
	eventually(t, "the utilisation is known", func() bool {
		st, err := m.Stats(t.Context())
		return err == nil && st.Utilisation.Windows[0].Seen > 0
	})
	for range each {
		for i := range 4 {
			if err := m.Workspace(workspaceID(i)).Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all acquires are recorded", func() bool {
		w, about, err := planner.Read(bytes.NewReader(dump(t, m)[pools.DumpTraffic]))
		if err != nil {
			t.Fatal(err)
		}
		if about.SystemShare != 5 || about.AcquireTimeout != patience {
			t.Errorf("%+v", about)
		}
		return w.Acquires() == each*4
	})
}

// Who waits for room has it as soon as the manager may give it more.
func TestTheBudgetIsRaisedWhileSomebodyWaitsForRoom(t *testing.T) {
	cfg := config(10)
	cfg.MaxConnections, cfg.AutoBudget = 8, "8..20" // config's server grants more
	cfg.MaxConnectionsPerDB = 10                    // which 8 have no room for
	m := open(t, cfg)
	events, err := m.Events(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	budget := cfg.WorkspaceBudget()
	var held []*pools.Conn
	for i := range budget + 3 {
		conn, err := m.Acquire(t.Context(), workspaceID(i))
		if err != nil {
			t.Fatalf("%d of %d slots: %v", i, budget, err)
		}
		held = append(held, conn)
	}
	st, err := m.Stats(t.Context())
	if st.MaxConnectionsPerDB != min(10, st.Workspaces.Budget) || st.MaxConnectionsPerDB <= budget {
		t.Errorf("the cap is %d of %d", st.MaxConnectionsPerDB, st.Workspaces.Budget)
	}
	if err != nil || st.AutoBudget.Target <= 8 || st.MaxConnections != st.AutoBudget.Target || st.AutoBudget.Highest != 20 {
		t.Errorf("%+v of %d, %v", st.AutoBudget, st.MaxConnections, err)
	}
	for _, conn := range held {
		conn.Release()
	}
	for deadline := time.After(patience); ; {
		select {
		case e := <-events:
			if e.Kind == model.EventLimitsSet {
				if e.MaxConnections <= 8 || !strings.Contains(e.Why, "waited for room") {
					t.Errorf("%+v", e)
				}
				return
			}
		case <-deadline:
			t.Fatal("no event tells of it")
		}
	}
}

// The oldest process sets the group's budget, for whichever of them somebody waits.
func TestTheBudgetOfAGroupIsRaisedWhileSomebodyWaitsForRoomInOneOfThem(t *testing.T) {
	grant(t, 40)
	cfg := config(18)
	cfg.AutoBudget = "15..40"
	group := newGroup(t)
	one := open(t, cfg, pools.WithSharedBudget(group))
	other := open(t, cfg, pools.WithSharedBudget(group))
	var holding sync.WaitGroup
	end := make(chan struct{})
	const holders = 12 // the group has room for 18 - 2 control sessions - 2*2 of the system - 4 in reserve
	served := make(chan struct{}, holders)
	for i := range holders {
		holding.Go(func() {
			conn, err := other.Acquire(t.Context(), workspaceID(i))
			if err != nil {
				t.Error(err)
				return
			}
			served <- struct{}{}
			<-end
			conn.Release()
		})
	}
	for range holders {
		<-served
	}
	st := stats(t, one)
	if st.AutoBudget.Target <= 18 || st.AutoBudget.Target > 40 || !strings.Contains(st.AutoBudget.Reason, "waited for room") {
		t.Errorf("the oldest: %+v", st.AutoBudget)
	}
	if st := stats(t, other); st.AutoBudget.Reason != "" || st.MaxConnections <= 18 {
		t.Errorf("the other: %+v of %d", st.AutoBudget, st.MaxConnections)
	}
	close(end)
	holding.Wait()
}
