package property_tests

import (
	"container/list"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func production(budget int) model.Limits {
	return model.Limits{
		Budget: budget, PerWorkspace: 3, MaxWaiters: 10_000, MaxWaitersPerWorkspace: 1000,
		MaxDialing: 8, Patience: ms(20), MaxLifetime: 10 * time.Minute, MaxIdleTime: 5 * time.Minute,
		VerifyAfter: time.Minute, BackoffMin: ms(50), BackoffMax: time.Second,
		CloseGrace: 2 * time.Second, ProbeAfter: ms(500), Seed: 1,
	}
}

// One workspace hammers with 50 handlers and could fill the whole budget. What
// the other one waits is explained by rule 2: first the flood's waiters that came
// before it or up to Patience after it, at the pace of three leases at a time;
// then one lease has to end, one connection to close and one to be dialed.
func TestAFloodDelaysOthersByItsQueueAndPatience(t *testing.T) {
	limits := production(3)
	const handlers, end = 50, 5 * time.Second
	for seed := range uint64(3) {
		s := newSimulation(t, seed, limits)
		hold := latency{ms(1), ms(2)}
		for range handlers {
			s.work(worker{pick: only("flood"), hold: hold, until: end})
		}
		s.after(ms(500), func() {
			s.work(worker{pick: only("victim"), hold: hold, think: latency{ms(1), ms(40)}, until: end})
		})
		s.run(end)
		s.log()
		bound := time.Duration(floodRounds(limits, handlers))*hold.most + limits.Patience + s.close.most + s.dial.most
		waits := s.report.all(func(id model.WorkspaceID) bool { return id == "victim" })
		t.Logf("victim: %d waits, p50 %v p99 %v max %v, bound %v", len(waits), quantile(waits, 0.5), quantile(waits, 0.99), quantile(waits, 1), bound)
		if len(waits) < 20 || quantile(waits, 1) > bound {
			t.Errorf("the victim waited up to %v, more than %v (%d waits)", quantile(waits, 1), bound, len(waits))
		}
	}
}

// floodRounds is how many leases each slot of a flood may serve before somebody
// who came after all the handlers, and the lease that is under way.
func floodRounds(limits model.Limits, handlers int) int {
	return (handlers+limits.PerWorkspace-1)/limits.PerWorkspace + 1
}

// A flood whose own queue is short compared to Patience: until its last connection
// has been open for nine times as long as its dial took, a close and a dial, as long
// as one lease ends in between.
func TestAFloodOfShortLeasesDelaysOthersByPatienceAndADial(t *testing.T) {
	limits := production(3)
	const handlers, end = 50, 2 * time.Second
	s := newSimulation(t, 1, limits)
	hold := latency{10 * time.Microsecond, 50 * time.Microsecond}
	for range handlers {
		s.work(worker{pick: only("flood"), hold: hold, until: end})
	}
	s.work(worker{pick: only("victim"), hold: hold, think: latency{ms(1), ms(40)}, until: end})
	s.run(end)
	s.log()
	waits := s.report.all(func(id model.WorkspaceID) bool { return id == "victim" })
	stays := 9 * s.dial.most // more than Patience
	bound := stays + time.Duration(floodRounds(limits, handlers))*hold.most + s.close.most + s.dial.most
	t.Logf("victim: %d waits, p99 %v, bound %v", len(waits), quantile(waits, 0.99), bound)
	if len(waits) < 30 || quantile(waits, 0.99) > bound {
		t.Errorf("the victim's p99 is %v, more than %v (%d waits)", quantile(waits, 0.99), bound, len(waits))
	}
}

// The cap leaves the rest of the budget to others: who finds a slot idle there
// waits for one close and one dial at most, however long the flood's queue.
func TestAFloodStaysBelowItsCap(t *testing.T) {
	limits := production(12)
	const end = 5 * time.Second
	s := newSimulation(t, 1, limits)
	for range 50 {
		s.work(worker{pick: only("flood"), hold: latency{ms(1), ms(20)}, until: end})
	}
	for range 4 { // with one lease each at most, never more than 4 slots are busy
		s.work(worker{pick: s.zipf(100), hold: latency{ms(1), ms(5)}, think: latency{ms(1), ms(30)}, until: end})
	}
	s.run(end)
	s.log()
	waits := s.report.all(func(id model.WorkspaceID) bool { return id != "flood" })
	if bound := s.close.most + s.dial.most; len(waits) < 500 || quantile(waits, 1) > bound {
		t.Errorf("the others waited up to %v, more than %v (%d waits)", quantile(waits, 1), bound, len(waits))
	}
}

// Ten times more work than slots, all the time. When somebody has waited for
// Patience, nobody who comes later is served before; those who came earlier are at
// most all the other handlers, and each takes a slot for a close, a dial and a
// lease at most.
func TestNobodyStarvesUnderOverload(t *testing.T) {
	const handlers, workspaces, end = 100, 40, 5 * time.Second
	for seed := range uint64(3) {
		limits := production(10)
		limits.PerWorkspace = limits.Budget
		limits.MaxDialing = limits.Budget
		s := newSimulation(t, seed, limits)
		hold := latency{ms(1), ms(10)}
		for range handlers {
			s.work(worker{pick: s.uniform(workspaces), hold: hold, until: end})
		}
		s.run(end)
		s.log()
		turn := s.close.most + s.dial.most + hold.most
		bound := limits.Patience + time.Duration(handlers/limits.Budget+1)*turn
		all := s.report.all(nil)
		t.Logf("bound %v", bound)
		if quantile(all, 1) > bound {
			t.Errorf("somebody waited for %v, more than %v", quantile(all, 1), bound)
		}
		if s.server.refusals > 0 || s.server.most > limits.Budget {
			t.Errorf("%d backends at once, %d dials refused: the budget was exceeded", s.server.most, s.server.refusals)
		}
	}
}

// fill asks for one connection for each slot, never to be given back, and returns
// how many came in time.
func (s *simulation) fill(slots int, within time.Duration) int {
	got := 0
	for i := range slots {
		id := tenant(1000 + i)
		var ask func()
		ask = func() {
			s.acquire(id, 0, func(g core.Grant) {
				if s.alive(g.Conn) {
					got++
					return
				}
				s.after(ms(1), func() {
					s.send(core.Release{Lease: g.Lease, Conn: g.Conn, Health: core.Lost})
					ask()
				})
			}, nil)
		}
		ask()
	}
	s.run(s.now + within)
	return got
}

func TestAfterAServerRestartTheWholeBudgetIsFilled(t *testing.T) {
	for seed := range uint64(5) {
		limits := production(20)
		s := newSimulation(t, seed, limits)
		const down, up = time.Second, 4 * time.Second
		for range 60 {
			s.work(worker{pick: s.zipf(50), hold: latency{ms(1), ms(20)}, think: latency{0, ms(5)}, deadline: ms(500), until: up})
		}
		s.run(down)
		s.server.down = true
		s.server.life++ // all backends are dead; who uses one finds out
		before := s.core.Stats(s.now).Counters.Dials
		s.run(up)
		tried := s.core.Stats(s.now).Counters.Dials - before
		// 50, 100, ... 1000 ms, each between half and all: 5 pauses below a
		// second and then at least half a second each, plus what was under way.
		if most := uint64(limits.MaxDialing + 5 + 6); tried > most {
			t.Errorf("the server was tried %d times while it was down, more than %d", tried, most)
		}
		s.server.down = false
		s.log()
		if got := s.fill(limits.Budget, 2*time.Second); got < limits.Budget {
			t.Errorf("two seconds after the restart %d of %d slots were filled: %+v", got, limits.Budget, s.core.Stats(s.now).Counts)
		}
	}
}

// Others take half of the server, which has just the budget, and give it back.
func TestAfterAStormOfRefusalsTheWholeBudgetIsUsable(t *testing.T) {
	for seed := range uint64(5) {
		limits := production(20)
		s := newSimulation(t, seed, limits)
		s.server.others = 10
		const back = 4 * time.Second
		for range 60 {
			s.work(worker{pick: s.uniform(50), hold: latency{ms(1), ms(20)}, deadline: ms(500), until: back})
		}
		s.run(back)
		s.log()
		// The first dials find the server full while others of them succeed;
		// then each probe may.
		if most := limits.MaxDialing + int(back/limits.ProbeAfter); s.server.refusals == 0 || s.server.refusals > most {
			t.Errorf("%d dials were refused, not between 1 and %d", s.server.refusals, most)
		}
		if got := s.core.Stats(s.now).Open(); got < 8 {
			t.Errorf("of the 10 slots that the server has for it, it uses %d", got)
		}
		s.server.others = 0
		if got := s.fill(limits.Budget, 5*time.Second); got < limits.Budget {
			t.Errorf("five seconds after the storm %d of %d slots were filled: %+v", got, limits.Budget, s.core.Stats(s.now).Counts)
		}
	}
}

// The order of eviction over all workspaces is LRU to the letter: on a trace
// without concurrency it hits exactly as often as a list of that length.
func TestHitsAreThoseOfAnLRUList(t *testing.T) {
	for seed := range uint64(3) {
		limits := production(64)
		limits.MaxLifetime, limits.MaxIdleTime = 0, 0
		s := newSimulation(t, seed, limits)
		next := s.zipf(500)
		rng := rand.New(rand.NewPCG(seed, 1))
		lru, places, hits := list.New(), map[model.WorkspaceID]*list.Element{}, uint64(0)
		for range 5000 {
			id := next()
			if place, ok := places[id]; ok {
				hits++
				lru.MoveToFront(place)
			} else {
				if lru.Len() == limits.Budget {
					delete(places, lru.Remove(lru.Back()).(model.WorkspaceID))
				}
				places[id] = lru.PushFront(id)
			}
			s.acquire(id, 0, func(g core.Grant) {
				s.after(ms(1), func() { s.send(core.Release{Lease: g.Lease, Conn: g.Conn}) })
			}, nil)
			s.run(s.now + ms(50) + time.Duration(rng.IntN(1000)))
		}
		s.log()
		if got := s.core.Stats(s.now).Counters.Hits; got != hits {
			t.Errorf("%d hits, a list has %d", got, hits)
		}
	}
}

// A world where everything goes wrong now and then: nobody is forgotten, nobody
// waits beyond its deadline, and the server never has more backends than the
// budget.
func TestNothingIsLostInAWorldOfFailures(t *testing.T) {
	for seed := range uint64(10) {
		limits := production(10)
		limits.MaxLifetime, limits.MaxIdleTime = 2*time.Second, ms(300)
		limits.CloseGrace = ms(20)
		s := newSimulation(t, seed, limits)
		s.close = latency{0, ms(60)} // some linger
		s.fails = func(model.WorkspaceID) *core.DialFailed {
			failed := &core.DialFailed{Err: errDial, SlotHeld: s.rng.IntN(2) == 0}
			switch s.rng.IntN(20) {
			case 0, 1, 2:
				failed.Kind = model.Transient
			case 3:
				failed.Kind = model.Permanent
			case 4:
				failed.Kind = model.ServerDown
			case 5:
				failed.Kind = model.ServerFull
			default:
				return nil
			}
			return failed
		}
		const end, deadline = 10 * time.Second, 800 * time.Millisecond
		for range 30 {
			s.work(worker{pick: s.zipf(60), hold: latency{0, ms(30)}, think: latency{0, ms(50)}, deadline: deadline, until: end})
		}
		s.run(end)
		s.log()
		s.send(core.Drain{})
		s.run(end + time.Second)
		if len(s.calls) > 0 || len(s.server.backends) > 0 {
			t.Errorf("%d acquires were never answered, %d backends never closed", len(s.calls), len(s.server.backends))
		}
		if longest := quantile(s.report.all(nil), 1); longest > deadline {
			t.Errorf("somebody waited for %v", longest)
		}
		if s.server.most > limits.Budget {
			t.Errorf("the server had %d backends of us", s.server.most)
		}
	}
}

// Twice as many workspaces as slots, and all of them always have waiters: somebody
// elsewhere is always older. If each release moved the slot there, a slot would
// serve one lease for each dial.
func TestSlotsDoNotMoveAllTheTimeWhenEverybodyWaits(t *testing.T) {
	const budget, handlers, end = 20, 1000, 5 * time.Second
	served := func(workspaces int) int {
		s := newSimulation(t, 1, production(budget))
		for range handlers {
			s.work(worker{pick: s.uniform(workspaces), hold: latency{ms(1), ms(2)}, until: end})
		}
		s.run(end)
		s.log()
		waits := s.report.all(nil)
		t.Logf("%d workspaces: %d leases, waits p50 %v p99 %v max %v", workspaces, len(waits),
			quantile(waits, 0.5), quantile(waits, 0.99), quantile(waits, 1))
		return len(waits)
	}
	fit, tooMany := served(budget/3), served(2*budget)
	if float64(tooMany) < 0.85*float64(fit) {
		t.Errorf("%d leases where all fit, %d where not", fit, tooMany)
	}
}
