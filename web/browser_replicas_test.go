package web

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web/browsertest"
)

// regroup changes the group.
func (rig *dashboardRig) regroup(change func(*model.SharedBudget)) {
	rig.pool.mu.Lock()
	defer rig.pool.mu.Unlock()
	group := *rig.pool.group
	group.Replicas = append([]model.Replica{}, group.Replicas...)
	change(&group)
	rig.pool.group = &group
}

// stretches are the widths of the bar's parts, in connections of a budget.
func stretches(page *browsertest.Page, budget int) map[string]float64 {
	return browsertest.Value[map[string]float64](page, fmt.Sprintf(`Object.fromEntries([...document.getElementById('shared-bar').children].map(
		(part) => [part.dataset.stretch ?? part.className.replace('segment ', ''), Math.round(10 * %d * parseFloat(part.style.width) / 100) / 10]))`, budget))
}

func showsTheSharedBudget(t *testing.T, rig *dashboardRig) {
	rig.pool.share(exampleGroup())
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	page.AwaitText("#shared-group", "group shop · 3 replicas")
	page.AwaitText("#shared-of", "of 100 connections taken")
	page.AwaitText("#shared-taken", "95")
	for _, legend := range []string{"In use 70", "Idle 15", "Not open 5", "Control sessions 3", "Strangers 2", "Reserve 4", "Free 1"} {
		page.AwaitText("#shared-legend", legend)
	}
	// A share and a control session each; together they are the budget.
	want := map[string]float64{"a1": 61, "b2": 21, "c3": 11, "withheld": 2, "reserve": 4, "free": 1}
	if got := stretches(page, 100); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the bar has %v, want %v", got, want)
	}
	if label := browsertest.Value[string](page, "document.getElementById('shared-bar').ariaLabel"); label != "Of 100 connections for 3 replicas: 70 in use, 15 idle, 5 not open, 3 control sessions, 2 strangers, 4 reserve, 1 free. app-1:311 has 60. app-2:2077 has 20. app-3:8 has 10." {
		t.Errorf("the bar says %q", label)
	}
	// The one that starves comes first, and it is said who has what it lacks.
	first := "#shared-rows tr:first-child"
	page.AwaitText(first, "2 app-2:2077 this process 20 20 0 14 1 min 30 s starves, wants 31")
	page.AwaitText(`[data-replica="a1"]`, "1 app-1:311 60 50 5 0 5 h gives back 3")
	page.AwaitText(`[data-replica="c3"]`, "3 app-3:8 10 0 10 0 1 h gone")
	page.AwaitText("#shared-summary", "app-2:2077 starves: 14 requests wait, it has 20 (20 in use, 0 idle) and could use 31. app-1:311 has the most: 60 (50 in use, 5 idle). "+
		"app-3:8 is gone: 10 come free as the server ends the sessions. 2 connections of the role belong to no replica.")
	// Its own bar is of what it may have, not of what all may.
	page.AwaitText("#budget-title", "This process’s part of the budget")
	page.AwaitText("#budget-of", "of 20 connections open")
	page.AwaitText("#budget-legend", "Free 0")
	for _, look := range []browsertest.Look{{}, {Dark: true}, {Width: 1440, Height: 1000}, {Width: 390, Height: 1400}, {Width: 390, Height: 1400, Dark: true}} {
		page.Look(look)
		browsertest.Value[any](page, "void document.querySelector('#shared').scrollIntoView()")
		rig.screenshot(fmt.Sprintf("shared-%d-%v", look.Width, look.Dark))
	}
	page.Look(browsertest.Look{})

	// It moves: the gone one's connections go to the one that starved, and one more comes.
	rig.regroup(func(g *model.SharedBudget) {
		g.Free, g.Strangers = 0, 0
		g.Replicas = g.Replicas[:2]
		g.Replicas[0].Share, g.Replicas[0].Granted = 57, 57
		g.Replicas[1].Share, g.Replicas[1].Granted, g.Replicas[1].Open, g.Replicas[1].InUse, g.Replicas[1].Waiting = 35, 35, 31, 31, 0
		g.Replicas = append(g.Replicas, model.Replica{ID: "d4", Label: "app-4:1", State: model.ReplicaLeaving, Share: 5, Granted: 5, Open: 5})
	})
	page.AwaitText("#shared-legend", "In use 81")
	page.AwaitText("#shared-summary", "Nobody waits for what others have.")
	page.AwaitText(first, "app-1:311")
	page.AwaitText(`[data-replica="d4"]`, "3 app-4:1 5 0 5 0 now leaving")
	if got, want := fmt.Sprint(stretches(page, 100)), fmt.Sprint(map[string]float64{"a1": 58, "b2": 36, "d4": 6, "withheld": 0, "reserve": 0, "free": 0}); got != want {
		t.Errorf("the bar has %v, want %v", got, want)
	}
	if n := page.Count("[data-replica]"); n != 3 {
		t.Errorf("%d replicas", n)
	}

	// Who has the most does not starve, nor who has as much as the others.
	rig.regroup(func(g *model.SharedBudget) { g.Replicas[0].Wants, g.Replicas[0].Waiting = 70, 8 })
	page.AwaitText("#shared-summary", "app-1:311 wants more: 8 requests wait, it has 57 (50 in use, 5 idle) and could use 70. No other replica has more than it.")
	page.AwaitText(first, "app-1:311 57 50 5 8 5 h wants 70")
	rig.screenshot("shared-wants")
	rig.regroup(func(g *model.SharedBudget) {
		g.Replicas[0].Share, g.Replicas[0].Open, g.Replicas[0].InUse = 46, 46, 46
		g.Replicas[1].Share, g.Replicas[1].Open, g.Replicas[1].InUse, g.Replicas[1].Wants, g.Replicas[1].Waiting = 45, 45, 45, 60, 9
	})
	page.AwaitText("#shared-summary", "2 replicas want more, and none has much more than another: the budget is too small for them, or connections are held for too long.")

	soon(t, "the page listens", func() bool { return rig.pool.watching() == 1 })
	rig.pool.tell(model.Event{At: time.Now(), Kind: model.EventLimitsSet, MaxConnections: 35, MaxConnectionsPerDB: 3})
	page.AwaitText("#feed-list", "This process may hold 35 connections")

	page.Click("#limits")
	page.AwaitText("dialog", "those of the group shop, for all its replicas")
	page.AwaitText("dialog", "Connections of all replicas together")
	page.Await("the group's budget", "document.querySelector('#limit-all').value === '100'")
	rig.screenshot("shared-limits")
	page.Press(kb.Escape)

	// Who signs out takes the figures with them.
	page.Click("#sign-out")
	page.Await("nothing is shown", "document.querySelector('#shared').hidden && document.querySelectorAll('[data-replica], [data-stretch]').length === 0")
}

func saysWhatIsWrongWithTheGroup(t *testing.T, rig *dashboardRig) {
	rig.pool.share(exampleGroup())
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.AwaitText("#shared-taken", "95")
	page.Await("no banner", "document.querySelectorAll('.banner').length === 0")
	for limit, want := range map[int]string{
		-1:  "No CONNECTION LIMIT holds for the role",
		90:  "The role’s CONNECTION LIMIT is 90, the shared budget 100: the server refuses",
		120: "The role’s CONNECTION LIMIT is 120, the shared budget 100: nothing keeps",
	} {
		rig.regroup(func(g *model.SharedBudget) { g.RoleLimit = limit })
		page.AwaitText(`[data-banner="fence"].error`, want)
	}
	rig.screenshot("shared-fence")
	rig.regroup(func(g *model.SharedBudget) { g.RoleLimit = 100 })
	page.Await("the banner is gone", "document.querySelectorAll('.banner').length === 0")

	// Without a control session the group cannot be read either: the last figures stay.
	rig.change(func(st *model.Stats) { st.Shared.Connected, st.Shared.Refusals = false, 12 })
	rig.pool.mu.Lock()
	rig.pool.groupErr = errors.New("there is no control session")
	rig.pool.mu.Unlock()
	page.AwaitText(`[data-banner="no-session"].error`, "This process has no control session in the group shop.")
	page.AwaitText("#shared-problem", "The group cannot be read now: there is no control session. The figures below are of ")
	page.AwaitText("#shared-group", "the server refused this process 12 connections")
	page.AwaitText("#shared-taken", "95")
	rig.screenshot("shared-no-session")
	rig.pool.mu.Lock()
	rig.pool.groupErr = nil
	rig.pool.mu.Unlock()
	rig.change(func(st *model.Stats) { st.Shared.Connected = true })
	page.Await("all is well", "document.querySelectorAll('.banner').length === 0 && document.querySelector('#shared-problem').hidden")

	// A process that has nothing yet has figures all the same.
	rig.change(func(st *model.Stats) {
		*st = model.Stats{MaxConnections: 100, MaxConnectionsPerDB: 3, Shared: st.Shared}
		st.Shared.Limit = 0
	})
	page.AwaitText("#budget-of", "of 0 connections open")
	page.AwaitText("#pulse", "Live")

	// The budget was lowered, and more is promised than it has.
	rig.regroup(func(g *model.SharedBudget) { g.Budget, g.Free, g.RoleLimit = 90, -5, 90 })
	page.AwaitText("#shared-summary", "5 connections more than the budget are promised")
	if got := stretches(page, 95); got["a1"] != 61 || got["free"] != 0 || got["reserve"] != 0 {
		t.Errorf("the bar has %v", got)
	}
}

// fiftyReplicas are of one size but for those that starve, and one that has much.
func fiftyReplicas() model.SharedBudget {
	g := model.SharedBudget{Group: "shop-of-the-north-west", Budget: 500, Floor: 3, Reserve: 4, RoleLimit: 500}
	used := 0
	for i := range 50 {
		r := model.Replica{
			ID: fmt.Sprintf("r%02d", i), Label: fmt.Sprintf("shop-frontend-7d9c5b6f4-x%02dkq:%d", i, 100+i), Self: i == 30,
			State: model.ReplicaPresent, Age: time.Duration(50-i) * time.Hour, Share: 7, Granted: 7, Wants: 5, Open: 6, InUse: i % 6,
		}
		switch i {
		case 5: // at its workspaces' own caps
			r.Waiting = 3
		case 11:
			r.Share, r.Granted, r.Wants, r.Open, r.InUse = 60, 60, 60, 58, 57
		case 23, 41:
			r.Share, r.Granted, r.Open, r.InUse, r.Wants, r.Waiting = 4, 4, 4, 4, 9+i, i
		case 49:
			r.State, r.Granted, r.InUse, r.Wants = model.ReplicaGone, 0, 0, 0
		}
		used += r.Share + 1
		g.Replicas = append(g.Replicas, r)
	}
	g.Free = g.Budget - used
	return g
}

func keepsFiftyReplicasReadable(t *testing.T, rig *dashboardRig) {
	rig.pool.share(fiftyReplicas())
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	page.AwaitText("#shared-group", "50 replicas")
	for _, look := range []browsertest.Look{{Width: 1280, Height: 900}, {Width: 1440, Height: 900}, {Width: 390, Height: 844}} {
		for _, dark := range []bool{false, true} {
			look.Dark = dark
			page.Look(look)
			page.Await("the width", fmt.Sprintf("innerWidth === %d", look.Width))
			if wide := browsertest.Value[string](page, `(() => {
				const wrap = document.querySelector('.replicas').getBoundingClientRect(), own = innerWidth;
				return [document.documentElement.scrollWidth, ...[...document.querySelectorAll('#shared *')].filter((e) => !e.closest('.replicas table') && !e.closest('.stretch')).map((e) => Math.floor(e.getBoundingClientRect().right))].filter((right) => right > own).join(' ');
			})()`); wide != "" {
				t.Errorf("at %d pixels something reaches to %s", look.Width, wide)
			}
			// The table scrolls, and does not push the rest of the page away.
			if height := browsertest.Value[float64](page, "document.querySelector('.replicas').getBoundingClientRect().height"); height > 480 {
				t.Errorf("at %d pixels the table is %.0f pixels high", look.Width, height)
			}
			if narrow := browsertest.Value[float64](page, "Math.min(...[...document.querySelectorAll('.stretch')].map((e) => e.getBoundingClientRect().width))"); narrow < 3 {
				t.Errorf("at %d pixels a replica has %.1f pixels", look.Width, narrow)
			}
			browsertest.Value[any](page, "void document.querySelector('#shared').scrollIntoView()")
			rig.screenshot(fmt.Sprintf("fifty-%d-%v", look.Width, dark))
		}
	}
	page.AwaitText("#shared-summary", "2 replicas starve. shop-frontend-7d9c5b6f4-x41kq:141 lacks most: 41 requests wait, it has 4 (4 in use, 0 idle) and could use 50. shop-frontend-7d9c5b6f4-x11kq:111 has the most: 60 (57 in use, 1 idle).")
	if firsts := browsertest.Value[string](page, "[...document.querySelectorAll('#shared-rows tr')].slice(0, 3).map((row) => row.dataset.replica).join(' ')"); firsts != "r23 r41 r00" {
		t.Errorf("the first are %s", firsts)
	}
}

func asksForNoGroup(t *testing.T, rig *dashboardRig) {
	page := rig.open(rig.tokens[Operator], browsertest.Look{})
	rig.change(func(st *model.Stats) { st.Workspaces.InUse++ })
	page.AwaitText("#budget-open", "26") // it has asked again
	page.AwaitText("#budget-title", "Connection budget")
	if !browsertest.Value[bool](page, "document.querySelector('#shared').hidden && getComputedStyle(document.querySelector('#shared')).display === 'none'") {
		t.Error("a shared budget is shown")
	}
	if asked := browsertest.Value[int](page, "performance.getEntriesByType('resource').filter((e) => e.name.includes('admin.replicas')).length"); asked != 0 || rig.pool.looks != 0 {
		t.Errorf("it asked %d times, the pool was %d", asked, rig.pool.looks)
	}
	page.Click("#limits")
	page.AwaitText("dialog", "Connections, in all")
}
