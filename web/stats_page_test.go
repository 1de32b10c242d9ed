package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// manyWorkspaces are so many with a connection, and so many paused ones besides.
func manyWorkspaces(active, paused int) model.Stats {
	st := exampleStats()
	st.Workspaces.Active, st.Workspaces.Counts = nil, model.Counts{}
	for i := range active + paused {
		w := model.WorkspaceStats{
			ID: model.WorkspaceID(fmt.Sprint("customer_", i)), LastUsed: time.Duration(i) * time.Millisecond, Dials: uint64(i % 7),
		}
		switch {
		case i >= active:
			w.Paused = true
		case i%10 == 0:
			w.InUse = 1
		default:
			w.Idle = 1
		}
		st.Workspaces.Active = append(st.Workspaces.Active, w)
		st.Workspaces.InUse += w.InUse
		st.Workspaces.Idle += w.Idle
	}
	return st
}

// ask returns the ids of the answer, in no order, and how many were found.
func (rig *handlersRig) ask(query string) (ids []string, found, active int) {
	rig.t.Helper()
	status, body := rig.do(Viewer, statsPath+query, "")
	var a connectionStats
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
		rig.t.Fatal(query, status, body, err)
	}
	for id := range a.WorkspacePools {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, a.WorkspacesFound, a.ActiveWorkspaceDatabases
}

func TestTheStatisticsAreBoundedAndHavePages(t *testing.T) {
	rig := newHandlersRig(t)
	rig.pool.state = manyWorkspaces(10_000, 1000)
	for query, want := range map[string]struct {
		ids   string // or how many
		found int
	}{
		"":                                {"1000", 11_000},
		"?limit=2":                        {"customer_0 customer_1", 11_000},
		"?limit=0":                        {"0", 11_000},
		"?offset=9&limit=2":               {"customer_10 customer_9", 11_000},
		"?offset=10999":                   {"customer_10999", 11_000},
		"?offset=11000":                   {"0", 11_000},
		"?offset=9223372036854775807":     {"0", 11_000},
		"?search=_4999":                   {"customer_4999", 1},
		"?search=CUSTOMER_1077":           {"11", 11},
		"?search=nobody":                  {"0", 0},
		"?sort=lastUsed&limit=1":          {"customer_0", 11_000},
		"?sort=-lastUsed&limit=2":         {"customer_10998 customer_10999", 11_000},
		"?sort=-inUse&limit=2&offset=1":   {"customer_10 customer_20", 11_000},
		"?sort=-paused&limit=2":           {"customer_10000 customer_10001", 11_000},
		"?sort=-paused&search=99&limit=1": {"customer_10099", 299},
		"?sort=-dials&limit=2":            {"customer_13 customer_6", 11_000},
	} {
		ids, found, active := rig.ask(query)
		if got := strings.Join(ids, " "); got != want.ids && fmt.Sprint(len(ids)) != want.ids || found != want.found || active != 11_000 {
			t.Errorf("%s: %d of %d: %.100s, want %v", query, len(ids), found, got, want)
		}
	}
	// All pages together are all, each once.
	seen := map[string]bool{}
	for offset := 0; offset < 11_000; offset += 1000 {
		ids, _, _ := rig.ask(fmt.Sprint("?sort=-open&offset=", offset))
		for _, id := range ids {
			seen[id] = true
		}
	}
	if len(seen) != 11_000 {
		t.Errorf("%d on all pages", len(seen))
	}
}

func TestAPageThatCannotBeIsRefused(t *testing.T) {
	rig := newHandlersRig(t)
	for query, want := range map[string]string{
		"limit=1001":                         `limit is "1001": it must be from 0 to 1000`,
		"limit=-1":                           `limit is "-1"`,
		"limit=":                             `limit is ""`,
		"offset=-1":                          `offset is "-1"`,
		"offset=1e3":                         `offset is "1e3"`,
		"sort=name":                          `sort is "name": it must be one of dials, evictions, id, idle, inUse, lastUsed, open, paused, waiting, or one of these with a -`,
		"sort=--id":                          `sort is "--id"`,
		"limit=1&limit=2":                    `the parameter "limit" is given 2 times`,
		"Limit=1":                            `there is no parameter "Limit" here`,
		"search=" + strings.Repeat("a", 257): "search has 257 bytes",
		"search=a%ff":                        "search is no text in UTF-8",
		url.QueryEscape(strings.Repeat("x", 500)) + "=1": `xxx...`,
	} {
		rig.refused(Viewer, statsPath+"?"+query, "", 400, want)
	}
}

func TestIDsAreOrderedAsPeopleDo(t *testing.T) {
	ids := []model.WorkspaceID{"a", "A-1", "a_b", "ws_2", "ws_02", "WS_9", "ws_10", "ws_10a", "ws_99999999999999999999", "x"}
	for i := range ids {
		for j := range ids {
			c := byID(model.WorkspaceStats{ID: ids[i]}, model.WorkspaceStats{ID: ids[j]})
			if (i == j) != (c == 0) || i < j && c >= 0 && ids[i] != "ws_2" || i > j && c <= 0 && ids[j] != "ws_2" {
				t.Errorf("%s and %s: %d", ids[i], ids[j], c)
			}
		}
	}
}

func TestOnlyTheBusiestWorkspacesHaveSeriesOfTheirOwn(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.WorkspaceMetrics = true })
	rig.pool.state = manyWorkspaces(10_000, 1000)
	rig.pool.state.Workspaces.Active[10_500].Waiting = 3
	text := rig.scrape()
	for line := range strings.Lines(`tenantpool_active_workspaces 11000
tenantpool_workspace_waiting_acquires{workspace="customer_10500"} 3
tenantpool_workspace_paused{workspace="customer_10500"} 1
tenantpool_workspace_connections{state="in_use",workspace="customer_980"} 1
tenantpool_workspace_connections{state="in_use",workspace="(other)"} 901
tenantpool_workspace_connections{state="idle",workspace="(other)"} 9000
tenantpool_workspace_waiting_acquires{workspace="(other)"} 0
tenantpool_workspace_paused{workspace="(other)"} 999
`) {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("missing: %s", line)
		}
	}
	if n := strings.Count(text, "\ntenantpool_workspace_paused{"); n != 100+1 {
		t.Errorf("%d workspaces have series", n)
	}
	if strings.Contains(text, `"customer_990"`) {
		t.Error("one has series that is less busy than a hundred others")
	}
}

func BenchmarkTenThousandWorkspaces(b *testing.B) {
	pool := newFakePool()
	pool.state = manyWorkspaces(10_000, 1000)
	s, err := New(pool, Options{Keys: []PublicKey{NewPrivateKey().Public()}, WorkspaceMetrics: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("stats", func(b *testing.B) {
		for b.Loop() {
			s.snapshots.forget()
			t, err := s.snapshots.get(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(t.body)), "bytes")
		}
	})
	b.Run("page", func(b *testing.B) {
		page, err := readStatsPage(url.Values{"search": {"9"}, "sort": {"-inUse"}, "limit": {"200"}})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			b.ReportMetric(float64(len(encodeStats(newConnectionStats(pool.state, page), time.Now()))), "bytes")
		}
	})
	b.Run("metrics", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(float64(send(s.exporter, "GET", "/metrics", "").Body.Len()), "bytes")
		}
	})
}
