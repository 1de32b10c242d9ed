package bench

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
	r.rank = func(w *tenant) int { return -w.idleSince[0] }
	return r.hitRatio(events)
}

// BeladyHitRatio is the same for a pool that knows the future and evicts the
// idle connection that is needed again the latest. No pool can do better on a
// trace that stays within the limits; where acquires have to wait, it is a good
// guess.
func BeladyHitRatio(events []Event, slots, perWorkspace int) float64 {
	r := newReplay(slots, perWorkspace)
	needs := futureNeeds(events, perWorkspace)
	r.rank = func(w *tenant) int { return needs.next(w.id, w.open(), r.now) }
	return r.hitRatio(events)
}
