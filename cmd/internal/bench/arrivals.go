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
	Name, What string
	// next draws a request of the time t out of so many workspaces.
	next func(rng *rand.Rand, t time.Duration, workspaces int) int
	// session is how many requests follow each other in the same workspace.
	session int
}

const (
	// pauseInSession is how long a user of a session pauses on average between two requests.
	pauseInSession = 300 * time.Millisecond
	// hotSet is how many workspaces most requests of the shifting trace want, hotFor how long
	// each of them is one of these, and hotPart how many requests in ten want one.
	hotSet  = 25
	hotFor  = 20 * time.Second
	hotPart = 0.8
)

// Traces are those of the planner's table.
func Traces() []Trace {
	return []Trace{
		{Name: "zipf 1.2", What: "the k-th workspace is asked for 1/k^1.2 as often as the first", next: popular(1.2)},
		{Name: "zipf 1.0", What: "1/k as often", next: popular(1)},
		{Name: "uniform", What: "all as often", next: popular(0)},
		{Name: "sessions", What: "20 requests in a row for one workspace, all as often", next: popular(0), session: 20},
		{Name: "shifting", What: "80 % of the requests want 25 of the workspaces, each for 20 s", next: shifting},
		{Name: "noisy", What: "half of the requests want one workspace, the others zipf 1.0", next: noisy},
	}
}

func popular(zipf float64) func(*rand.Rand, time.Duration, int) int {
	all := map[int]stage.Popularity{}
	return func(rng *rand.Rand, _ time.Duration, n int) int {
		p, ok := all[n]
		if !ok {
			p = stage.NewPopularity(n, zipf)
			all[n] = p
		}
		return p.Pick(rng)
	}
}

func shifting(rng *rand.Rand, t time.Duration, n int) int {
	if rng.Float64() >= hotPart {
		return rng.IntN(n)
	}
	first := int(t * hotSet / hotFor)
	return (first + rng.IntN(hotSet)) % n
}

func noisy(rng *rand.Rand, t time.Duration, n int) int {
	if rng.IntN(2) == 0 {
		return 0
	}
	return 1 + others(rng, t, n-1)
}

var others = popular(1)

// Arrivals are the requests of so long, about rate of them each second, in the order in
// which they come. Their times are independent (a Poisson process), and each holds its
// connection for an exponentially distributed time. rate may change with the time.
func (tr Trace) Arrivals(seed uint64, workspaces int, rate func(time.Duration) float64, held, long time.Duration) []Arrival {
	rng := rand.New(rand.NewPCG(seed, 0))
	length := max(1, tr.session)
	var all []Arrival
	for t := time.Duration(0); ; {
		t += exponential(rng, time.Duration(float64(time.Second)*float64(length)/rate(t)))
		if t >= long {
			break
		}
		workspace := tr.next(rng, t, workspaces)
		for i, at := 0, t; i < length && at < long; i++ {
			all = append(all, Arrival{at, workspace, exponential(rng, held)})
			at += exponential(rng, pauseInSession)
		}
	}
	slices.SortStableFunc(all, func(a, b Arrival) int { return cmp.Compare(a.At, b.At) })
	return all
}

func exponential(rng *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(rng.ExpFloat64() * float64(mean))
}
