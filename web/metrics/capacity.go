package metrics

import (
	"strconv"

	"github.com/tenantpool/tenantpool/model"
)

var (
	verdicts = []model.Verdict{
		model.TooLittleSeen, model.Enough, model.RaiseBudget, model.LowerBudget, model.RaiseCap, model.ServerIsFull,
	}
	levels  = map[model.Level]float64{model.LevelNormal: 0, model.LevelHigh: 1, model.LevelCritical: 2}
	windows = [len(model.Utilisation{}.Windows)]string{"1m", "10m", "60m"}
)

// curveBudgets are those at which the curve is shown. Those that the planner tries follow the
// traffic, and as labels they would be ever new ones.
var curveBudgets = []int{2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10_000}

func (to series) capacity(c model.Capacity) {
	to.gauge("capacity_at_seconds", "When the planner worked out its estimates, in seconds since 1970.", float64(c.At.UnixMilli())/1000)
	for _, verdict := range verdicts {
		to.with("verdict", string(verdict)).gauge("capacity_verdict", "1 for what the planner recommends.", one(verdict == c.Recommendation.Verdict))
	}
	if c.Recommendation.Verdict == model.TooLittleSeen {
		return // what else there is says nothing yet
	}
	to.with("of", "estimate").estimate(c.Present)
	to.with("of", "measured").estimate(c.Measured)
	to.gauge("capacity_estimate_error_ratio", "The hit ratio that is estimated for the present limits, less the one that was measured.", c.Present.HitRatio-c.Measured.HitRatio)
	to.gauge("capacity_recommended_slots", "The workspaces' slots that the planner recommends.", float64(c.Recommendation.Budget))
	to.gauge("capacity_recommended_per_workspace", "The connections of a workspace that it recommends.", float64(c.Recommendation.PerWorkspace))
	if other := c.OtherEviction; other.Eviction != "" {
		to.with("eviction", string(other.Eviction)).gauge("capacity_dials_saved_per_second", "How many dials the other order of eviction would save by the estimate.", c.Present.DialsPerSecond-other.DialsPerSecond)
	}
	to.curve(c.Curve)
}

func (to series) estimate(e model.Estimate) {
	to.gauge("capacity_hit_ratio", "Which part of the acquires finds a connection open with the present limits.", e.HitRatio)
	to.gauge("capacity_wait_p99_seconds", "The 99th percentile of the wait for a connection with the present limits.", e.WaitP99.Seconds())
}

// curve shows what lies within it: between two of its points it is a line.
func (to series) curve(points []model.CurvePoint) {
	for i, p := range points {
		for _, budget := range curveBudgets {
			hits := p.HitRatio
			switch {
			case budget == p.Budget:
			case i == 0 || budget > p.Budget || budget <= points[i-1].Budget:
				continue
			default:
				before := points[i-1]
				hits = before.HitRatio + (p.HitRatio-before.HitRatio)*float64(budget-before.Budget)/float64(p.Budget-before.Budget)
			}
			to.with("budget", strconv.Itoa(budget)).gauge("capacity_curve_hit_ratio", "Which part of the acquires would find a connection open if the workspaces had so many slots, by the distances of reuse.", hits)
		}
	}
}

func (to series) utilisation(u model.Utilisation) {
	to.gauge("utilisation_level", "How near the workspaces' budget is to its end: 1 at 80 %, 2 at 95 %.", levels[u.Level])
	for i, w := range u.Windows {
		if w.Seen == 0 {
			continue
		}
		to := to.with("window", windows[i])
		to.gauge("utilisation_budget", "The smallest budget that the workspaces had in this time, without what the server refused.", float64(w.Budget))
		const busy = "How many of the workspaces' slots were lent, dialing or closing in this time."
		to.with("stat", "mean").gauge("utilisation_busy", busy, w.Busy.Mean)
		to.with("stat", "peak").gauge("utilisation_busy", busy, float64(w.Busy.Peak))
	}
	if !u.FullAt.IsZero() {
		to.gauge("budget_full_at_seconds", "When the budget is all in use if the trend of the last hour goes on, in seconds since 1970. Without a trend it is not there.", float64(u.FullAt.Unix()))
	}
}

func (to series) autoBudget(b model.AutoBudget) {
	to.gauge("auto_budget_lowest", "The least that DB_AUTO_BUDGET may set max_connections to.", float64(b.Lowest))
	to.gauge("auto_budget_highest", "The most that it may set it to.", float64(b.Highest))
	to.gauge("auto_budget_target", "What it is on its way to.", float64(b.Target))
}
