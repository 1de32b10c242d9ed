package planner

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
)

// Whatever is observed, and however senseless: the bounds and what the server grants hold,
// nothing busy is taken away but what the server does not grant, and a server that refused is
// left alone.
func TestABudgetKeepsItsBoundsWhateverIsObserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lowest := rapid.IntRange(1, 50).Draw(t, "lowest")
		highest := lowest + rapid.IntRange(0, 100).Draw(t, "range")
		budget := rapid.IntRange(lowest, highest).Draw(t, "budget")
		auto := NewAutoBudget(lowest, highest, budget)
		var now, refused time.Duration
		refused = -time.Hour
		o := Observation{Budget: budget}
		for step := range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.SampledFrom([]time.Duration{0, time.Second, time.Second, 20 * time.Second, time.Minute, 11 * time.Minute}).Draw(t, "passed")
			count := rapid.IntRange(0, 2*highest)
			o.Counts = model.Counts{InUse: count.Draw(t, "in use"), Dialing: count.Draw(t, "dialing") / 8, Closing: count.Draw(t, "closing") / 8, Idle: count.Draw(t, "idle")}
			o.WaitingForRoom = rapid.SampledFrom([]int{0, 0, 0, 1, 5, 100000}).Draw(t, "waiting")
			o.Grantable = rapid.SampledFrom([]int{0, 0, 0, 1, lowest, (lowest + highest) / 2, highest, 2 * highest}).Draw(t, "grantable")
			if rapid.IntRange(0, 19).Draw(t, "refused") == 0 {
				o.Refusals++
				if step > 0 { // those before the first Step are of yesterday
					refused = now
				}
			}
			o.Seen = rapid.SampledFrom([]int{0, enoughSeen}).Draw(t, "seen")
			o.HitRatio = rapid.SampledFrom([]func(int) float64{nil, knee(lowest), knee(highest), func(int) float64 { return math.NaN() }}).Draw(t, "curve")
			asked := o.Budget
			next, reason, changed := auto.Step(now, o)
			most := highest
			if o.Grantable > 0 {
				most = min(most, max(lowest, o.Grantable))
			}
			switch {
			case next < lowest || next > most:
				t.Fatalf("%d, which is not within %d and %d (%d are granted)", next, lowest, highest, o.Grantable)
			case changed != (next != budget) && asked == budget, changed != (reason != ""):
				t.Fatalf("from %d to %d: changed is %v, with the reason %q", budget, next, changed, reason)
			case changed && next < budget && next < most && next < min(most, o.Counts.Busy()+2) && asked == budget:
				t.Fatalf("%q, and %d were busy", reason, o.Counts.Busy())
			case changed && next > budget && asked == budget && now-refused < holdFor:
				t.Fatalf("%q, %v after a refusal", reason, now-refused)
			}
			budget, o.Budget = next, next
			if rapid.IntRange(0, 29).Draw(t, "by hand") == 0 {
				o.Budget = rapid.IntRange(1, 2*highest).Draw(t, "set by hand")
			}
		}
	})
}

// track is what became of a budget over time.
type track struct {
	budget  int
	turns   int // changes of direction
	up      int // +1 or -1: the last direction
	changed time.Duration
}

func (c *track) to(now time.Duration, budget int) {
	if budget == c.budget {
		return
	}
	up := 1
	if budget < c.budget {
		up = -1
	}
	if c.up == -up {
		c.turns++
	}
	c.budget, c.up, c.changed = budget, up, now
}

// A load that is constant but for its noise: the budget goes to where it belongs, with one change of
// direction at most, and stays.
func TestABudgetDoesNotOscillateUnderAConstantLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lowest := rapid.IntRange(1, 60).Draw(t, "lowest")
		highest := lowest + rapid.IntRange(0, 200).Draw(t, "range")
		budget := rapid.IntRange(lowest, highest).Draw(t, "budget")
		load := rapid.IntRange(0, highest*5/4).Draw(t, "load")
		noise := rapid.IntRange(0, load/3).Draw(t, "noise")
		needs := knee(rapid.IntRange(1, 2*highest).Draw(t, "the hit ratio's knee"))
		if lost := needs(highest) - needs(budget); math.Abs(lost-goodEnough) < 0.004 {
			t.Skip("where it begins it may be raised now, later or never")
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		lag := rapid.IntRange(0, 1).Draw(t, "steps until a budget is in force")

		auto := NewAutoBudget(lowest, highest, budget)
		inForce := make([]int, lag+1)
		for i := range inForce {
			inForce[i] = budget
		}
		c := track{budget: budget}
		const settled, end = 100 * time.Minute, 160 * time.Minute
		for now := time.Duration(0); now < end; now += 5 * time.Second { // a Step a second takes five times as long
			wanted := load + random.IntN(2*noise+1) - noise
			o := Observation{Budget: inForce[0], Seen: enoughSeen, WaitingForRoom: max(0, wanted-inForce[0])}
			o.Counts = model.Counts{InUse: min(wanted, inForce[0]), Idle: inForce[0] - min(wanted, inForce[0]), Waiting: o.WaitingForRoom}
			o.HitRatio = func(budget int) float64 { return needs(budget) + 0.004*(random.Float64()-0.5) }
			next, _, _ := auto.Step(now, o)
			inForce = append(inForce[1:], next)
			if c.to(now, next); c.turns > 1 {
				t.Fatalf("at %v it turned for the second time, to %d", now, next)
			}
		}
		if c.changed > settled {
			t.Fatalf("it still changed at %v", c.changed)
		}
		if most := load + noise; c.budget < min(most, highest) {
			t.Fatalf("it came to %d, and up to %d are busy", c.budget, most)
		}
		if lost := needs(highest) - needs(c.budget); lost > goodEnough+0.002 {
			t.Fatalf("it came to %d, where the hit ratio is %.2f points worse than with %d", c.budget, 100*lost, highest)
		}
		need := load + noise + headroom(load+noise)
		for b := lowest; needs(b) < needs(highest)-chosenBy+0.004; b++ {
			need = max(need, b+1)
		}
		if most := max(lowest, need+headroom(need)); c.budget > most {
			t.Fatalf("it came to %d, and %d would do", c.budget, need)
		}
	})
}

// queue is a pool whose connections are all alike (M/M/c): acquires come at random, a
// lease lasts two seconds on average, and whoever finds all slots lent waits.
type queue struct {
	random  *rand.Rand
	now     float64 // seconds
	ends    ends    // of the leases
	waiting int
	// mostWaiting is since the last second.
	mostWaiting int
}

type ends []float64

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i] < e[j] }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(float64)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// second runs for one, at that many acquires a second and that budget.
func (q *queue) second(perSecond float64, budget int) {
	q.mostWaiting = 0
	end := q.now + 1
	arrival := q.now + q.random.ExpFloat64()/perSecond
	for {
		for q.waiting > 0 && len(q.ends) < budget {
			q.waiting--
			heap.Push(&q.ends, q.now+2*q.random.ExpFloat64())
		}
		q.mostWaiting = max(q.mostWaiting, q.waiting)
		switch {
		case len(q.ends) > 0 && q.ends[0] <= min(arrival, end):
			q.now = heap.Pop(&q.ends).(float64)
		case arrival <= end:
			q.now = arrival
			q.waiting++
			arrival += q.random.ExpFloat64() / perSecond
		default:
			q.now = end
			return
		}
	}
}

// A closed loop: what the budget does decides what is observed. The load triples after
// an hour, falls back after another, and goes on for three.
// loop runs a queue and an AutoBudget in a closed loop: what the one does decides what
// the other sees. The load triples after an hour, falls back after another, and goes on for three.
type loop struct {
	track
	low         int           // the budget after an hour
	firstWaiter time.Duration // of the second hour
	raised      time.Duration // the first time in the second hour
	waited      int           // seconds with waiters for room, from the second hour on
	back        time.Duration // how long after the fall it was near low again
}

func runLoop(seed uint64) (l loop) {
	q := queue{random: rand.New(rand.NewPCG(seed, 0))}
	auto := NewAutoBudget(20, 200, 120)
	l.budget = 120
	for now := time.Duration(0); now < 5*time.Hour; now += time.Second {
		perSecond := 15. // 30 busy
		if now >= time.Hour && now < 2*time.Hour {
			perSecond = 45
		}
		q.second(perSecond, l.budget)
		next, _, _ := auto.Step(now, Observation{
			Budget: l.budget, WaitingForRoom: q.mostWaiting,
			Counts: model.Counts{InUse: len(q.ends), Idle: max(0, l.budget-len(q.ends)), Waiting: q.waiting},
		})
		switch {
		case now < time.Hour:
			l.low = next
		case q.mostWaiting > 0 && l.firstWaiter == 0:
			l.firstWaiter = now
		case now > 2*time.Hour && l.back == 0 && next <= l.low+headroom(l.low):
			l.back = now - 2*time.Hour
		}
		if now >= time.Hour && l.raised == 0 && next > l.budget {
			l.raised = now
		}
		if now >= time.Hour && q.mostWaiting > 0 {
			l.waited++
		}
		l.to(now, next)
	}
	return l
}

func TestABudgetFollowsALoadThatTriplesAndFallsBack(t *testing.T) {
	const seeds = 10
	turned, late := 0, 0
	for seed := range uint64(seeds) {
		l := runLoop(seed)
		t.Logf("seed %d: %+v", seed, l)
		if l.firstWaiter == 0 || l.raised == 0 || l.raised > l.firstWaiter+2*time.Second {
			t.Errorf("seed %d: somebody waited for room at %v, and it was raised at %v", seed, l.firstWaiter, l.raised)
		}
		if l.waited > 10 {
			t.Errorf("seed %d: somebody waited for room in %d seconds", seed, l.waited)
		}
		if l.back == 0 || l.back > 25*time.Minute {
			t.Errorf("seed %d: it was back %v after the load was", seed, l.back)
		}
		// Down to the load, up, and down again. An exponential lease has no longest one: now
		// and then a peak is larger than any before.
		if l.turns > 2 {
			turned++
		}
		if l.changed > 4*time.Hour {
			late++
		}
	}
	if turned > seeds/5 || late > seeds/5 {
		t.Errorf("of %d budgets %d turned more than twice, and %d changed in the last hour", seeds, turned, late)
	}
}
