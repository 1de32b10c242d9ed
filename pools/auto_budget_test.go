package pools

import (
	"context"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
)

// Who sets the limits decides, and then the budget is on its way to nothing else.
func TestTheTargetIsWhatSomebodyElseHasSet(t *testing.T) {
	cfg := model.Config{MaxConnections: 40, AutoBudget: "40..95"}
	m := &Manager{config: cfg}
	p := &planning{m: m, curve: planner.NewCurve()}
	a := newAutoBudget(m)
	cfg.MaxConnections = 60
	for second := range 30 {
		told := planner.Traffic{Now: time.Duration(second) * time.Second, Limits: cfg.WorkspaceLimits(), Effective: cfg.WorkspaceBudget()}
		a.look(t.Context(), p, told, time.Now())
	}
	st := model.Stats{MaxConnections: 60}
	p.utilisation.Store(new(model.Utilisation))
	p.budget.Store(a.state())
	p.auto = a
	p.addTo(&st)
	if st.AutoBudget.Target != 60 || st.AutoBudget.Reason != "somebody else has set the limits" {
		t.Errorf("%+v", st.AutoBudget)
	}
}

// A plan that does not know what the server grants recommends more than that, and on a busy pool
// it stands for minutes.
func TestThePlanAfterTheFirstKnowsWhatTheServerGrants(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	began := time.Now()
	p := (&Manager{config: model.Config{Planner: "on"}}).startPlanning(ended)
	// A look may come a second late, and the server's answer another one.
	if asks := p.askedAt.Add(askGrantsEvery).Sub(began); asks > planEvery-3*time.Second {
		t.Errorf("the server is asked after %v, and the second plan made after %v", asks, planEvery)
	}
}
