package bench

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// Workload says which workspaces are asked for, by whom, and when.
type Workload struct {
	Name string `json:"name"`
	// What it is, after "name: n workspaces".
	What string `json:"what"`
	// Fits: no more workspaces than have room with all the connections that they
	// may have.
	Fits bool `json:"fits"`
	// Zipf is how uneven their popularity is: the k-th is asked for 1/k^Zipf as often
	// as the first; 0 is uniform.
	Zipf float64 `json:"zipf"`
	// BurstOf: each worker sends so many requests at once, every BurstEveryMs, and
	// waits for the next burst; 0: it never waits. A burst should be over before the
	// next one where the server keeps up.
	BurstOf      int `json:"burstOf"`
	BurstEveryMs int `json:"burstEveryMs"`
	// Noisy: half of the workers ask for the first workspace only; the others ask
	// for all but this one.
	Noisy bool `json:"noisy"`
}

//go:embed workloads.json
var builtIn []byte

// Workloads are those of the protocol, in the order of the report.
func Workloads() []Workload {
	all, err := readWorkloads(builtIn)
	if err != nil {
		panic(err) // a test would have told
	}
	return all
}

// ReadWorkloads reads a file like workloads.json.
func ReadWorkloads(file string) ([]Workload, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all, err := readWorkloads(content)
	if err != nil {
		return nil, fmt.Errorf("%s holds no workloads: %w (docs/benchmarks.md describes the file)", file, err)
	}
	return all, nil
}

func readWorkloads(content []byte) (all []Workload, err error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || len(all) == 0 {
		return nil, errors.New("it must be one array with at least one workload")
	}
	known := map[string]bool{}
	for i, w := range all {
		switch {
		case w.Name == "" || known[w.Name]:
			return nil, fmt.Errorf("workload %d has no name of its own", i+1)
		case w.Zipf < 0 || w.BurstOf < 0 || w.BurstEveryMs < 0 || (w.BurstOf > 0) != (w.BurstEveryMs > 0):
			return nil, fmt.Errorf("workload %q: zipf must be 0 or more, and burstOf and burstEveryMs both 0 or both more", w.Name)
		}
		known[w.Name] = true
	}
	return all, nil
}

// workspaces is how many it asks for.
func (w Workload) workspaces(o Options) int {
	if w.Fits {
		return max(1, o.workspaceBudget()/o.Cap)
	}
	return o.Workspaces
}

// limited: the requests that find no connection bound what is possible, so the
// share of that bound is reported.
func (w Workload) limited() bool { return !w.Fits && w.BurstOf == 0 && !w.Noisy }

// quiet: a request for that workspace is one of those whom the others must not push
// aside: the half that is asked for least, or all but the noisy one. Where all are
// equally popular nobody is.
func (w Workload) quiet(workspace, workspaces int) bool {
	if w.Noisy {
		return workspace > 0
	}
	return w.Zipf > 0 && workspace >= workspaces/2
}

// crowd are the workers: the last ones are the noisy neighbours, if there are any.
type crowd struct{ workers, noisy int }

// crowds: a workload with a noisy neighbour runs twice, the first time without it.
func (w Workload) crowds(workers int) []crowd {
	if w.Noisy {
		quiet := max(1, workers/2)
		noisy := max(1, workers-quiet)
		return []crowd{{workers: quiet}, {quiet + noisy, noisy}}
	}
	return []crowd{{workers: workers}}
}

// picker says which workspace a worker asks for next. The same worker of the same
// round asks for the same ones in the same order, whatever strategy serves it.
func (w Workload) picker(workspaces int, noisy bool, seed uint64, round, worker int) func() int {
	rng := rand.New(rand.NewPCG(seed+uint64(round), uint64(worker)))
	switch {
	case !w.Noisy:
		p := stage.NewPopularity(workspaces, w.Zipf)
		return func() int { return p.Pick(rng) }
	case !noisy:
		p := stage.NewPopularity(max(1, workspaces-1), w.Zipf)
		return func() int { return min(1+p.Pick(rng), workspaces-1) }
	}
	return func() int { return 0 }
}

// untilBurst is how long a worker that has sent so many requests waits before the
// next one, so long after the turn's beginning.
func (w Workload) untilBurst(sent int, since time.Duration) time.Duration {
	if w.BurstOf == 0 || sent%w.BurstOf != 0 {
		return 0
	}
	every := time.Duration(w.BurstEveryMs) * time.Millisecond
	return every - since%every
}
