package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// batchSound has leases, dials and closes of batch work and of the others.
var batchSound = append(sound[:len(sound):len(sound)], mix{{acquireBatch, 14}, {releaseClean, 6}, {dialSucceeds, 6}, {closes, 6}}...)

// I13, at each moment at which batch work gets a slot.
func TestBatchWorkNeverHoldsMoreThanItsShare(t *testing.T) {
	within := property{before: func(l *ledger, e core.Effect) string {
		switch e := e.(type) {
		case core.Dial:
			if !e.Batch {
				return ""
			}
		case core.Grant:
			if !l.waiter(e.Lease).batch || l.known(e.Conn).batch {
				return "" // it has the slot already
			}
		default:
			return ""
		}
		held := l.heldByBatch()
		if share := max(1, int(l.limits.BatchShare*float64(l.limits.Budget)+1e-9)); held >= share {
			return fmt.Sprintf("batch work had %d of %d slots", held, share)
		}
		return ""
	}}
	check(t, batching, within)
	check(t, batchCrowd, within)
}

// Rule 9: while batch work has another slot, nothing goes to it that an interactive
// waiter needs.
func TestNoInteractiveWaiterIsPassedOverByBatchWork(t *testing.T) {
	often(t, func(t *rapid.T) {
		limits := someLimits(t)
		limits.AdaptDialing = false
		newRun(t, limits, property{before: func(l *ledger, e core.Effect) string {
			dial := core.Dial{}
			switch e := e.(type) {
			case core.Dial:
				if !e.Batch {
					return ""
				}
				dial = e
			case core.Grant:
				if !l.waiter(e.Lease).batch {
					return ""
				}
				for _, w := range l.queue(e.Workspace) {
					if !w.batch {
						return fmt.Sprintf("lease %d of its workspace is interactive", w.lease)
					}
				}
			default:
				return ""
			}
			if l.heldByBatch() == 0 {
				return ""
			}
			owed := 0
			for _, w := range l.waiters {
				if !w.batch && l.needy(w) {
					owed++
				}
			}
			if dial.Conn != 0 && owed > 0 {
				return fmt.Sprintf("%d interactive waiters could have been dialed for", owed)
			}
			coming := max(0, l.limits.Budget-len(l.conns)+l.onTheWay())
			if room := l.limits.MaxDialing - len(l.in(dialing)); owed > coming && room > coming {
				return fmt.Sprintf("%d interactive waiters, %d slots coming, room for %d dials", owed, coming, room)
			}
			return ""
		}}).follow(orders(batchSound).Draw(t, "orders"))
	})
}

// What only batch work has used makes room before anything else does.
func TestBatchWorkEvictsItsOwnFirst(t *testing.T) {
	check(t, batchSound, property{before: func(l *ledger, e core.Effect) string {
		c, ok := e.(core.Close)
		if !ok || c.Reason != model.MakeRoom || l.known(c.Conn).cold {
			return ""
		}
		for _, other := range l.in(idle) {
			if other.cold {
				return fmt.Sprintf("conn %d has been used by batch work only", other.id)
			}
		}
		return ""
	}})
}

// I3.
func TestEveryBatchAcquireIsAnsweredOnce(t *testing.T) {
	often(t, func(t *rapid.T) {
		r := newRun(t, someLimits(t))
		r.follow(orders(batching).Draw(t, "orders"))
		r.send(entry{at: r.ledger.now, message: core.Drain{}})
		r.settle()
		r.bringHome()
		r.settle()
		for lease, answers := range r.ledger.answers {
			if answers != 1 {
				r.fail(fmt.Sprintf("lease %d had %d answers", lease, answers))
			}
		}
		if len(r.ledger.faults) > 0 {
			r.fail(r.ledger.faults[0])
		}
	})
}

// A migration of 300 workspaces beside ten times more interactive work than there are
// slots: each is done, and the others wait hardly longer than without it. Then beside as
// much as fits: it has its share.
func TestBatchWorkBesideInteractiveTraffic(t *testing.T) {
	const end = 20 * time.Second
	run := func(handlers int, think latency, batch int) (interactive, migrated []time.Duration) {
		limits := production(12)
		limits.BatchShare = 0.25
		s := newSimulation(t, 1, limits)
		for range handlers {
			s.work(worker{pick: s.zipf(60), hold: latency{ms(1), ms(10)}, think: think, until: end})
		}
		next := 0
		pick := func() model.WorkspaceID { next++; return tenant(1000 + next) }
		for range batch {
			s.work(worker{pick: pick, hold: latency{ms(5), ms(20)}, until: end, batch: true})
		}
		s.run(end)
		s.log()
		isBatch := func(id model.WorkspaceID) bool { return id >= tenant(1000) }
		return s.report.all(func(id model.WorkspaceID) bool { return !isBatch(id) && id < tenant(100) }), s.report.all(isBatch)
	}
	for _, load := range []struct {
		name     string
		handlers int
		think    latency
		least    int // workspaces migrated
		factor   float64
	}{
		{"overload", 120, latency{}, 300, 1.5},
		{"as much as fits", 6, latency{ms(5), ms(60)}, 1500, 1.5},
	} {
		alone, _ := run(load.handlers, load.think, 0)
		beside, migrated := run(load.handlers, load.think, 20)
		p99, with := quantile(alone, 0.99), quantile(beside, 0.99)
		t.Logf("%s: %d waits, p99 %v; beside %d migrations: %d, p99 %v", load.name, len(alone), p99, len(migrated), len(beside), with)
		if len(migrated) < load.least || float64(with) > load.factor*float64(p99) {
			t.Errorf("%s: %d of %d workspaces migrated, and p99 is %v, alone %v", load.name, len(migrated), load.least, with, p99)
		}
	}
}
