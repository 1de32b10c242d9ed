package planner

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestARecommendation(t *testing.T) {
	const ms = time.Millisecond
	at := func(budget, perWorkspace int, hits, refused float64, p99 time.Duration) model.Estimate {
		return model.Estimate{
			Budget: budget, PerWorkspace: perWorkspace, Eviction: model.LRU,
			HitRatio: hits, Refused: refused, WaitP99: p99, DialsPerSecond: 20,
		}
	}
	short := func(e model.Estimate) model.Estimate { e.ShortOfRoom = 0.1; return e }
	now := at(45, 3, 0.88, 0, 310*ms)
	good := at(60, 3, 0.95, 0, 12*ms)
	for _, test := range []struct {
		what    string
		present model.Estimate
		others  []model.Estimate // ascending
		change  func(*model.Capacity)
		about   About
		want    model.Recommendation
	}{{
		"nothing seen yet", now, nil,
		func(c *model.Capacity) { c.Acquires, c.Window = 312, 40*time.Second }, About{},
		model.Recommendation{
			Verdict: model.TooLittleSeen, Budget: 45, PerWorkspace: 3,
			Text: "Too little seen: 312 requests in 40 s. It takes at least 1000, and 10 s.",
		},
	}, {
		"a second of a pool that is too busy for more", at(45, 3, 0.99, 0, 310*ms), nil,
		func(c *model.Capacity) { c.Acquires, c.Window, c.Measured.HitRatio = 60_000, time.Second, 0.99 }, About{},
		model.Recommendation{
			Verdict: model.Enough, Budget: 45, PerWorkspace: 3,
			Text: "DB_MAX_CONNECTIONS=55 (45 for the workspaces) is about right: 99.0 % of requests find their connection open.",
		},
	}, {
		"it was otherwise", now, nil,
		func(c *model.Capacity) { c.Measured.HitRatio = 0.7 }, About{},
		model.Recommendation{
			Verdict: model.TooLittleSeen, Budget: 45, PerWorkspace: 3,
			Text: "Do not rely on these estimates: by them 88 % of requests find their connection open now, and 70 % was measured.",
		},
	}, {
		"too small", now,
		[]model.Estimate{at(30, 3, 0.7, 0, 600*ms), at(62, 3, 0.95, 0, 40*ms), at(90, 3, 0.958, 0, 39*ms), at(120, 3, 0.959, 0, 39*ms)}, nil, About{},
		model.Recommendation{
			Verdict: model.RaiseBudget, Budget: 62, PerWorkspace: 3,
			Text: "With DB_MAX_CONNECTIONS=72 (62 for the workspaces), 95 % of requests would find their connection open (88 % now), " +
				"and the p99 wait would be 40 ms instead of 310 ms; more than 100 gives nothing.",
		},
	}, {
		"refused", at(45, 3, 0.88, 0.03, 310*ms), []model.Estimate{at(62, 3, 0.885, 0, 310*ms)}, nil, About{},
		model.Recommendation{
			Verdict: model.RaiseBudget, Budget: 62, PerWorkspace: 3,
			Text: "With DB_MAX_CONNECTIONS=72 (62 for the workspaces), 88 % of requests would find their connection open (88 % now); " +
				"0 % would be refused instead of 3 %.",
		},
	}, {
		"the server is full", now, []model.Estimate{at(62, 3, 0.95, 0, 310*ms)}, nil, About{Grantable: 50},
		model.Recommendation{
			Verdict: model.ServerIsFull, Budget: 50, PerWorkspace: 3,
			Text: "With DB_MAX_CONNECTIONS=72 (62 for the workspaces), 95 % of requests would find their connection open (88 % now). " +
				"But the server grants no more than 60: raise its max_connections, or the role's connection limit.",
		},
	}, {
		"too large", good,
		[]model.Estimate{short(at(20, 3, 0.948, 0, 12*ms)), at(30, 3, 0.94, 0, 12*ms), at(40, 3, 0.947, 0, 13*ms), at(50, 3, 0.95, 0, 12*ms), at(90, 3, 0.951, 0, 12*ms)}, nil, About{},
		model.Recommendation{
			Verdict: model.LowerBudget, Budget: 40, PerWorkspace: 3,
			Text: "DB_MAX_CONNECTIONS=50 (40 for the workspaces) would do as well: 95 % of requests would find their connection open (95 % now), " +
				"and nobody would wait for room.",
		},
	}, {
		"right", good, []model.Estimate{at(40, 3, 0.92, 0, 12*ms), at(90, 3, 0.955, 0, 12*ms)}, nil, About{},
		model.Recommendation{
			Verdict: model.Enough, Budget: 60, PerWorkspace: 3,
			Text: "DB_MAX_CONNECTIONS=70 (60 for the workspaces) is about right: 95 % of requests find their connection open, and with 100 it would be 96 %.",
		},
	}, {
		"the cap", now, []model.Estimate{at(90, 3, 0.89, 0, 300*ms), at(45, 6, 0.991, 0, 9*ms), at(90, 6, 0.992, 0, 8*ms)}, nil, About{},
		model.Recommendation{
			Verdict: model.RaiseCap, Budget: 45, PerWorkspace: 6,
			Text: "What hurts is the cap of 3 connections for each workspace, and not the budget: with DB_MAX_CONNECTIONS_PER_DB=6, " +
				"99.1 % of requests would find their connection open (88 % now), and the p99 wait would be 9.0 ms instead of 310 ms.",
		},
	}, {
		"the budget and not the cap", now, []model.Estimate{at(90, 3, 0.95, 0, 12*ms), at(45, 6, 0.9, 0, 200*ms), at(90, 6, 0.96, 0, 12*ms)}, nil, About{},
		model.Recommendation{
			Verdict: model.RaiseBudget, Budget: 90, PerWorkspace: 3,
			Text: "With DB_MAX_CONNECTIONS=100 (90 for the workspaces), 95 % of requests would find their connection open (88 % now), " +
				"and the p99 wait would be 12 ms instead of 310 ms.",
		},
	}, {
		"the other eviction", good, nil,
		func(c *model.Capacity) { c.OtherEviction.DialsPerSecond = 12.2 }, About{},
		model.Recommendation{
			Verdict: model.Enough, Budget: 60, PerWorkspace: 3,
			Text: "DB_MAX_CONNECTIONS=70 (60 for the workspaces) is about right: 95 % of requests find their connection open. " +
				"DB_EVICTION=lru2 would need 12 dials a second instead of 20.",
		},
	}, {
		"a share that grows", now, []model.Estimate{at(150, 3, 0.95, 0, 40*ms)},
		func(c *model.Capacity) { c.DefaultShare = true }, About{},
		model.Recommendation{
			Verdict: model.RaiseBudget, Budget: 150, PerWorkspace: 3,
			Text: "With DB_MAX_CONNECTIONS=166 (150 for the workspaces), 95 % of requests would find their connection open (88 % now), " +
				"and the p99 wait would be 40 ms instead of 310 ms.",
		},
	}, {
		"the other eviction where dials are the limit", good, nil,
		func(c *model.Capacity) { c.OtherEviction.HitRatio = 0.98 }, About{},
		model.Recommendation{
			Verdict: model.Enough, Budget: 60, PerWorkspace: 3,
			Text: "DB_MAX_CONNECTIONS=70 (60 for the workspaces) is about right: 95 % of requests find their connection open. " +
				"With DB_EVICTION=lru2 98 % of requests would find their connection open instead of 95 %.",
		},
	}} {
		t.Run(test.what, func(t *testing.T) {
			c := model.Capacity{
				Window: time.Minute, Acquires: 5000, SystemShare: 10,
				Present: test.present, Measured: test.present, OtherEviction: test.present,
			}
			c.OtherEviction.Eviction = model.LRU2
			c.Estimates = append([]model.Estimate{test.present}, test.others...)
			sortEstimates(c.Estimates)
			if test.change != nil {
				test.change(&c)
			}
			if got := recommend(&c, test.about); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}
