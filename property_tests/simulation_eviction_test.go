package property_tests

import (
	"math"
	"sort"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// misses runs requests for the workspaces of a trace, one each millisecond that holds its
// connection for up to ten, and says how many of them a dial was for, once the pool was warm.
func misses(t *testing.T, eviction model.Eviction, trace func(*simulation) func() int) float64 {
	t.Helper()
	const warm, all = 10_000, 40_000
	s := newSimulation(t, 16, model.Limits{
		Budget: 90, PerWorkspace: 3, MaxWaiters: 10_000, MaxWaitersPerWorkspace: 1000, MaxDialing: 32,
		Patience: ms(20), BackoffMin: ms(20), BackoffMax: time.Second, CloseGrace: time.Second, ProbeAfter: time.Second,
		Eviction: eviction,
	})
	s.checkEvery = 4096
	pick := trace(s)
	dials := func() uint64 { return s.core.Stats(s.now).Counters.Dials }
	var before uint64
	for i := range all {
		if i == warm {
			before = dials()
		}
		s.acquire(tenant(pick()), 0, func(g core.Grant) {
			s.after(latency{0, ms(10)}.draw(s.rng), func() { s.send(core.Release{Lease: g.Lease, Conn: g.Conn}) })
		}, nil)
		s.run(s.now + ms(1))
	}
	return float64(dials()-before) / (all - warm)
}

const evictionWorkspaces = 300

// zipfOf draws workspace k with a probability of 1/k^exponent, times a constant.
func (s *simulation) zipfOf(exponent float64) func() int {
	cumulated, sum := make([]float64, evictionWorkspaces), 0.0
	for k := range cumulated {
		sum += math.Pow(float64(k+1), -exponent)
		cumulated[k] = sum
	}
	return func() int { return sort.SearchFloat64s(cumulated, s.rng.Float64()*sum) }
}

var evictionTraces = []struct {
	name  string
	trace func(*simulation) func() int
	// LRU2's misses are from least to most of LRU's.
	least, most float64
}{
	{"zipf 1.0", func(s *simulation) func() int { return s.zipfOf(1.0) }, 0.75, 0.9},
	{"zipf 1.2", func(s *simulation) func() int { return s.zipfOf(1.2) }, 0.75, 0.9},
	{"sessions of 20 requests", func(s *simulation) func() int {
		type session struct{ workspace, left int }
		sessions := make([]session, 60)
		return func() int {
			one := &sessions[s.rng.IntN(len(sessions))]
			if one.left == 0 {
				*one = session{s.rng.IntN(evictionWorkspaces), 20}
			}
			one.left--
			return one.workspace
		}
	}, 1.2, 1.6},
	{"a shifting hot set", func(s *simulation) func() int {
		n := 0
		return func() int {
			n++
			if s.rng.IntN(10) < 2 {
				return s.rng.IntN(evictionWorkspaces)
			}
			return (n/5000*40 + s.rng.IntN(60)) % evictionWorkspaces
		}
	}, 0.7, 0.85},
	{"uniform", func(s *simulation) func() int {
		return func() int { return s.rng.IntN(evictionWorkspaces) }
	}, 0.97, 1.01},
	{"one noisy workspace", func(s *simulation) func() int {
		others := s.zipfOf(1.0)
		return func() int {
			if s.rng.IntN(2) == 0 {
				return evictionWorkspaces
			}
			return others()
		}
	}, 0.75, 0.9},
}

// Where LRU2 helps, and where it does not: what begins a session was used once for long, so
// it is evicted and dialed again. -v prints the table of docs/architecture.md.
func TestSimulationWhatLRU2Saves(t *testing.T) {
	for _, test := range evictionTraces {
		lru, lru2 := misses(t, model.LRU, test.trace), misses(t, model.LRU2, test.trace)
		t.Logf("| %s | %.1f %% | %.1f %% | %.0f %% |", test.name, 100*lru, 100*lru2, 100*lru2/lru)
		if of := lru2 / lru; of < test.least || of > test.most {
			t.Errorf("%s: LRU2 has %.2f of LRU's misses, which should be from %v to %v", test.name, of, test.least, test.most)
		}
	}
}
