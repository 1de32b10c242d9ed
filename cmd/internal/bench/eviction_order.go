package bench

import (
	"container/heap"
	"math"
)

// evictable holds the workspaces that have an idle connection; first the one
// that can best spare it.
type evictable []*tenant

// update puts w where it belongs after a change.
func (e *evictable) update(w *tenant, rank func(*tenant) int) {
	if len(w.idleSince) == 0 {
		if w.index >= 0 {
			heap.Remove(e, w.index)
		}
		return
	}
	w.rank = rank(w)
	if w.index < 0 {
		heap.Push(e, w)
	} else {
		heap.Fix(e, w.index)
	}
}

// Len, Less, Swap, Push and Pop are for package heap.
func (e evictable) Len() int           { return len(e) }
func (e evictable) Less(i, j int) bool { return e[i].rank > e[j].rank }

func (e evictable) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

func (e *evictable) Push(x any) {
	w := x.(*tenant)
	w.index = len(*e)
	*e = append(*e, w)
}

func (e *evictable) Pop() any {
	last := len(*e) - 1
	w := (*e)[last]
	w.index = -1
	*e = (*e)[:last]
	return w
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
