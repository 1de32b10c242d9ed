package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// The example of the API's description, literally.
const exampleAnswer = `{"maxConnections":100,"maxConnectionsPerDB":3,"totalOpenConnections":25,"totalInUseConnections":10,"totalIdleConnections":15,"activeWorkspaceDatabases":8,"systemConnections":{"openConnections":5,"inUse":2,"idle":3,"maxOpen":10},"workspacePools":{"ws_001":{"openConnections":3,"inUse":1,"idle":2,"maxOpen":3}}}`

func TestTheStatisticsHaveTheNamesAndValuesOfTheExample(t *testing.T) {
	rig := newHandlersRig(t)
	status, body := rig.do(Viewer, "/api/admin.connectionStats", "")
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	var want, got map[string]any
	if err := json.Unmarshal([]byte(exampleAnswer), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	includes(t, "", want, got)
	if _, there := got["missing"]; there {
		t.Error("something is missing: ", body)
	}
	if n := len(got["workspacePools"].(map[string]any)); n != 8 {
		t.Errorf("%d workspaces", n)
	}
}

// includes wants all of want in got, by name and value.
func includes(t *testing.T, at string, want, got any) {
	t.Helper()
	fields, ok := want.(map[string]any)
	if !ok {
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s is %v, want %v", at, got, want)
		}
		return
	}
	object, ok := got.(map[string]any)
	if !ok {
		t.Errorf("%s is %v, no object", at, got)
		return
	}
	for name, value := range fields {
		includes(t, at+"."+name, value, object[name])
	}
}

// busyStats has another number in every field.
func busyStats() model.Stats {
	st := model.Stats{MaxConnections: 200, MaxConnectionsPerDB: 4, Saturation: 0.25}
	st.Workspaces = model.BudgetStats{
		Budget: 180, EffectiveBudget: 170, PerWorkspace: 4,
		Counts: model.Counts{Dialing: 1, Idle: 20, InUse: 300, Closing: 4000, Waiting: 5},
		Batch:  model.Counts{Dialing: 1, InUse: 2, Closing: 4, Waiting: 8}, BatchBudget: 45,
		Counters: model.Counters{
			Acquires: 100, Hits: 60, HandOffs: 15, FreshGrants: 5, Dials: 7, DialFailures: 2, ServerRefusals: 1,
			LimitErrors: 8, Rejects: 9, StaleMessages: 3,
		},
		LongestWait: 1500 * time.Microsecond, LongestLease: 2 * time.Second, LongestLeaseWorkspace: "slow",
		ServerDown: errors.New("connection refused"),
		Draining:   true,
		Active: []model.WorkspaceStats{{
			ID:       "slow",
			Counts:   model.Counts{Dialing: 1, Idle: 20, InUse: 300, Closing: 4000, Waiting: 5},
			LastUsed: 40 * time.Millisecond, Dials: 11, Evictions: 12, Paused: true,
		}},
	}
	for reason := range model.CloseReasons {
		st.Workspaces.Counters.Closes[reason] = 100 + uint64(reason)
	}
	st.Utilisation, st.AutoBudget = exampleUtilisation(), exampleAutoBudget()
	st.Workspaces.Waits.Observe(time.Millisecond)
	st.Workspaces.Waits.Observe(time.Hour)
	st.Workspaces.DialTimes.Observe(30 * time.Millisecond)
	st.System = model.BudgetStats{
		Budget: 20, EffectiveBudget: 20, PerWorkspace: 20,
		Counts:      model.Counts{Dialing: 2, Idle: 30, InUse: 400, Closing: 5000, Waiting: 6},
		Counters:    model.Counters{Dials: 77},
		LongestWait: time.Millisecond,
		Active:      []model.WorkspaceStats{{ID: "postgres", LastUsed: 3 * time.Millisecond}},
	}
	return st
}

func TestEveryFigureOfTheStatisticsIsInItsPlace(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.state = busyStats()
	_, body := rig.do(Viewer, "/api/admin.connectionStats", "")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["at"]))
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("at: %v %v", got["at"], err)
	}
	delete(got, "at")
	const want = `{
		"maxConnections":200,"maxConnectionsPerDB":4,
		"totalOpenConnections":9753,"totalInUseConnections":700,"totalIdleConnections":50,
		"totalDialingConnections":3,"totalClosingConnections":9000,"totalWaiting":11,
		"activeWorkspaceDatabases":1,"workspacesFound":1,
		"systemConnections":{"openConnections":5432,"inUse":400,"idle":30,"dialing":2,"closing":5000,"waiting":6,"maxOpen":20,"lastUsedMs":3,"dials":77,"evictions":0,"paused":false},
		"workspacePools":{"slow":{"openConnections":4321,"inUse":300,"idle":20,"dialing":1,"closing":4000,"waiting":5,"maxOpen":4,"lastUsedMs":40,"dials":11,"evictions":12,"paused":true}},
		"workspaceBudget":180,"effectiveWorkspaceBudget":170,
		"batchWork":{"openConnections":7,"waiting":8,"maxOpen":45},
		"longestWaitMs":1.5,"longestLease":{"workspaceId":"slow","ageMs":2000},
		"hitRatio":0.75,
		"counters":{"acquires":100,"hits":60,"handOffs":15,"freshGrants":5,"dials":7,"dialFailures":2,"serverRefusals":1,"evictions":201,"limitErrors":8,"rejects":9,"staleMessages":3},
		"evictionsByReason":{"make_room":100,"yield":101,"lifetime_over":102,"idle_time_over":103,"not_reusable":104,"dial_leftover":105,"evict_asked":106,"pause_asked":107,"shrink":108,"drain_asked":109,"renewed":110},
		"acquireWait":{"boundsMs":[0.1,0.5,1,2.5,5,10,25,50,100,250,500,1000,2500,5000,10000],"counts":[0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,1],"sumMs":3600001},
		"dialTime":{"boundsMs":[0.1,0.5,1,2.5,5,10,25,50,100,250,500,1000,2500,5000,10000],"counts":[0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0],"sumMs":30},
		"utilisation":{"level":"high","fullAt":"2026-11-28T12:10:00Z","windows":[
			{"overMs":60000,"seenMs":60000,"budget":48,"open":{"mean":47.5,"peak":48},"busy":{"mean":41.25,"peak":47},"inUse":{"mean":39.5,"peak":45},"dialing":{"mean":1.5,"peak":6},"waiting":{"mean":2.25,"peak":31}},
			{"overMs":600000,"seenMs":600000,"budget":48,"open":{"mean":47,"peak":48},"busy":{"mean":38,"peak":48},"inUse":{"mean":36,"peak":46},"dialing":{"mean":1.25,"peak":9},"waiting":{"mean":1.5,"peak":40}},
			{"overMs":3600000,"seenMs":1500000,"budget":44,"open":{"mean":46,"peak":48},"busy":{"mean":30,"peak":48},"inUse":{"mean":28.5,"peak":46},"dialing":{"mean":1,"peak":9},"waiting":{"mean":0.75,"peak":52}}]},
		"autoBudget":{"lowest":40,"highest":95,"target":62,"reason":"raised from 53 to 62: 7 requests waited for room","changedAt":"2026-11-28T09:59:00Z"},
		"supervisorSaturation":0.25,"draining":true,"serverDown":"connection refused"}`
	var wanted map[string]any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	includes(t, "", wanted, got)
	for name := range got {
		if _, known := wanted[name]; !known {
			t.Errorf("%s is new", name)
		}
	}
}

func TestTheOldestLeaseMayBeTheSystemDatabases(t *testing.T) {
	st := busyStats()
	st.System.LongestLease, st.System.LongestLeaseWorkspace = 3*time.Second, "postgres"
	if a := newConnectionStats(st, firstPage).LongestLease; *a != (leaseStats{System: true, AgeMs: 3000}) {
		t.Errorf("%+v", a)
	}
	if a := newConnectionStats(model.Stats{}, firstPage).LongestLease; a != nil {
		t.Errorf("%+v", a)
	}
}

func TestWithoutThePoolTheStatisticsSayTheLastLimitsAndWhatIsMissing(t *testing.T) {
	rig := newHandlersRig(t)
	var broken atomic.Bool
	rig.pool.stats = func(context.Context) (model.Stats, error) {
		if broken.Load() {
			return model.Stats{}, fmt.Errorf("stats: %w", model.ErrClosed)
		}
		return exampleStats(), nil
	}
	rig.do(Viewer, "/api/admin.connectionStats", "")
	broken.Store(true)
	rig.server.snapshots.forget()
	status, body := rig.do(Viewer, "/api/admin.connectionStats", "")
	var a connectionStats
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
		t.Fatal(status, body, err)
	}
	if a.MaxConnections != 100 || a.MaxConnectionsPerDB != 3 || a.TotalOpenConnections != 0 {
		t.Error(body)
	}
	if !a.Draining || len(a.Missing) != 1 || !strings.Contains(a.Missing[0], "counts") || !strings.Contains(a.Missing[0], "the manager is closed") {
		t.Errorf("%q", a.Missing)
	}
	for _, name := range []string{`"workspacePools":{}`, `"totalIdleConnections":0`, `"counts":[0,0`} {
		if !strings.Contains(body, name) {
			t.Errorf("%s is missing in %s", name, body)
		}
	}
}

func TestLimitsThatWereNeverKnownAreMissingToo(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.stats = func(context.Context) (model.Stats, error) { return model.Stats{}, context.DeadlineExceeded }
	_, body := rig.do(Viewer, "/api/admin.connectionStats", "")
	var a connectionStats
	if err := json.Unmarshal([]byte(body), &a); err != nil || len(a.Missing) != 2 || !strings.Contains(a.Missing[1], "limits") {
		t.Error(body, err)
	}
}

// A supervisor that hangs must not hang the answer.
func TestAPoolThatDoesNotAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool()
		pool.stats = func(ctx context.Context) (model.Stats, error) {
			<-ctx.Done()
			return model.Stats{}, fmt.Errorf("the supervisor has not answered: %w", ctx.Err())
		}
		began := time.Now()
		snap, err := (&snapshots{pool: pool}).get(t.Context())
		if err != nil || !errors.Is(snap.err, context.DeadlineExceeded) {
			t.Errorf("%v %v", err, snap.err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

func TestAllWhoAskAtTheSameTimeShareOneSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		pool := newFakePool()
		pool.stats = func(context.Context) (model.Stats, error) {
			asked.Add(1)
			time.Sleep(time.Millisecond) // of the bubble's time
			return exampleStats(), nil
		}
		s := &snapshots{pool: pool}
		var all sync.WaitGroup
		for range 2000 { // one each half a millisecond: a second in all
			all.Go(func() {
				if snap, err := s.get(t.Context()); err != nil || snap.err != nil || len(snap.body) == 0 {
					t.Error(err)
				}
			})
			time.Sleep(500 * time.Microsecond)
		}
		all.Wait()
		if n := asked.Load(); n < 90 || n > 100 {
			t.Errorf("the pool was asked %d times", n)
		}
	})
}

func TestASnapshotServesForTenMillisecondsAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &snapshots{pool: newFakePool()}
		first, _ := s.get(t.Context())
		time.Sleep(10*time.Millisecond - 1)
		if again, _ := s.get(t.Context()); again != first {
			t.Error("not reused")
		}
		time.Sleep(1 * time.Nanosecond)
		second, _ := s.get(t.Context())
		if second == first {
			t.Error("reused for too long")
		}
		s.forget()
		if third, _ := s.get(t.Context()); third == second {
			t.Error("reused although it was forgotten")
		}
	})
}

func TestWhoGoesAwayDoesNotTakeTheSnapshotFromTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool()
		pool.stats = func(ctx context.Context) (model.Stats, error) {
			select {
			case <-time.After(time.Second):
				return exampleStats(), nil
			case <-ctx.Done():
				return model.Stats{}, ctx.Err()
			}
		}
		s := &snapshots{pool: pool}
		impatient, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, stop)
		if _, err := s.get(impatient); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if snap, err := s.get(t.Context()); err != nil || snap.err != nil {
			t.Error(err, snap)
		}
	})
}

// After a change by an operator the next statistics show it.
func TestStatisticsAfterAChangeAreNotFromBefore(t *testing.T) {
	rig := newHandlersRig(t)
	rig.do(Viewer, "/api/admin.connectionStats", "")
	rig.do(Operator, "/api/admin.setLimits", `{"maxConnections":50}`)
	if _, body := rig.do(Viewer, "/api/admin.connectionStats", ""); !strings.HasPrefix(body, `{"maxConnections":50,`) {
		t.Error(body)
	}
}

func BenchmarkConnectionStatsOfNinetyWorkspaces(b *testing.B) {
	pool := newFakePool()
	for i := range 90 {
		pool.state.Workspaces.Active = append(pool.state.Workspaces.Active, model.WorkspaceStats{ID: model.WorkspaceID(fmt.Sprint("bench_", i))})
	}
	b.Run("shared", func(b *testing.B) {
		s := &snapshots{pool: pool}
		for b.Loop() {
			if _, err := s.get(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("anew", func(b *testing.B) {
		s := &snapshots{pool: pool}
		for b.Loop() {
			s.forget()
			if _, err := s.get(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
