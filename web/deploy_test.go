package web

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// deployed reads a file of the deploy folder.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// namedMetrics are the names of metrics in a text, each once.
func namedMetrics(text string) []string {
	names := regexp.MustCompile(`\btenantpool_[a-z0-9_]+`).FindAllString(text, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

func TestWhatTheDashboardAndTheAlertsNameIsExported(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.WorkspaceMetrics = true })
	rig.pool.showAll()
	there := namedMetrics(rig.scrape())
	for file, least := range map[string]int{"grafana-dashboard.json": 15, "alerts.yml": 4} {
		names := namedMetrics(deployed(t, file))
		if len(names) < least {
			t.Errorf("%s: %q", file, names)
		}
		for _, name := range names {
			if !slices.Contains(there, name) {
				t.Errorf("%s: %s is not exported", file, name)
			}
		}
	}
}

// A selector with a value that no series has shows nothing, and no alert.
func TestWhatTheDashboardAndTheAlertsSelectIsExported(t *testing.T) {
	rig := newHandlersRig(t)
	text := rig.scrape()
	selector := regexp.MustCompile(`\b(share|state|by|reason)(=~?|!=)\\?"([a-z_|]+)\\?"`)
	for _, file := range []string{"grafana-dashboard.json", "alerts.yml"} {
		found := selector.FindAllStringSubmatch(deployed(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s selects nothing", file)
		}
		for _, match := range found {
			for value := range strings.SplitSeq(match[3], "|") {
				if !strings.Contains(text, match[1]+`="`+value+`"`) {
					t.Errorf("%s: no series has %s=%q", file, match[1], value)
				}
			}
		}
	}
}

func TestTheGrafanaDashboardCanBeImportedAnywhere(t *testing.T) {
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Query any }
		}
		Panels []struct {
			ID          int
			Title, Type string
			GridPos     struct{ X, Y, W, H int }
			Datasource  struct{ Type, UID string }
			Targets     []struct {
				RefID, Expr string
				Datasource  struct{ Type, UID string }
			}
		}
	}
	if err := json.Unmarshal([]byte(deployed(t, "grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || dashboard.Title == "" || dashboard.SchemaVersion < 39 || len(dashboard.Panels) < 8 {
		t.Errorf("%+v", dashboard)
	}
	if v := dashboard.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" {
		t.Errorf("%+v", v)
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Datasource.UID != "${datasource}" || len(panel.Targets) == 0 {
			t.Errorf("%s: %+v", panel.Title, panel)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			if target.Datasource.UID != "${datasource}" || target.Expr == "" || target.RefID == "" {
				t.Errorf("%s: %+v", panel.Title, target)
			}
		}
		place := panel.GridPos
		if place.X+place.W > 24 {
			t.Errorf("%s is too wide", panel.Title)
		}
		for x := place.X; x < place.X+place.W; x++ {
			for y := place.Y; y < place.Y+place.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies on %s", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
	}
}

func TestTheDashboardShowsAllThatIsExported(t *testing.T) {
	rig := newHandlersRig(t, func(o *Options) { o.WorkspaceMetrics = true })
	rig.pool.showAll()
	shown := namedMetrics(deployed(t, "grafana-dashboard.json"))
	part := regexp.MustCompile(`_(bucket|sum|count)$`)
	for i := range shown {
		shown[i] = part.ReplaceAllString(shown[i], "")
	}
	types := regexp.MustCompile(`(?m)^# TYPE (tenantpool_\w+) `).FindAllStringSubmatch(rig.scrape(), -1)
	if len(types) < 25 {
		t.Errorf("%q", types)
	}
	for _, exported := range types {
		if !slices.Contains(shown, exported[1]) {
			t.Errorf("the dashboard does not show %s", exported[1])
		}
	}
}

func TestTheMetricsAreReadyWhenReadyzIs(t *testing.T) {
	for want, ping := range map[string]error{"\ntenantpool_ready 1\n": nil, "\ntenantpool_ready 0\n": errors.New("frozen")} {
		rig := newHandlersRig(t)
		rig.pool.ping = func(context.Context) error { return ping }
		if text := rig.scrape(); !strings.Contains(text, want) || !strings.Contains(text, "\ntenantpool_up 1\n") {
			t.Errorf("not there: %s", want)
		}
	}
}

// TestAlertsFireInTheOutagesThatMatter lets Prometheus' own tool judge: figures written by
// hand, and those that were recorded while PostgreSQL failed (task test:outages).
func TestAlertsFireInTheOutagesThatMatter(t *testing.T) {
	tests, err := filepath.Glob("../deploy/*_test.yml")
	if err != nil || len(tests) != 2 {
		t.Fatalf("%q %v", tests, err)
	}
	for _, name := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(deployed(t, "alerts.yml"), -1) {
		if !strings.Contains(deployed(t, "alerts_test.yml")+deployed(t, "outages_test.yml"), name[1]) {
			t.Errorf("no test has %s fire", name[1])
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus): nobody tries the alerts")
	}
	for _, args := range [][]string{{"check", "rules", "../deploy/alerts.yml"}, append([]string{"test", "rules"}, tests...)} {
		if said, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, said)
		}
	}
}
