package bench

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// workload says which workspaces are asked for, by whom, and when.
type workload struct {
	name string
	// what it is, after "name: n workspaces".
	what string
	// fits: no more workspaces than have room with all the connections that they
	// may have.
	fits bool
	// zipf is how uneven their popularity is; 0 is uniform.
	zipf   float64
	bursts bool
	// noisy: half of the workers ask for the first workspace only; the others ask
	// for all but this one.
	noisy bool
	// limited: the requests that find no connection bound what is possible, so the
	// share of that bound is reported.
	limited bool
}

// ordinary is the popularity of workspaces that is nothing special.
const ordinary = 1.2

// workloads in the order of the report.
func workloads() []workload {
	return []workload{
		{name: "all-fit", what: "with room for all their connections, equally popular", fits: true},
		{name: "zipf", what: "the k-th asked for 1/k^1.2 as often as the first", zipf: ordinary, limited: true},
		{name: "uniform", what: "equally popular", limited: true},
		{name: "bursty", what: fmt.Sprintf("zipf 1.2; every %v each worker has %d requests, all at once", burstEvery, burstOf), zipf: ordinary, bursts: true},
		{name: "noisy", what: "zipf 1.2; half of the workers ask for one more workspace and no other", zipf: ordinary, noisy: true},
	}
}

func (w workload) label() string { return w.name }

// Workloads are the names for Options.
func Workloads() (names []string) {
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

// workspaces is how many it asks for.
func (w workload) workspaces(s *setting) int {
	if w.fits {
		return fitting(s.options.Cap, s.config.WorkspaceBudget())
	}
	return s.options.Workspaces
}

func fitting(perWorkspace, budget int) int { return max(1, budget/perWorkspace) }

// picker says which workspace a worker asks for next. The same worker of the same
// round asks for the same ones in the same order, whatever strategy serves it.
func (w workload) picker(workspaces int, quiet bool, seed uint64, round, worker int) func() int {
	rng := rand.New(rand.NewPCG(seed+uint64(round), uint64(worker)))
	switch {
	case !w.noisy:
		p := stage.NewPopularity(workspaces, w.zipf)
		return func() int { return p.Pick(rng) }
	case quiet:
		p := stage.NewPopularity(max(1, workspaces-1), w.zipf)
		return func() int { return min(1+p.Pick(rng), workspaces-1) }
	}
	return func() int { return 0 }
}

// A burst is over before the next one where the server keeps up.
const (
	burstEvery = 200 * time.Millisecond
	burstOf    = 4
)
