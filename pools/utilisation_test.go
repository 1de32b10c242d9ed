package pools

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// A budget that is nearly all busy is one line, and so is the end of that.
func TestAFullBudgetIsLoggedOnceAndSoIsItsEnd(t *testing.T) {
	var log bytes.Buffer
	m := &Manager{log: slog.New(slog.NewTextHandler(&log, nil)), supervisor: actor.Start()}
	p := &planning{m: m, load: new(planner.Load)}
	for second := range 60 {
		busy := 19
		if second >= 30 {
			busy = 5
		}
		p.judge(planner.Traffic{Now: time.Duration(second) * time.Second, Effective: 20, Counts: model.Counts{InUse: busy, Waiting: 2}}, time.Now())
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) < 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "utilisation=critical busy=19 budget=20 waiting=2") {
		t.Fatalf("%q", lines)
	}
	last := lines[len(lines)-1]
	if len(lines) > 3 || !strings.Contains(last, "level=INFO") || !strings.Contains(last, "utilisation=normal") { // critical, high, normal
		t.Errorf("%q", lines)
	}
	if u := p.utilisation.Load(); u.Level != model.LevelNormal || u.Windows[0].Busy.Peak != 19 {
		t.Errorf("%+v", u)
	}
}

// Of a shared budget it is the group's end that counts: a process's own part is what it needs.
func TestAReplicasPartIsNotItsBudget(t *testing.T) {
	var log bytes.Buffer
	m := &Manager{log: slog.New(slog.NewTextHandler(&log, nil)), supervisor: actor.Start(), shared: new(sharedBudget)}
	m.shared.part.Store(&replicas.Part{Budget: 100})
	p := &planning{m: m, load: new(planner.Load)}
	for second := range 30 {
		p.judge(planner.Traffic{Now: time.Duration(second) * time.Second, Effective: 20, Counts: model.Counts{InUse: 20}}, time.Now())
	}
	if log.Len() > 0 || p.utilisation.Load().Windows[0].Budget != 100 {
		t.Errorf("%+v %s", p.utilisation.Load(), &log)
	}
}
