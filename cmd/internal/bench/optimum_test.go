package bench

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// run is a trace and the limits that it was drawn for.
type run struct {
	events              []Event
	slots, perWorkspace int
}

func (r run) acquires() (n int) {
	for _, event := range r.events {
		if !event.Release {
			n++
		}
	}
	return n
}

// drawRun draws a trace; a fitting one never has more in use than its limits.
func drawRun(t *rapid.T, length int, fitting bool) run {
	r := run{slots: rapid.IntRange(1, 4).Draw(t, "slots"), perWorkspace: rapid.IntRange(1, 3).Draw(t, "perWorkspace")}
	workspaces := rapid.IntRange(1, 5).Draw(t, "workspaces")
	var running []Event
	inUse := map[int]int{}
	for i := range rapid.IntRange(0, length).Draw(t, "length") {
		workspace := rapid.IntRange(1, workspaces).Draw(t, "workspace")
		fits := len(running) < r.slots && inUse[workspace] < r.perWorkspace
		if len(running) > 0 && (fitting && !fits || rapid.Bool().Draw(t, "release")) {
			j := rapid.IntRange(0, len(running)-1).Draw(t, "which")
			event := running[j]
			event.Release = true
			r.events = append(r.events, event)
			inUse[event.Workspace]--
			running = slices.Delete(running, j, j+1)
			continue
		}
		event := Event{Request: i, Workspace: workspace}
		r.events = append(r.events, event)
		inUse[workspace]++
		running = append(running, event)
	}
	return r
}

// mostHits tries every eviction.
func mostHits(r run) int {
	known := map[string]int{}
	var from func(i int, inUse, open [6]int) int
	from = func(i int, inUse, open [6]int) (best int) {
		if i == len(r.events) {
			return 0
		}
		state := fmt.Sprint(i, inUse, open)
		if hits, ok := known[state]; ok {
			return hits
		}
		defer func() { known[state] = best }()
		event, workspace := r.events[i], r.events[i].Workspace
		if event.Release {
			inUse[workspace]--
			return from(i+1, inUse, open)
		}
		inUse[workspace]++
		if open[workspace] >= inUse[workspace] {
			return 1 + from(i+1, inUse, open)
		}
		all := 0
		for _, n := range open {
			all += n
		}
		open[workspace]++
		if all < r.slots {
			return from(i+1, inUse, open)
		}
		for victim := range open {
			if open[victim] > inUse[victim] {
				evicted := open
				evicted[victim]--
				best = max(best, from(i+1, inUse, evicted))
			}
		}
		return best
	}
	return from(0, [6]int{}, [6]int{})
}

// plainLRUHits keeps the idle connections in one list, the oldest first.
func plainLRUHits(r run) (hits int) {
	var idle []int // their workspaces
	inUse := 0
	for _, event := range r.events {
		if event.Release {
			inUse--
			idle = append(idle, event.Workspace)
			continue
		}
		newest := -1
		for i, workspace := range idle {
			if workspace == event.Workspace {
				newest = i
			}
		}
		if newest >= 0 {
			hits++
			idle = slices.Delete(idle, newest, newest+1)
		} else if inUse+len(idle) == r.slots {
			idle = idle[1:]
		}
		inUse++
	}
	return hits
}

func TestBeladysRatioIsTheBestOfAllEvictions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRun(t, 30, true)
		if len(r.events) == 0 {
			return
		}
		if got, want := BeladyHitRatio(r.events, r.slots, r.perWorkspace), float64(mostHits(r))/float64(r.acquires()); got != want {
			t.Fatalf("Belady %v, the best of all evictions %v\n%+v", got, want, r)
		}
	})
}

func TestTheLRURatioIsThatOfOnePlainList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRun(t, 200, true)
		if len(r.events) == 0 {
			return
		}
		if got, want := LRUHitRatio(r.events, r.slots, r.perWorkspace), float64(plainLRUHits(r))/float64(r.acquires()); got != want {
			t.Fatalf("LRU %v, one plain list %v\n%+v", got, want, r)
		}
	})
}

func TestNoLRUIsBetterThanBelady(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRun(t, 200, true)
		lru, belady := LRUHitRatio(r.events, r.slots, r.perWorkspace), BeladyHitRatio(r.events, r.slots, r.perWorkspace)
		if lru < 0 || lru > belady || belady > 1 {
			t.Fatalf("want 0 <= LRU %v <= Belady %v <= 1\n%+v", lru, belady, r)
		}
	})
}

// A pool without limits may have made the trace, or one with others.
func TestATraceThatDoesNotFitHasRatiosToo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRun(t, 200, false)
		r.slots -= rapid.IntRange(0, 4).Draw(t, "fewer slots")
		r.perWorkspace -= rapid.IntRange(0, 3).Draw(t, "a lower cap")
		for name, ratio := range map[string]float64{
			"LRU": LRUHitRatio(r.events, r.slots, r.perWorkspace), "Belady": BeladyHitRatio(r.events, r.slots, r.perWorkspace),
		} {
			if !(ratio >= 0 && ratio <= 1) {
				t.Fatalf("%s: %v, want 0 to 1\n%+v", name, ratio, r)
			}
		}
	})
}
