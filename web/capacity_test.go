package web

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// exampleCapacity is of a pool that has too few slots: 48 and the system's 5.
func exampleCapacity() model.Capacity {
	estimate := func(budget, per int, hits float64, p99 time.Duration, dials, short float64) model.Estimate {
		return model.Estimate{
			Budget: budget, PerWorkspace: per, Eviction: model.LRU, HitRatio: hits, Refused: short / 40,
			WaitP50: p99 / 1000, WaitP99: p99, DialsPerSecond: dials, ShortOfRoom: short,
		}
	}
	c := model.Capacity{
		At: time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC), Window: 9*time.Minute + 30*time.Second, Acquires: 118_400, SampledOneIn: 2,
		SystemShare: 5,
		Present:     estimate(48, 3, 0.879, 310*time.Millisecond, 25.2, 0.12),
		Measured:    estimate(48, 3, 0.882, 290*time.Millisecond, 24.5, 0.11),
		Estimates: []model.Estimate{
			estimate(24, 3, 0.71, 2200*time.Millisecond, 60.4, 0.8), estimate(36, 3, 0.81, 900*time.Millisecond, 39.6, 0.41),
			estimate(48, 3, 0.879, 310*time.Millisecond, 25.2, 0.12), estimate(62, 3, 0.95, 40*time.Millisecond, 10.4, 0.01),
			estimate(90, 3, 0.988, 12*time.Millisecond, 2.5, 0), estimate(120, 3, 0.99, 11*time.Millisecond, 2.1, 0),
			estimate(48, 6, 0.881, 305*time.Millisecond, 24.8, 0.12), estimate(62, 6, 0.951, 39*time.Millisecond, 10.2, 0.01),
		},
		OtherEviction: estimate(48, 3, 0.885, 300*time.Millisecond, 23.9, 0.11),
		Recommendation: model.Recommendation{
			Verdict: model.RaiseBudget, Budget: 62, PerWorkspace: 3,
			Text: "At 62 slots (DB_MAX_CONNECTIONS=67) 95 % of requests would find their connection open (88 % now), and the p99 wait would be 40 ms instead of 310 ms; more than 90 gives nothing.",
		},
	}
	c.OtherEviction.Eviction = model.LRU2
	for i, hits := range []float64{0.31, 0.54, 0.71, 0.81, 0.878, 0.925, 0.955, 0.975, 0.987, 0.989, 0.99} {
		c.Curve = append(c.Curve, model.CurvePoint{Budget: 4 + 11*i, HitRatio: hits})
	}
	return c
}

// exampleUtilisation is that of the same pool, which is 25 minutes old.
func exampleUtilisation() model.Utilisation {
	window := func(over, seen time.Duration, budget int, open, busy, inUse, dialing, waiting model.Range) model.UtilisationWindow {
		return model.UtilisationWindow{Over: over, Seen: seen, Budget: budget, Open: open, Busy: busy, InUse: inUse, Dialing: dialing, Waiting: waiting}
	}
	of := func(mean float64, peak int) model.Range { return model.Range{Mean: mean, Peak: peak} }
	return model.Utilisation{
		Level: model.LevelHigh, FullAt: time.Date(2026, 11, 28, 12, 10, 0, 0, time.UTC),
		Windows: [3]model.UtilisationWindow{
			window(time.Minute, time.Minute, 48, of(47.5, 48), of(41.25, 47), of(39.5, 45), of(1.5, 6), of(2.25, 31)),
			window(10*time.Minute, 10*time.Minute, 48, of(47, 48), of(38, 48), of(36, 46), of(1.25, 9), of(1.5, 40)),
			window(time.Hour, 25*time.Minute, 44, of(46, 48), of(30, 48), of(28.5, 46), of(1, 9), of(0.75, 52)),
		},
	}
}

func exampleAutoBudget() model.AutoBudget {
	return model.AutoBudget{
		Lowest: 40, Highest: 95, Target: 62, Reason: "raised from 53 to 62: 7 requests waited for room",
		ChangedAt: time.Date(2026, 11, 28, 9, 59, 0, 0, time.UTC),
	}
}

// showAll has the pool say whatever can be left out.
func (p *fakePool) showAll() {
	p.share(exampleGroup())
	p.plan(exampleCapacity())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Utilisation, p.state.AutoBudget = exampleUtilisation(), exampleAutoBudget()
}

func TestTheCapacityHasAllFigures(t *testing.T) {
	rig := newHandlersRig(t)
	c := exampleCapacity()
	c.Estimates, c.Curve = c.Estimates[3:5], c.Curve[:2]
	rig.pool.plan(c)
	const want = `{"at":"2026-11-28T10:00:00Z","windowMs":570000,"acquires":118400,"sampledOneIn":2,"systemShare":5,` +
		`"present":{"budget":48,"perWorkspace":3,"eviction":"lru","hitRatio":0.879,"refused":0.003,"waitP50Ms":0.31,"waitP99Ms":310,"dialsPerSecond":25.2,"shortOfRoom":0.12},` +
		`"measured":{"budget":48,"perWorkspace":3,"eviction":"lru","hitRatio":0.882,"refused":0.00275,"waitP50Ms":0.29,"waitP99Ms":290,"dialsPerSecond":24.5,"shortOfRoom":0.11},` +
		`"estimates":[{"budget":62,"perWorkspace":3,"eviction":"lru","hitRatio":0.95,"refused":0.00025,"waitP50Ms":0.04,"waitP99Ms":40,"dialsPerSecond":10.4,"shortOfRoom":0.01},` +
		`{"budget":90,"perWorkspace":3,"eviction":"lru","hitRatio":0.988,"refused":0,"waitP50Ms":0.012,"waitP99Ms":12,"dialsPerSecond":2.5,"shortOfRoom":0}],` +
		`"curve":[{"budget":4,"hitRatio":0.31},{"budget":15,"hitRatio":0.54}],` +
		`"otherEviction":{"budget":48,"perWorkspace":3,"eviction":"lru2","hitRatio":0.885,"refused":0.00275,"waitP50Ms":0.3,"waitP99Ms":300,"dialsPerSecond":23.9,"shortOfRoom":0.11},` +
		`"recommendation":{"verdict":"raise_budget","budget":62,"perWorkspace":3,"text":"At 62 slots (DB_MAX_CONNECTIONS=67) 95 % of requests would find their connection open (88 % now), and the p99 wait would be 40 ms instead of 310 ms; more than 90 gives nothing."}}`
	if status, body := rig.do(Viewer, "/api/admin.capacity", ""); status != http.StatusOK || strings.TrimSpace(body) != want {
		t.Errorf("%d %s\nwant %s", status, body, want)
	}

	rig.pool.plan(model.Capacity{Recommendation: model.Recommendation{Verdict: model.TooLittleSeen}})
	rig.server.planned.forget()
	if _, body := rig.do(Viewer, "/api/admin.capacity", ""); !strings.Contains(body, `"estimates":[],"curve":[],"recommendation":{"verdict":"too_little_seen",`) {
		t.Error(body)
	}
}

func TestWithoutAPlannerItIsSaidWhy(t *testing.T) {
	rig := newHandlersRig(t)
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("capacity: %w: DB_PLANNER is off", errors.ErrUnsupported), http.StatusConflict, "DB_PLANNER is off"},
		{model.ErrClosed, http.StatusServiceUnavailable, "closed"},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, "the capacity cannot be told now: context deadline exceeded"},
	} {
		rig.pool.capacityErr = c.err
		rig.server.planned.forget()
		if status, body := rig.do(Viewer, "/api/admin.capacity", ""); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%v: %d %s", c.err, status, body)
		}
	}
	if _, body := rig.do(Viewer, "/api/admin.connectionStats", ""); strings.Contains(body, `"utilisation"`) || strings.Contains(body, `"autoBudget"`) {
		t.Error("the statistics of a pool without a planner: ", body)
	}
}

func TestThePlannerIsAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newFakePool()
		pool.plan(exampleCapacity())
		s := &Server{pool: pool}
		for range 30 { // three seconds
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if look, err := s.planned.get(t.Context(), s.lookAtCapacity); err != nil || look.err != nil || look.found.Acquires == 0 {
						t.Error(look, err)
					}
				})
			}
			all.Wait()
			time.Sleep(100 * time.Millisecond)
		}
		if pool.plans != 3 {
			t.Errorf("asked %d times in three seconds", pool.plans)
		}
	})
}

func TestThePlannersFiguresAreMetrics(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.showAll()
	text := rig.scrape()
	for line := range strings.Lines(`tenantpool_capacity_at_seconds 1.79586e+09
tenantpool_capacity_verdict{verdict="raise_budget"} 1
tenantpool_capacity_verdict{verdict="lower_budget"} 0
tenantpool_capacity_hit_ratio{of="estimate"} 0.879
tenantpool_capacity_hit_ratio{of="measured"} 0.882
tenantpool_capacity_wait_p99_seconds{of="estimate"} 0.31
tenantpool_capacity_recommended_slots 62
tenantpool_capacity_recommended_per_workspace 3
tenantpool_capacity_curve_hit_ratio{budget="15"} 0.54
tenantpool_capacity_curve_hit_ratio{budget="70"} 0.955
tenantpool_utilisation_level 1
tenantpool_utilisation_budget{window="60m"} 44
tenantpool_utilisation_busy{stat="mean",window="1m"} 41.25
tenantpool_utilisation_busy{stat="peak",window="10m"} 48
tenantpool_budget_full_at_seconds 1.7958678e+09
tenantpool_auto_budget_lowest 40
tenantpool_auto_budget_highest 95
tenantpool_auto_budget_target 62
`) {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("missing: %s", line)
		}
	}
	for name, want := range map[string]float64{
		`capacity_estimate_error_ratio`: -0.003, `capacity_dials_saved_per_second{eviction="lru2"}`: 1.3,
		`capacity_curve_hit_ratio{budget="20"}`: 0.54 + 0.17*5/11, // between two points
	} {
		_, after, _ := strings.Cut(text, "\ntenantpool_"+name+" ")
		value, _, _ := strings.Cut(after, "\n")
		if got, err := strconv.ParseFloat(value, 64); err != nil || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %q, want %v", name, value, want)
		}
	}
	if n := strings.Count(text, "\ntenantpool_capacity_curve_hit_ratio{"); n != 9 { // 5 to 100
		t.Errorf("the curve has %d budgets", n)
	}

	rig.pool.mu.Lock()
	rig.pool.capacity = nil
	rig.pool.state.Utilisation.FullAt, rig.pool.state.Utilisation.Windows[2].Seen = time.Time{}, 0
	rig.pool.state.AutoBudget = model.AutoBudget{}
	rig.pool.mu.Unlock()
	rig.server.snapshots.forget()
	rig.server.planned.forget()
	text = rig.scrape()
	for _, gone := range []string{"tenantpool_capacity", "budget_full_at", "tenantpool_auto_budget", `window="60m"`} {
		if strings.Contains(text, gone) {
			t.Errorf("%s is there", gone)
		}
	}
	if !strings.Contains(text, "\ntenantpool_up 1\n") || !strings.Contains(text, "\ntenantpool_utilisation_level 1\n") {
		t.Error("too much is gone")
	}
}

func TestWhoHasSeenTooLittleShowsNoEstimates(t *testing.T) {
	rig := newHandlersRig(t)
	c := exampleCapacity()
	c.Recommendation.Verdict = model.TooLittleSeen
	rig.pool.plan(c)
	text := rig.scrape()
	if !strings.Contains(text, "\ntenantpool_capacity_verdict{verdict=\"too_little_seen\"} 1\n") || strings.Contains(text, "hit_ratio{") {
		t.Error(text)
	}
}
