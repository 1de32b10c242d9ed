package bench

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// Arrival is a request that comes when it comes, whether the others were served or not.
type Arrival struct {
	At        time.Duration
	Workspace int
	// Held is how long it keeps the connection.
	Held time.Duration
}

// Trace is a kind of traffic, whose requests arrive independently of how fast they are
// served. A [Workload]'s workers wait for each answer; then a smaller budget would also have
// fewer requests, and what one budget saw would say little of another.
type Trace struct {
	Name string
	// among returns what picks each request's workspace, out of so many.
	among func(workspaces int) picker
	// session is how many requests follow each other in the same workspace.
	session int
}

// picker returns the workspace of a request that comes at t.
type picker func(rng *rand.Rand, t time.Duration) int

const (
	// pauseInSession is how long a user of a session pauses on average between two requests.
	pauseInSession = 300 * time.Millisecond
	// hotPart of the requests of the shifting trace want one of hotSet workspaces. Each
	// workspace is one of these for hotFor.
	hotSet  = 25
	hotFor  = 20 * time.Second
	hotPart = 0.8
)

// Traces are those of the planner's table.
func Traces() []Trace {
	return []Trace{
		// The k-th workspace is asked for 1/k^1.2 as often as the first.
		{Name: "zipf 1.2", among: popular(1.2)},
		{Name: "zipf 1.0", among: popular(1)},
		{Name: "uniform", among: popular(0)},
		// 20 requests in a row for one workspace, all as often.
		{Name: "sessions", among: popular(0), session: 20},
		{Name: "shifting", among: shifting},
		// Half of the requests want one workspace, the others are as in zipf 1.0.
		{Name: "noisy", among: noisy},
	}
}

func popular(zipf float64) func(int) picker {
	return func(workspaces int) picker {
		p := stage.NewPopularity(workspaces, zipf)
		return func(rng *rand.Rand, _ time.Duration) int { return p.Pick(rng) }
	}
}

func shifting(workspaces int) picker {
	return func(rng *rand.Rand, t time.Duration) int {
		if rng.Float64() >= hotPart {
			return rng.IntN(workspaces)
		}
		return (int(t*hotSet/hotFor) + rng.IntN(hotSet)) % workspaces
	}
}

func noisy(workspaces int) picker {
	others := popular(1)(workspaces - 1)
	return func(rng *rand.Rand, t time.Duration) int {
		if rng.IntN(2) == 0 {
			return 0
		}
		return 1 + others(rng, t)
	}
}

// Arrivals are the requests of so long, about rate of them each second, in the order in
// which they come. Their times are independent (a Poisson process), and each holds its
// connection for an exponentially distributed time. rate may change with the time.
func (tr Trace) Arrivals(seed uint64, workspaces int, rate func(time.Duration) float64, held, long time.Duration) []Arrival {
	rng, workspace := rand.New(rand.NewPCG(seed, 0)), tr.among(workspaces)
	length := max(1, tr.session)
	var all []Arrival
	for t := time.Duration(0); ; {
		t += exponential(rng, time.Duration(float64(time.Second)*float64(length)/rate(t)))
		if t >= long {
			break
		}
		w := workspace(rng, t)
		for i, at := 0, t; i < length && at < long; i++ {
			all = append(all, Arrival{at, w, exponential(rng, held)})
			at += exponential(rng, pauseInSession)
		}
	}
	slices.SortStableFunc(all, func(a, b Arrival) int { return cmp.Compare(a.At, b.At) })
	return all
}

func exponential(rng *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(rng.ExpFloat64() * float64(mean))
}
