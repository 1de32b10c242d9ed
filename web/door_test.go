package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/web/browsertest"
)

func exampleDoor() model.DoorStats {
	st := model.DoorStats{
		Clients: 1240, Active: 31, Waiting: 3, Pinned: 2, Starting: 1, Logins: 5120, LoginsRefused: 7, Cancels: 12, Transactions: 918_000, Queries: 1_204_000, Errors: 51,
		Prepared: 4000, Resets: 210, Replays: 8100, FromClients: 81_000_000, FromServers: 910_000_000, WaitTime: 41 * time.Second, QueryTime: 18 * time.Minute, TransactionTime: 21 * time.Minute,
	}
	for i := range 12 {
		st.Workspaces = append(st.Workspaces, model.DoorWorkspace{ID: model.WorkspaceID(fmt.Sprintf("shop-%02d", i)), Clients: 100 - i, Active: 3, Transactions: uint64(70_000 - i)})
	}
	st.Workspaces[7].Waiting, st.Workspaces[7].LongestWait = 3, 1400*time.Millisecond
	return st
}

func showsTheDoor(t *testing.T, rig *dashboardRig) {
	example := exampleDoor()
	rig.doors.Store(&example)
	page := rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.AwaitText("#door-text", "1,240 clients: 31 active, 3 waiting, 2 pinned, 1,204 idle.")
	page.AwaitText("#door-more", "and 2 workspaces more")
	if first := browsertest.Value[string](page, "document.querySelector('#door-rows tr').innerText.replace(/\\s+/g, ' ').trim()"); first != "shop-07 93 3 3 0 1.4 s 69,993" {
		t.Errorf("the first workspace: %s", first)
	}
	for _, look := range []browsertest.Look{{Width: 400}, {Width: 1200, Dark: true}} {
		page := rig.open(rig.tokens[Viewer], look)
		page.AwaitText("#door-more", "and 2 workspaces more")
		if wide := browsertest.Value[string](page, `[...document.querySelectorAll('#door *')].filter((e) => !e.closest('table') && e.getBoundingClientRect().right > innerWidth).map((e) => e.tagName).join(' ')`); wide != "" {
			t.Errorf("at %d pixels too wide: %s", look.Width, wide)
		}
		browsertest.Value[any](page, "void document.querySelector('#door').scrollIntoView()")
		rig.screenshot(fmt.Sprintf("door-%d", look.Width))
	}
	rig.doors.Store(&model.DoorStats{Draining: true})
	page = rig.open(rig.tokens[Viewer], browsertest.Look{})
	page.AwaitText("#door-text", "0 clients: 0 active, 0 waiting, 0 pinned, 0 idle. Nobody is let in any more.")
}

func TestTheMetricsHaveTheDoor(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.Door = exampleDoor })
	text := rig.scrape()
	for _, line := range []string{
		`tenantpool_door_clients{state="waiting"} 3`, `tenantpool_door_clients{state="idle"} 1204`, `tenantpool_door_transactions_total 918000`,
		`tenantpool_door_wait_seconds_total 41`, `tenantpool_door_longest_wait_seconds 1.4`, `tenantpool_door_bytes_total{from="servers"} 9.1e+08`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}
