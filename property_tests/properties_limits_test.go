package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// I1. That a slot is freed by Closed or DialFailed only is how the ledger counts.
func TestNoDialGoesBeyondTheBudget(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		if _, ok := e.(core.Dial); ok && len(l.conns) >= l.limits.Budget {
			return fmt.Sprintf("%d of %d slots were taken", len(l.conns), l.limits.Budget)
		}
		return ""
	}})
}

// I2.
func TestNoDialGoesBeyondTheCapOfItsWorkspace(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		if e, ok := e.(core.Dial); ok && l.held(e.Workspace) >= l.limits.PerWorkspace {
			return fmt.Sprintf("%s held %d of %d", e.Workspace, l.held(e.Workspace), l.limits.PerWorkspace)
		}
		return ""
	}})
}

func TestNoMoreThanMaxDialingDialsAreUnderWay(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		if _, ok := e.(core.Dial); ok && len(l.in(dialing)) >= l.limits.MaxDialing {
			return fmt.Sprintf("%d dials were under way already", len(l.in(dialing)))
		}
		return ""
	}})
}

// A dial is for somebody: a waiter that none of the dials under way is meant for.
func TestNoDialIsWithoutAWaiter(t *testing.T) {
	check(t, everything, property{before: func(l *ledger, e core.Effect) string {
		if e, ok := e.(core.Dial); ok && l.heldIn(e.Workspace, dialing) >= len(l.queue(e.Workspace)) {
			return "each of its waiters had a dial already"
		}
		return ""
	}})
}

// Rule 5: the server had room for what was open, and for no more.
func TestARefusalByTheServerHoldsTheBudgetUntilTheProbe(t *testing.T) {
	often(t, func(t *rapid.T) {
		held, until := 0, time.Duration(-1)
		newRun(t, someLimits(t), property{
			before: func(l *ledger, e core.Effect) string {
				if _, ok := e.(core.Dial); ok && l.now < until && len(l.conns) >= held {
					return fmt.Sprintf("until %v there was room for %d", until, held)
				}
				return ""
			},
			after: func(l *ledger, e entry) string {
				if m, ok := e.message.(core.DialFailed); ok && m.Kind == model.ServerFull {
					held, until = len(l.conns), l.now+l.limits.ProbeAfter
					if m.SlotHeld {
						held--
					}
				}
				return ""
			},
		}).follow(orders(failing).Draw(t, "orders"))
	})
}

// Rule 5: a workspace whose dial failed rests for half of BackoffMin at least.
func TestAWorkspaceThatBacksOffIsNotDialed(t *testing.T) {
	often(t, func(t *rapid.T) {
		until := map[model.WorkspaceID]time.Duration{}
		r := newRun(t, someLimits(t))
		note := func(l *ledger) {
			switch m := r.log[len(r.log)-1].message.(type) {
			case core.DialFailed:
				if m.Kind == model.Transient || m.Kind == model.Permanent {
					until[r.dialedFor[m.Conn]] = l.now + l.limits.BackoffMin/2
				}
			case core.Resume:
				delete(until, m.Workspace)
			case core.Renew: // an operator's word that all has changed
				delete(until, m.Workspace)
				if m.All {
					clear(until)
				}
			case core.DialSucceeded:
				delete(until, r.dialedFor[m.Conn])
			}
		}
		r.watch = []property{{before: func(l *ledger, e core.Effect) string {
			note(l)
			if e, ok := e.(core.Dial); ok && l.now < until[e.Workspace] {
				return fmt.Sprintf("it was backing off until %v", until[e.Workspace])
			}
			return ""
		}, after: func(l *ledger, _ entry) string { note(l); return "" }}}
		r.follow(orders(failing).Draw(t, "orders"))
	})
}

// Rule 5: nothing is dialed while the server is down; then one dial looks.
func TestAServerThatIsDownIsTriedByOneDial(t *testing.T) {
	often(t, func(t *rapid.T) {
		down, until := false, time.Duration(0)
		r := newRun(t, someLimits(t))
		note := func(l *ledger) {
			switch m := r.log[len(r.log)-1].message.(type) {
			case core.DialSucceeded:
				down = false
			case core.DialFailed:
				switch {
				case m.Kind == model.ServerDown && !down:
					down, until = true, l.now+l.limits.BackoffMin/2
				case m.Kind == model.Permanent || m.Kind == model.ServerFull:
					down = false
				}
			}
		}
		r.watch = []property{{before: func(l *ledger, e core.Effect) string {
			note(l)
			if _, ok := e.(core.Dial); ok && down && (l.now < until || len(l.in(dialing)) > 0) {
				return fmt.Sprintf("the server was down until %v, and %d dials were under way", until, len(l.in(dialing)))
			}
			return ""
		}, after: func(l *ledger, _ entry) string { note(l); return "" }}}
		r.follow(orders(failing).Draw(t, "orders"))
	})
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shortest := time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "min"))
		limits := model.Limits{
			BackoffMin: shortest,
			BackoffMax: time.Duration(rapid.Int64Range(int64(shortest), int64(24*time.Hour)).Draw(t, "max")),
			Seed:       rapid.Uint64().Draw(t, "seed"),
		}
		failures := rapid.IntRange(1, 200).Draw(t, "failures")
		most := limits.BackoffMin
		for range failures - 1 {
			most = min(2*most, limits.BackoffMax)
		}
		got := core.Backoff(limits, rapid.Uint64().Draw(t, "key"), failures)
		if got < most/2 || got > most {
			t.Fatalf("the pause after %d failures is %v, not between half of %v and all of it", failures, got, most)
		}
	})
}

func TestLifetimeStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "lifetime"))
		limits := model.Limits{MaxLifetime: most, Seed: rapid.Uint64().Draw(t, "seed")}
		if rapid.Bool().Draw(t, "jitter") {
			limits.LifetimeJitter = time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "most"))
		}
		got := core.Lifetime(limits, core.ConnID(rapid.Uint64().Draw(t, "conn")))
		if least, most := lifetimes(limits); got < least || got > most {
			t.Fatalf("the lifetime is %v, not from %v to %v", got, least, most)
		}
	})
	if got := core.Lifetime(model.Limits{}, 1); got != core.Never {
		t.Fatalf("without MaxLifetime the lifetime is %v", got)
	}
}

// lifetimes are the least and the most that a connection may have.
func lifetimes(l model.Limits) (least, most time.Duration) {
	if l.LifetimeJitter > 0 {
		return l.MaxLifetime, l.MaxLifetime + l.LifetimeJitter - 1
	}
	return l.MaxLifetime - l.MaxLifetime/10, l.MaxLifetime
}

// Jitter that is the same for all is none.
func TestJitterSpreads(t *testing.T) {
	limits := model.Limits{MaxLifetime: time.Hour, BackoffMin: time.Minute, BackoffMax: time.Minute}
	lifetimes, pauses, seeds := map[time.Duration]bool{}, map[time.Duration]bool{}, map[time.Duration]bool{}
	for i := range 100 {
		lifetimes[core.Lifetime(limits, core.ConnID(i))] = true
		pauses[core.Backoff(limits, uint64(i), 1)] = true
		seeded := limits
		seeded.Seed = uint64(i)
		seeds[core.Lifetime(seeded, 1)] = true
	}
	if len(lifetimes) < 90 || len(pauses) < 90 || len(seeds) < 90 {
		t.Fatalf("of 100 each: %d lifetimes, %d pauses, %d seeds' lifetimes differ", len(lifetimes), len(pauses), len(seeds))
	}
}

// Rule 6, without the jitter's exact value.
func TestIdleConnectionsEndInTime(t *testing.T) {
	check(t, everything, property{
		before: func(l *ledger, e core.Effect) string {
			c, ok := e.(core.Close)
			if !ok || l.known(c.Conn) == nil {
				return ""
			}
			conn, limits := l.known(c.Conn), l.limits
			switch c.Reason {
			case model.LifetimeOver:
				if least, _ := lifetimes(limits); limits.MaxLifetime <= 0 || l.now < conn.created+least {
					return fmt.Sprintf("it was dialed at %v only", conn.created)
				}
			case model.IdleTimeOver:
				if limits.MaxIdleTime <= 0 || l.now < conn.lastUsed+limits.MaxIdleTime {
					return fmt.Sprintf("it was idle since %v only", conn.lastUsed)
				}
			}
			return ""
		},
		after: func(l *ledger, _ entry) string {
			for _, c := range l.in(idle) {
				if _, most := lifetimes(l.limits); l.limits.MaxLifetime > 0 && c.created+most <= l.now {
					return fmt.Sprintf("conn %d is idle, but was dialed at %v", c.id, c.created)
				}
				if most := l.limits.MaxIdleTime; most > 0 && c.lastUsed+most <= l.now {
					return fmt.Sprintf("conn %d is idle since %v", c.id, c.lastUsed)
				}
			}
			return ""
		},
	})
}
