package property_tests

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// actorPlan is all that happens to a supervisor in one run; only what happens at
// the same moment of virtual time is left to the scheduler.
type actorPlan struct {
	limits   model.Limits
	dials    []actorDial     // what becomes of the dials, in turn
	closes   []time.Duration // how long the closes take, in turn
	callers  [][]actorRequest
	controls []actorControl
	// drainAt is when the drain begins; 0: when all callers are done.
	drainAt time.Duration
	// drainPatience is how long the first Drain waits.
	drainPatience time.Duration
}

// actorDial is what becomes of one dial.
type actorDial struct {
	takes    time.Duration
	fails    bool
	kind     model.FailureKind
	leaves   bool // a failed one leaves a connection
	stubborn bool // it does not look at its context
}

// actorRequest is one Acquire, and what its caller does before and after.
type actorRequest struct {
	think, hold      time.Duration
	workspace        model.WorkspaceID
	noWait           bool
	atMost, deadline time.Duration // 0: none
	cancelAfter      time.Duration // 0: not
	health           core.Health
	twice            bool // releases twice
}

// bound is the longest that the Acquire may take.
func (r actorRequest) bound() time.Duration {
	bound := core.Never
	for _, d := range []time.Duration{r.atMost, r.deadline, r.cancelAfter} {
		if d > 0 {
			bound = min(bound, d)
		}
	}
	return bound
}

type actorControl struct {
	at        time.Duration
	kind      actorControlKind
	workspace model.WorkspaceID
	lasts     time.Duration // a pause until its resume, and the patience of an evict or a renew
	budget    int
	cap       int
}

type actorControlKind int

const (
	actorEvict actorControlKind = iota
	actorPause
	actorLimits
	actorRenew
	actorControlKinds
)

// actorMix says what a plan may contain.
type actorMix struct {
	failures bool // dials fail, and connections come back broken
	bounds   bool // callers are impatient, and queues are short
	controls bool
	drains   bool // before the callers are done
}

const actorWorkspaces = 4

// actorTimes draws few different times, so that things happen at once.
func actorTimes(low, high int) *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.IntRange(low, high), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
}

var actorIDs = rapid.Map(rapid.IntRange(0, actorWorkspaces-1), func(n int) model.WorkspaceID {
	return model.WorkspaceID(rune('a' + n))
})

func actorPlans(m actorMix) *rapid.Generator[actorPlan] {
	return rapid.Custom(func(t *rapid.T) actorPlan {
		p := actorPlan{
			limits:  actorSomeLimits(t, m),
			dials:   rapid.SliceOfN(actorDials(m), 1, 8).Draw(t, "dials"),
			closes:  rapid.SliceOfN(actorTimes(0, 30), 1, 4).Draw(t, "closes"),
			callers: rapid.SliceOfN(rapid.SliceOfN(actorRequests(m), 1, 6), 1, 8).Draw(t, "callers"),
		}
		if m.controls {
			p.controls = rapid.SliceOfN(actorControls(p.limits), 0, 5).Draw(t, "controls")
		}
		if m.drains && rapid.Bool().Draw(t, "drains early") {
			p.drainAt = actorTimes(1, 200).Draw(t, "drain at")
			p.drainPatience = actorTimes(0, 50).Draw(t, "drain patience")
		} else { // then everybody must be served some time
			p.dials = append(p.dials, actorDial{takes: time.Millisecond})
		}
		return p
	})
}

func actorSomeLimits(t *rapid.T, m actorMix) model.Limits {
	l := model.Limits{
		Budget:                 rapid.IntRange(1, 5).Draw(t, "budget"),
		MaxWaiters:             1000,
		MaxWaitersPerWorkspace: 1000,
		MaxDialing:             rapid.IntRange(1, 4).Draw(t, "max dialing"),
		Eviction:               rapid.SampledFrom([]model.Eviction{model.LRU, model.LRU2}).Draw(t, "eviction"),
		Patience:               actorTimes(1, 20).Draw(t, "patience"),
		BackoffMin:             actorTimes(1, 20).Draw(t, "back-off"),
		CloseGrace:             actorTimes(1, 20).Draw(t, "close grace"),
		ProbeAfter:             actorTimes(1, 50).Draw(t, "probe after"),
		MaxIdleTime:            actorTimes(0, 40).Draw(t, "idle time"),
		MaxLifetime:            actorTimes(0, 100).Draw(t, "lifetime"),
		LifetimeJitter:         actorTimes(0, 50).Draw(t, "lifetime jitter"),
	}
	l.PerWorkspace = rapid.IntRange(1, l.Budget).Draw(t, "cap")
	l.BackoffMax = 8 * l.BackoffMin
	if m.bounds && rapid.IntRange(0, 3).Draw(t, "short queues") == 0 {
		l.MaxWaiters, l.MaxWaitersPerWorkspace = 3, 2
	}
	return l
}

func actorDials(m actorMix) *rapid.Generator[actorDial] {
	return rapid.Custom(func(t *rapid.T) actorDial {
		d := actorDial{takes: actorTimes(0, 30).Draw(t, "takes")}
		if m.failures {
			d.fails = rapid.IntRange(0, 2).Draw(t, "fails") == 2
			d.kind = model.FailureKind(rapid.IntRange(0, int(model.ServerFull)).Draw(t, "kind"))
			d.leaves = rapid.Bool().Draw(t, "leaves")
		}
		d.stubborn = m.drains && rapid.Bool().Draw(t, "stubborn")
		return d
	})
}

func actorRequests(m actorMix) *rapid.Generator[actorRequest] {
	return rapid.Custom(func(t *rapid.T) actorRequest {
		r := actorRequest{
			think:     actorTimes(0, 20).Draw(t, "think"),
			hold:      actorTimes(0, 30).Draw(t, "hold"),
			workspace: actorIDs.Draw(t, "workspace"),
			twice:     rapid.IntRange(0, 5).Draw(t, "twice") == 5,
		}
		if m.failures && rapid.IntRange(0, 5).Draw(t, "broken") == 5 {
			r.health = core.Health(rapid.IntRange(0, int(core.Lost)).Draw(t, "health"))
		}
		if m.bounds {
			r.noWait = rapid.IntRange(0, 5).Draw(t, "no wait") == 5
			switch rapid.IntRange(0, 4).Draw(t, "impatience") {
			case 1:
				r.atMost = actorTimes(1, 40).Draw(t, "at most")
			case 2:
				r.deadline = actorTimes(1, 40).Draw(t, "deadline")
			case 3:
				r.cancelAfter = actorTimes(1, 40).Draw(t, "cancel after")
			case 4:
				r.atMost = actorTimes(1, 40).Draw(t, "at most")
				r.cancelAfter = actorTimes(1, 40).Draw(t, "cancel after")
			}
		}
		return r
	})
}

func actorControls(l model.Limits) *rapid.Generator[actorControl] {
	return rapid.Custom(func(t *rapid.T) actorControl {
		c := actorControl{
			at:        actorTimes(0, 150).Draw(t, "at"),
			kind:      actorControlKind(rapid.IntRange(0, int(actorControlKinds)-1).Draw(t, "kind")),
			workspace: actorIDs.Draw(t, "workspace"),
			lasts:     actorTimes(1, 60).Draw(t, "lasts"),
		}
		if c.kind == actorLimits {
			c.budget = rapid.IntRange(1, l.Budget+2).Draw(t, "budget")
			c.cap = rapid.IntRange(1, c.budget).Draw(t, "cap")
		}
		return c
	})
}

func (p actorPlan) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  limits %+v\n  closes take %v\n", p.limits, p.closes)
	for i, d := range p.dials {
		fmt.Fprintf(&b, "  dial %d: %#v\n", i, d)
	}
	for i, requests := range p.callers {
		for _, r := range requests {
			fmt.Fprintf(&b, "  caller %d: %#v\n", i, r)
		}
	}
	for _, c := range p.controls {
		fmt.Fprintf(&b, "  %#v\n", c)
	}
	if p.drainAt > 0 {
		fmt.Fprintf(&b, "  drain at %v, patience %v\n", p.drainAt, p.drainPatience)
	}
	return b.String()
}

func (d actorDial) GoString() string {
	s := fmt.Sprintf("takes %v", d.takes)
	if d.stubborn {
		s += ", stubborn"
	}
	if d.fails {
		s += ", fails: " + d.kind.String()
		if d.leaves {
			s += " with a leftover"
		}
	}
	return s
}

func (r actorRequest) GoString() string {
	s := fmt.Sprintf("think %v, acquire %s", r.think, r.workspace)
	if r.noWait {
		s += " no wait"
	}
	for _, limit := range []struct {
		what string
		d    time.Duration
	}{{"at most", r.atMost}, {"deadline", r.deadline}, {"cancel after", r.cancelAfter}} {
		if limit.d > 0 {
			s += fmt.Sprintf(" %s %v", limit.what, limit.d)
		}
	}
	s += fmt.Sprintf(", hold %v, release %s", r.hold, [...]string{"clean", "unclean", "lost"}[r.health])
	if r.twice {
		s += " twice"
	}
	return s
}

func (c actorControl) GoString() string {
	switch c.kind {
	case actorEvict:
		return fmt.Sprintf("at %v evict %s, patience %v", c.at, c.workspace, c.lasts)
	case actorRenew:
		return fmt.Sprintf("at %v renew %s, patience %v", c.at, c.workspace, c.lasts)
	case actorPause:
		return fmt.Sprintf("at %v pause %s for %v", c.at, c.workspace, c.lasts)
	default:
		return fmt.Sprintf("at %v set limits %d, %d", c.at, c.budget, c.cap)
	}
}
