package property_tests

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// I8, first half.
func TestAWorkspaceIsServedFirstInFirstOut(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		grant, ok := e.(core.Grant)
		if !ok {
			return ""
		}
		if queue := l.queue(grant.Workspace); len(queue) == 0 || queue[0].lease != grant.Lease {
			return fmt.Sprintf("its workspace's queue is %+v", queue)
		}
		return ""
	}})
}

// I8, second half: whoever is older by more than Patience, below its cap, without
// a dial and without a slot that is coming for it is not passed over, if a dial
// for it could start, but by a connection that stays.
func TestAHandOffPassesNobodyOverWhoIsOlderByMoreThanPatience(t *testing.T) {
	check(t, sound, property{before: func(l *ledger, e core.Effect) string {
		grant, ok := e.(core.Grant)
		if !ok || grant.Waited == 0 || l.stays(l.known(grant.Conn)) {
			return ""
		}
		arrived := l.now - grant.Waited
		owed := 0
		for _, w := range l.waiters {
			if l.needy(w) && arrived-w.arrived > l.limits.Patience {
				owed++
			}
		}
		coming := max(0, l.limits.Budget-len(l.conns)+l.onTheWay())
		room := l.limits.MaxDialing - len(l.in(dialing))
		if owed > coming && room > coming {
			return fmt.Sprintf("%d older waiters, %d slots coming, room for %d dials", owed, coming, room)
		}
		return ""
	}})
}

// The other way round: no connection leaves a workspace that has a use for it
// unless somebody is older by more than Patience, and it has been open for nine
// times as long as its dial took, or a second; or the workspace has more than its cap,
// which was lowered (rule 10).
func TestAConnectionIsYieldedOnlyToSomebodyWhoIsOlderByMoreThanPatience(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		c, ok := e.(core.Close)
		if !ok || c.Reason != model.Yield {
			return ""
		}
		queue := l.queue(c.Workspace)
		if len(queue) == 0 {
			return "nobody of its workspace waited"
		}
		if l.held(c.Workspace) > l.limits.PerWorkspace {
			return ""
		}
		if l.stays(l.known(c.Conn)) {
			return "it has moved too lately"
		}
		for _, w := range l.waiters {
			if w.workspace != c.Workspace && queue[0].arrived-w.arrived > l.limits.Patience {
				return ""
			}
		}
		return fmt.Sprintf("nobody was older: %+v", l.waiters)
	}})
}

// Rule 3 over workspaces: among those who could be dialed for, the first in is
// the first out.
func TestAFreeSlotGoesToWhoCameFirst(t *testing.T) {
	check(t, sound, property{before: func(l *ledger, e core.Effect) string {
		dial, ok := e.(core.Dial)
		if !ok {
			return ""
		}
		for _, w := range l.waiters { // by arrival
			if l.needy(w) && w.workspace != dial.Workspace {
				return fmt.Sprintf("lease %d of %s came first", w.lease, w.workspace)
			}
			if l.needy(w) {
				return ""
			}
		}
		return "nobody waits for it"
	}})
}

// Rule 7.
func TestTheSameMessagesHaveTheSameEffects(t *testing.T) {
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		r.follow(orders(draining).Draw(t, "orders"))
		again := newCore(r.limits)
		for _, e := range r.log {
			if got, want := describeAll(step(again, e.at, e.message)), describeAll(e.effects); got != want {
				r.fail(fmt.Sprintf("%s had these effects:\n%s\nthe second time:\n%s", core.DescribeMessage(e.message), want, got))
			}
		}
	})
}
