package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web/browsertest"
)

// tight makes the pool that of exampleCapacity.
func (rig *dashboardRig) tight() {
	rig.pool.plan(exampleCapacity())
	rig.change(func(st *model.Stats) {
		st.MaxConnections = 53
		st.System.Budget, st.System.EffectiveBudget = 5, 5
		st.Workspaces.Budget, st.Workspaces.EffectiveBudget = 48, 48
		st.Utilisation, st.AutoBudget = exampleUtilisation(), exampleAutoBudget()
	})
}

// replan lets the page ask the planner anew: it does so each few seconds.
func (rig *dashboardRig) replan(change func(*fakePool)) {
	rig.pool.mu.Lock()
	change(rig.pool)
	rig.pool.mu.Unlock()
	rig.server.planned.forget()
}

func showsTheCapacity(t *testing.T, rig *dashboardRig) {
	rig.tight()
	page := rig.open(rig.tokens[Viewer], browsertest.Look{Width: 1400, Height: 1100})
	page.AwaitText("#capacity-text", "At 62 slots (DB_MAX_CONNECTIONS=67) 95 % of requests would find their connection open (88 % now)")
	page.AwaitText("#capacity-seen", "118,400 requests in 9 min 30 s, of one in 2 workspaces, until ")
	value := "#curve .chart-value"
	page.AwaitText(value, "Estimate for now 87.9 %, measured 88.2 %")
	page.Await("a line and the points", `document.querySelector('#curve .line').getAttribute('d').split('L').length > 8 && document.querySelectorAll('#curve .dot').length === 8 && document.querySelectorAll('#curve .dot.other').length === 2`)
	page.Await("the marks", `[...document.querySelectorAll('#curve .mark-label')].map((e) => e.textContent).join() === 'now 48,recommended 62'`)
	label := browsertest.Value[string](page, "document.querySelector('#curve svg').ariaLabel")
	if want := "Hit ratio by budget: 71.0 % at 24, 81.0 % at 36, 87.9 % at 48, 95.0 % at 62, 98.8 % at 90, 99.0 % at 120. There are 48 slots now, 62 are recommended."; label != want {
		t.Errorf("the drawing says %q", label)
	}
	// Each estimate lies where its budget and its hit ratio are: the axes go to 126 slots, and
	// from 30 to 100 %.
	where := browsertest.Value[map[string]float64](page, `(() => {
		const box = document.querySelector('#curve svg').getBoundingClientRect(), dot = document.querySelectorAll('#curve .dot:not(.other)')[3];
		return { x: Number(dot.getAttribute('cx')) / box.width, y: Number(dot.getAttribute('cy')) };
	})()`)
	if x, y := 62.0/126, 166-144*(0.95-0.3)/0.7; where["x"] < x-0.01 || where["x"] > x+0.01 || where["y"] < y-1 || where["y"] > y+1 {
		t.Errorf("62 slots lie at %v, want %.3f and %.1f", where, x, y)
	}

	page.AwaitText("#usage-level", "high")
	page.AwaitText(`[data-window="1"]`, "1 min 41.3 of 48 47 31")
	page.AwaitText(`[data-window="10"]`, "10 min 38.0 of 48 48 40")
	page.AwaitText(`[data-window="60"]`, "25 min 30.0 of 44 48 52") // which is all that there is
	page.AwaitText("#usage-forecast", "If the trend of the last hour goes on, the budget is all in use at ")
	page.AwaitText("#auto-budget", "DB_AUTO_BUDGET keeps the connections from 40 to 95: 53 now, on the way to 62. Last (")
	page.AwaitText("#auto-budget", "raised from 53 to 62: 7 requests waited for room.")

	rig.change(func(st *model.Stats) { // 80 seconds old
		st.Utilisation.Windows[1].Seen, st.Utilisation.Windows[2].Seen = 80*time.Second, 80*time.Second
	})
	page.AwaitText(`[data-window="10"]`, "1 min 20 s 38.0 of 48")
	if !browsertest.Value[bool](page, `document.querySelector('[data-window="60"]').hidden`) {
		t.Error("the last hour has no more than the last ten minutes, and is shown")
	}
	rig.change(func(st *model.Stats) { st.Utilisation = exampleUtilisation() })
	page.AwaitText(`[data-window="60"]`, "25 min 30.0 of 44 48 52")

	browsertest.Value[any](page, `void document.querySelector('#curve svg').focus()`)
	page.Press(kb.ArrowRight)
	page.AwaitText(value, "48 slots, 6 per workspace: 88.1 % hits · p99 wait 305 ms · 24.8 dials a second")
	page.Press(kb.ArrowRight)
	page.AwaitText(value, "62 slots: 95.0 % hits · p99 wait 40 ms · 10.4 dials a second")
	page.Press(kb.Escape)
	page.AwaitText(value, "Estimate for now")

	page.Click("#estimates summary")
	page.AwaitText("#estimate-rows tr.now", "now 48 3 87.9 % 310 ms 0.3 % 25.2")
	page.AwaitText("#estimate-rows tr.recommended", "recommended 62 3 95.0 % 40 ms 0 % 10.4")
	page.AwaitText("#estimate-rows", "measured 48 3 88.2 % 290 ms")
	page.AwaitText("#estimate-rows", "by lru2 48 3 88.5 % 300 ms")
	for _, look := range []browsertest.Look{{Width: 1400, Height: 1100}, {Width: 900, Height: 1100}, {Width: 400, Height: 1300}} {
		for _, dark := range []bool{false, true} {
			look.Dark = dark
			page.Look(look)
			page.Await("the width", fmt.Sprintf("innerWidth === %d", look.Width))
			if wide := browsertest.Value[string](page, `[...document.querySelectorAll('#capacity *')].filter((e) => !e.closest('.estimates table') && e.getBoundingClientRect().right > innerWidth).map((e) => e.tagName + '.' + e.className).join(' ')`); wide != "" {
				t.Errorf("at %d pixels these are too wide: %s", look.Width, wide)
			}
			browsertest.Value[any](page, "void document.querySelector('#capacity').scrollIntoView()")
			rig.screenshot(fmt.Sprintf("capacity-%d-%v", look.Width, dark))
		}
	}
	page.Look(browsertest.Look{Width: 1400, Height: 1100})

	soon(t, "the page listens", func() bool { return rig.pool.watching() == 1 })
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventLimitsSet, MaxConnections: 62, MaxConnectionsPerDB: 3, Why: "7 requests waited for room"})
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventUtilisation, Level: model.LevelCritical})
	page.AwaitText("#feed-list", "62 connections, 3 per workspace: 7 requests waited for room")
	page.AwaitText(`[data-kind="utilisation"] .kind.bad`, "critical")
	page.AwaitText("#toasts .bad", "Of the workspaces’ budget 95 % or more are busy")
	browsertest.Value[any](page, `void (document.querySelector('#feed-kinds').value = 'operators', document.querySelector('#feed-kinds').dispatchEvent(new Event('change')))`)
	page.Await("it was no operator", "document.querySelectorAll('#feed-list li').length === 0")

	page.Click("#sign-out")
	page.Await("nothing is shown", "document.querySelector('#capacity').hidden")
}

func saysWhyThereIsNoCapacity(t *testing.T, rig *dashboardRig) {
	// The planner is off.
	rig.pool.capacityErr = fmt.Errorf("capacity: %w: DB_PLANNER is off, so no traffic is recorded", errors.ErrUnsupported)
	page := rig.open(rig.tokens[Viewer], browsertest.Look{Width: 1400, Height: 1100})
	page.Await("why", `document.querySelector('#capacity-off').innerText === 'DB_PLANNER is off, so no traffic is recorded'`)
	hidden := func(what string, selectors ...string) {
		t.Helper()
		for _, selector := range selectors {
			if !browsertest.Value[bool](page, fmt.Sprintf("document.querySelector(%q).checkVisibility() === false", selector)) {
				t.Errorf("%s: %s is shown", what, selector)
			}
		}
	}
	hidden("off", "#capacity-figures", "#usage", "#estimates", "#capacity-problem", "#capacity-text", "#auto-budget")
	rig.screenshot("capacity-off")

	// It has seen too little.
	rig.tight()
	rig.change(func(st *model.Stats) {
		st.AutoBudget = model.AutoBudget{}
		st.Utilisation = model.Utilisation{Level: model.LevelNormal}
		for i, over := range []time.Duration{time.Minute, 10 * time.Minute, time.Hour} {
			st.Utilisation.Windows[i] = model.UtilisationWindow{Over: over}
		}
	})
	rig.replan(func(p *fakePool) {
		p.capacityErr = nil
		p.capacity = &model.Capacity{At: time.Now(), Window: 3 * time.Second, Acquires: 12, SampledOneIn: 1, SystemShare: 5, Recommendation: model.Recommendation{
			Verdict: model.TooLittleSeen, Budget: 48, PerWorkspace: 3, Text: "12 requests in 3 s say nothing yet.",
		}}
		p.capacity.Present = model.Estimate{Budget: 48, PerWorkspace: 3, Eviction: model.LRU}
	})
	page.AwaitText("#capacity-text", "12 requests in 3 s say nothing yet.")
	page.AwaitText("#usage-forecast", "No trend towards the limit.")
	page.AwaitText(`[data-window="60"]`, "1 h – – –")
	hidden("too little", "#capacity-figures", "#capacity-off", "#estimates", "#auto-budget")
	rig.screenshot("capacity-little")

	// It can say nothing now: what it said last stays.
	rig.replan(func(p *fakePool) { c := exampleCapacity(); p.capacity = &c })
	page.AwaitText("#curve .chart-value", "Estimate for now 87.9 %")
	rig.replan(func(p *fakePool) { p.capacityErr = errors.New("it is busy") })
	page.AwaitText("#capacity-problem", "the capacity cannot be told now: it is busy. The figures below are of ")
	page.AwaitText("#curve .chart-value", "Estimate for now 87.9 %")
	rig.screenshot("capacity-problem")
	rig.replan(func(p *fakePool) { p.capacityErr = nil })
	page.Await("all is well", "document.querySelector('#capacity-problem').hidden")

	rig.stop()
	page.AwaitText(`[data-banner="unreachable"]`, "The connection to the admin server is lost.")
	page.AwaitText("#curve .chart-value", "Estimate for now 87.9 %")
}

func hidesTheCapacityOfAnOldServer(t *testing.T, rig *dashboardRig) {
	const call = "/api/admin.capacity"
	asked := make(chan string, 100)
	server := rig.server.alone()
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked <- r.URL.Path; r.URL.Path == call {
			http.NotFound(w, r)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(old.Close)
	t.Cleanup(rig.server.Close) // before that
	rig.page = rig.browser.Open(t, old.URL+"/", browsertest.Look{})
	rig.signIn(rig.tokens[Viewer])
	rig.page.AwaitText("#pulse", "Live")
	stats, calls := 0, 0
	for stats < 8 { // it asks for those each second
		switch <-asked {
		case call:
			calls++
		case statsPath:
			stats++
		}
	}
	if calls != 1 {
		t.Errorf("it asked %d times for what there is not", calls)
	}
	if !browsertest.Value[bool](rig.page, "document.querySelector('#capacity').hidden") {
		t.Error("the panel is shown")
	}
}
