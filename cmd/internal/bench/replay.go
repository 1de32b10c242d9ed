package bench

// replay plays a trace to an imagined pool.
type replay struct {
	slots, perWorkspace int
	// rank says how well one of the workspace's idle connections can be spared;
	// it changes with an event of that workspace only.
	rank func(*tenant) int

	now       int // the event's place in the trace
	releases  int // so far: the clock of idleSince
	open      int // in use or idle, of all workspaces
	tenants   map[int]*tenant
	evictable evictable
	requests  map[int]*request // not released yet
	waiting   []*request       // oldest first; some were served since

	acquires, hits int
}

// tenant is a workspace in a replay.
type tenant struct {
	id        int
	inUse     int
	idleSince []int // one for each idle connection, the oldest first
	waiting   []*request
	rank      int // in evictable
	index     int // in evictable; -1: not in there
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
	if r.acquires == 0 {
		return 0
	}
	return float64(r.hits) / float64(r.acquires)
}

func (r *replay) acquire(event Event) {
	w := r.tenants[event.Workspace]
	if w == nil {
		w = &tenant{id: event.Workspace, index: -1}
		r.tenants[event.Workspace] = w
	}
	asked := &request{tenant: w}
	r.requests[event.Request] = asked
	r.acquires++
	if idle := len(w.idleSince); idle > 0 {
		w.idleSince = w.idleSince[:idle-1]
		w.inUse++
		r.evictable.update(w, r.rank)
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
	if asked.tenant.open() >= r.perWorkspace {
		return false
	}
	if r.open >= r.slots {
		if len(r.evictable) == 0 {
			return false
		}
		victim := r.evictable[0]
		victim.idleSince = victim.idleSince[1:]
		r.open--
		r.evictable.update(victim, r.rank)
	}
	asked.tenant.inUse++
	r.open++
	asked.served = true
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
		r.evictable.update(w, r.rank)
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
