package pools

import (
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
