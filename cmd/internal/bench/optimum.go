package bench

import "math"

// LRUHitRatio is the share of the trace's acquires that would have found an idle
// connection if a pool of so many slots, and at most perWorkspace of them for
// one workspace, had always evicted the connection that was released the
// longest time ago.
//
// An acquire takes the most recently released idle connection of its workspace:
// a hit. With none it is a miss, and opens one: in a free slot, or in that of an
// evicted idle connection. Opening and closing take no time here, so a real pool
// that spends slots on them does well to come close.
//
// A trace's acquire stands where it succeeded, so a pool's own trace at its own
// limits has room for each. Another pool's trace may ask for more. An acquire
// for which there is no room waits: the next release of its workspace serves it,
// which is a hit; or, below the workspace's cap, the next connection of any
// workspace that becomes idle gives it its slot, which is a miss. Who waited
// longest is first, but a workspace's own waiters are before all others. It
// still ends where the trace releases it; if that is over by the time when it is
// served, at once. An acquire that is never served is no hit. A trace without an
// acquire has the ratio 0.
func LRUHitRatio(events []Event, slots, perWorkspace int) float64 {
	r := newReplay(slots, perWorkspace)
	r.spare = func(w *tenant) int { return -w.idleSince[0] }
	return r.hitRatio(events)
}

// BeladyHitRatio is the same for a pool that knows the future and evicts the
// idle connection that is needed again the latest. No pool can do better on a
// trace that stays within the limits; where acquires have to wait, it is a good
// guess.
func BeladyHitRatio(events []Event, slots, perWorkspace int) float64 {
	r := newReplay(slots, perWorkspace)
	needs := futureNeeds(events, perWorkspace)
	r.spare = func(w *tenant) int { return needs.next(w.id, w.open(), r.now) }
	return r.hitRatio(events)
}

// laterHitRatio is an LRU's hit ratio after the first warm events, from those of
// all events and of the first ones: an LRU does not know the future, so the hits
// of the first ones are the same in both.
func laterHitRatio(events []Event, warm int, all, first float64) float64 {
	total, before := acquires(events), acquires(events[:warm])
	if total == before {
		return all
	}
	return (all*float64(total) - first*float64(before)) / float64(total-before)
}

func acquires(events []Event) (n int) {
	for _, e := range events {
		if !e.Release {
			n++
		}
	}
	return n
}

// replay plays a trace to an imagined pool.
type replay struct {
	slots, perWorkspace int
	// spare says how well one of the workspace's idle connections can be spared: that
	// of the highest is evicted.
	spare func(*tenant) int

	now      int // the event's place in the trace
	releases int // so far: the clock of idleSince
	open     int // in use or idle, of all workspaces
	tenants  map[int]*tenant
	order    []*tenant        // the same ones, in the order in which they were asked for
	requests map[int]*request // not released yet
	waiting  []*request       // oldest first; some were served since

	hits int
}

// tenant is a workspace in a replay.
type tenant struct {
	id        int
	inUse     int
	idleSince []int // one for each idle connection, the oldest first
	waiting   []*request
}

func (w *tenant) open() int { return w.inUse + len(w.idleSince) }

type request struct {
	tenant *tenant
	served bool
	over   bool // its release came before it was served
}

func newReplay(slots, perWorkspace int) *replay {
	return &replay{
		slots: slots, perWorkspace: perWorkspace,
		tenants: map[int]*tenant{}, requests: map[int]*request{},
	}
}

func (r *replay) hitRatio(events []Event) float64 {
	for i, event := range events {
		r.now = i
		if event.Release {
			r.release(event.Request)
		} else {
			r.acquire(event)
		}
	}
	return quotient(float64(r.hits), float64(acquires(events)))
}

func (r *replay) acquire(event Event) {
	w := r.tenants[event.Workspace]
	if w == nil {
		w = &tenant{id: event.Workspace}
		r.tenants[event.Workspace] = w
		r.order = append(r.order, w)
	}
	asked := &request{tenant: w}
	r.requests[event.Request] = asked
	if idle := len(w.idleSince); idle > 0 {
		w.idleSince = w.idleSince[:idle-1]
		w.inUse++
		asked.served = true
		r.hits++
		return
	}
	if !r.dial(asked) {
		w.waiting = append(w.waiting, asked)
		r.waiting = append(r.waiting, asked)
	}
}

// dial opens a connection for the request, if there is room for one.
func (r *replay) dial(asked *request) bool {
	if asked.tenant.open() >= r.perWorkspace || r.open >= r.slots && !r.evict() {
		return false
	}
	asked.tenant.inUse++
	r.open++
	asked.served = true
	return true
}

// evict asks all workspaces: dials are few beside the other events.
func (r *replay) evict() bool {
	var victim *tenant
	best := 0
	for _, w := range r.order {
		if len(w.idleSince) == 0 {
			continue
		}
		if spare := r.spare(w); victim == nil || spare > best {
			victim, best = w, spare
		}
	}
	if victim == nil {
		return false
	}
	victim.idleSince = victim.idleSince[1:]
	r.open--
	return true
}

func (r *replay) release(number int) {
	asked := r.requests[number]
	delete(r.requests, number)
	switch {
	case asked == nil: // the trace began after its acquire
	case !asked.served:
		asked.over = true
	default:
		r.free(asked.tenant)
	}
}

// free passes a connection of w on that has no user any more. Whom it serves
// may be over, so that there is one to pass on again.
func (r *replay) free(w *tenant) {
	for w != nil {
		if r.handOff(w) {
			return
		}
		w.inUse--
		w.idleSince = append(w.idleSince, r.releases)
		r.releases++
		w = r.serveAnother()
	}
}

// handOff gives a connection of w to its waiters; false: none of them keeps it.
func (r *replay) handOff(w *tenant) bool {
	for len(w.waiting) > 0 {
		asked := w.waiting[0]
		w.waiting = w.waiting[1:]
		if asked.served {
			continue
		}
		asked.served = true
		r.hits++
		if !asked.over {
			return true
		}
	}
	return false
}

// serveAnother gives a slot to the oldest waiter that may have one. If the
// waiter is over, it returns the workspace whose connection is free again.
func (r *replay) serveAnother() *tenant {
	for len(r.waiting) > 0 {
		asked := r.waiting[0]
		r.waiting = r.waiting[1:]
		// One whose workspace is at its cap leaves the queue for good: all
		// connections of its workspace are in use, and stay so until a release
		// serves it.
		if asked.served || !r.dial(asked) {
			continue
		}
		if asked.over {
			return asked.tenant
		}
		return nil
	}
	return nil
}

// needs knows where in the trace a workspace's n-th connection is needed: where
// an acquire raises the number that it has in use from n-1 to n. So an acquire
// is a hit when that many are open, and keeping the n-th open is a page to keep
// in a cache, whose use pins it: Belady's rule is optimal for that. A workspace
// needs its n-th connection again never before its lower ones, so the one that
// it can best spare is always the last.
type needs map[int][][]int // workspace, n-1: places in ascending order

func futureNeeds(events []Event, perWorkspace int) needs {
	n := needs{}
	inUse := map[int]int{}
	running := map[int]int{} // request: its workspace
	for i, event := range events {
		if event.Release {
			if workspace, ok := running[event.Request]; ok {
				delete(running, event.Request)
				inUse[workspace]--
			}
			continue
		}
		workspace := event.Workspace
		running[event.Request] = workspace
		inUse[workspace]++
		nth := inUse[workspace]
		if nth > perWorkspace {
			continue // it will not have that many
		}
		if nth > len(n[workspace]) {
			n[workspace] = append(n[workspace], nil)
		}
		n[workspace][nth-1] = append(n[workspace][nth-1], i)
	}
	return n
}

// next is the place after now where the workspace's n-th connection is needed.
// Time only goes forward, so what is past can be forgotten.
func (n needs) next(workspace, nth, now int) int {
	places := n[workspace][nth-1]
	for len(places) > 0 && places[0] <= now {
		places = places[1:]
	}
	n[workspace][nth-1] = places
	if len(places) == 0 {
		return math.MaxInt
	}
	return places[0]
}
