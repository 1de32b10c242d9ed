package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// checkSoft is check with soft caps. The ledger does not know the adapted pace.
func checkSoft(t *testing.T, m mix, watch property) {
	t.Helper()
	generator := orders(m)
	often(t, func(t *rapid.T) {
		limits := someSoftLimits(t)
		limits.AdaptDialing = false
		newRun(t, limits, watch).follow(generator.Draw(t, "orders"))
	})
}

// owedWithin is how many waiters of other workspaces than this one could be dialed for
// within their soft caps.
func owedWithin(l *ledger, besides model.WorkspaceID) int {
	soft := *l
	soft.limits.PerWorkspace = min(l.limits.PerWorkspace, l.limits.SoftPerWorkspace)
	owed := 0
	for _, w := range l.waiters {
		if w.workspace != besides && soft.needy(w) {
			owed++
		}
	}
	return owed
}

// Rule 10: nothing is dialed beyond a soft cap while somebody within his waits for a dial.
func TestADialBeyondTheSoftCapWaitsForAllWithinTheirs(t *testing.T) {
	beyond := 0
	checkSoft(t, crowded, property{before: func(l *ledger, e core.Effect) string {
		dial, ok := e.(core.Dial)
		if !ok || l.held(dial.Workspace) < l.limits.SoftPerWorkspace {
			return ""
		}
		beyond++
		if owed := owedWithin(l, dial.Workspace); owed > 0 {
			return fmt.Sprintf("%s has %d connections, and %d waiters elsewhere need one within their soft caps", dial.Workspace, l.held(dial.Workspace), owed)
		}
		return ""
	}})
	if beyond == 0 {
		t.Error("nothing was ever dialed beyond a soft cap")
	}
}

// Rule 10: a workspace beyond its soft cap gives up the next connection that comes free if
// somebody within his waits for it, however long it has been open and whoever came first.
func TestAConnectionBeyondTheSoftCapGoesToWhoIsWithinHis(t *testing.T) {
	yielded := 0
	checkSoft(t, crowded, property{before: func(l *ledger, e core.Effect) string {
		if c, ok := e.(core.Close); ok && c.Reason == model.Yield && l.stays(l.known(c.Conn)) {
			yielded++
			if l.held(c.Workspace) <= l.limits.SoftPerWorkspace {
				return "it has moved too lately, and its workspace is within its soft cap"
			}
		}
		grant, ok := e.(core.Grant)
		if !ok || grant.Waited == 0 || l.held(grant.Workspace) <= l.limits.SoftPerWorkspace {
			return ""
		}
		coming := max(0, l.limits.Budget-len(l.conns)+l.onTheWay())
		room := l.limits.MaxDialing - len(l.in(dialing))
		if owed := owedWithin(l, grant.Workspace); owed > coming && room > coming {
			return fmt.Sprintf("%d waiters within their soft caps, %d slots coming, room for %d dials", owed, coming, room)
		}
		return ""
	}})
	if yielded == 0 {
		t.Error("no connection was ever yielded for a soft cap")
	}
}

// A flood with a soft cap has more than that while the others leave it, and they wait
// hardly longer than if it were the hard one.
func TestAFloodWithASoftCapHasWhatTheOthersLeave(t *testing.T) {
	const end = 5 * time.Second
	run := func(hard, soft, others int) (leases int, waits []time.Duration) {
		limits := production(12)
		limits.PerWorkspace, limits.SoftPerWorkspace = hard, soft
		s := newSimulation(t, 1, limits)
		for range 50 {
			s.work(worker{pick: only("flood"), hold: latency{ms(1), ms(20)}, until: end})
		}
		for range others {
			s.work(worker{pick: s.zipf(30), hold: latency{ms(1), ms(5)}, think: latency{ms(1), ms(30)}, until: end})
		}
		s.run(end)
		s.log()
		isFlood := func(id model.WorkspaceID) bool { return id == "flood" }
		return len(s.report.all(isFlood)), s.report.all(func(id model.WorkspaceID) bool { return !isFlood(id) })
	}
	alone, _ := run(10, 3, 0)
	capped, _ := run(3, 0, 0)
	if alone < 3*capped {
		t.Errorf("alone the flood had %d leases, and %d with a hard cap of 3", alone, capped)
	}
	soft, beside := run(10, 3, 30)
	hard, usual := run(3, 0, 30)
	free, without := run(10, 0, 30)
	p99 := func(waits []time.Duration) time.Duration { return quantile(waits, 0.99) }
	t.Logf("beside others the flood had %d leases with a soft cap of 3, %d with a hard one, %d without; the others' p99 was %v, %v, %v",
		soft, hard, free, p99(beside), p99(usual), p99(without))
	if float64(p99(beside)) > 1.5*float64(p99(usual)) {
		t.Errorf("the others' p99 is %v with a soft cap and %v with a hard one", p99(beside), p99(usual))
	}
}
