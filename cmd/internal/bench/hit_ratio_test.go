package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

// sequential is the trace of one worker who uses one connection after another.
func sequential(workspaces ...int) []Event {
	var events []Event
	for i, workspace := range workspaces {
		events = append(events,
			Event{Request: i, Workspace: workspace}, Event{Request: i, Workspace: workspace, Release: true})
	}
	return events
}

// trace reads "+1a -1 +2b": request 1 acquires workspace a, releases it, and so on.
func trace(t *testing.T, script ...string) []Event {
	t.Helper()
	var events []Event
	workspaces := map[byte]int{}
	for _, step := range script {
		request := step[1]
		switch {
		case step[0] == '+' && len(step) == 3:
			workspaces[request] = int(step[2])
			events = append(events, Event{Request: int(request), Workspace: int(step[2])})
		case step[0] == '-' && len(step) == 2:
			events = append(events, Event{Request: int(request), Workspace: workspaces[request], Release: true})
		default:
			t.Fatalf("cannot read step %q", step)
		}
	}
	return events
}

func check(t *testing.T, what string, got float64, hits, acquires int) {
	t.Helper()
	if want := float64(hits) / float64(acquires); math.Abs(got-want) > 1e-12 {
		t.Errorf("%s: %.4f, want %d hits in %d", what, got, hits, acquires)
	}
}

func TestTheRatiosOfTheTextbooksAreFound(t *testing.T) {
	// Silberschatz, Galvin, Gagne: Operating System Concepts, "Page
	// Replacement": with three frames 12 faults for LRU, 9 for the optimum.
	silberschatz := sequential(7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1)
	check(t, "LRU, 3 frames", LRUHitRatio(silberschatz, 3, 1), 20-12, 20)
	check(t, "optimum, 3 frames", BeladyHitRatio(silberschatz, 3, 1), 20-9, 20)

	// Belady, Nelson, Shedler: An anomaly in space-time characteristics of
	// certain programs running in a paging machine (CACM 1969). On its string
	// LRU has 10 faults with three frames and 8 with four, the optimum 7 and 6.
	belady := sequential(1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5)
	check(t, "LRU, 3 frames", LRUHitRatio(belady, 3, 1), 12-10, 12)
	check(t, "LRU, 4 frames", LRUHitRatio(belady, 4, 1), 12-8, 12)
	check(t, "optimum, 3 frames", BeladyHitRatio(belady, 3, 1), 12-7, 12)
	check(t, "optimum, 4 frames", BeladyHitRatio(belady, 4, 1), 12-6, 12)
}

func TestHitRatiosOfTracesWorkedOutByHand(t *testing.T) {
	for _, c := range []struct {
		name                string
		script              []string
		slots, perWorkspace int
		lru, belady         int
	}{
		{
			"nothing is evicted while there is a free slot",
			[]string{"+1a", "+2b", "+3c", "-1", "-2", "-3", "+4a", "+5b", "+6c"},
			3, 1, 3, 3,
		},
		{
			"a connection in use is never evicted",
			// a is the older, but 3 can only have b's slot.
			[]string{"+1a", "+2b", "-2", "+3c", "-3", "-1", "+4a"},
			2, 1, 1, 1,
		},
		{
			"the order of the releases counts, not that of the acquires",
			// LRU evicts b, which came home first.
			[]string{"+1a", "+2b", "-2", "-1", "+3c", "-3", "+4a"},
			2, 1, 1, 1,
		},
		{
			"the most recently released connection of a workspace is lent first",
			// a's two are from times 1 and 3, b's is from time 2. 4 takes the one
			// from 3, and brings it back; so c takes the slot of the one from 1,
			// and b and one of a are still there.
			[]string{"+1a", "+2a", "+3b", "-1", "-3", "-2", "+4a", "-4", "+5c", "+6b", "+7a"},
			3, 2, 3, 3,
		},
		{
			"a workspace's second connection is spared first if only one is needed again",
			// LRU takes b's slot, though a will not need two again.
			[]string{"+1b", "-1", "+2a", "+3a", "-2", "-3", "+4c", "-4", "+5a", "-5", "+6b"},
			3, 2, 1, 2,
		},
		{
			"a workspace's second connection is kept if it is needed sooner",
			// The optimum gives b's slot to c, and both of a's are hits.
			[]string{"+1a", "+2a", "-1", "-2", "+3b", "-3", "+4c", "-4", "+5a", "+6a", "-5", "-6", "+7b"},
			3, 2, 1, 2,
		},
		{
			"above the cap an acquire waits for a release of its workspace",
			[]string{"+1a", "+2a", "-1", "-2", "+3a"},
			5, 1, 2, 2,
		},
		{
			"without a slot an acquire waits for that of any workspace",
			// 3 gets 1's slot, so 4 is a miss that has to wait for 2.
			[]string{"+1a", "+2b", "+3c", "-1", "+4a", "-2", "-3", "-4", "+5a", "+6c"},
			2, 1, 2, 2,
		},
		{
			"who waited and was over is served at once",
			// 2 and 3 are both over when 1 comes home: two hits.
			[]string{"+1a", "+2a", "+3a", "-2", "-3", "-1", "+4a"},
			5, 1, 3, 3,
		},
		{
			"a slot goes on from a waiter that is over to the next",
			// 1 comes home: its slot serves 2, which is over, and then 3.
			[]string{"+1a", "+2b", "+3c", "-2", "-1", "-3", "+4c"},
			1, 1, 1, 1,
		},
		{
			"who was served by its workspace leaves the queue for slots",
			// 1's connection goes to 3, so b's slot is for 4, and 5 finds c's.
			[]string{"+1a", "+2b", "+3a", "-1", "+4c", "-2", "-4", "+5c"},
			2, 2, 2, 2,
		},
		{
			"who is never served is no hit",
			[]string{"+1a", "+2a"},
			1, 1, 0, 0,
		},
		{
			"a release without its acquire does nothing",
			[]string{"-9", "+1a", "-9", "+2a", "-1"},
			2, 2, 0, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := trace(t, c.script...)
			acquires := 0
			for _, event := range events {
				if !event.Release {
					acquires++
				}
			}
			check(t, "LRU", LRUHitRatio(events, c.slots, c.perWorkspace), c.lru, acquires)
			check(t, "Belady", BeladyHitRatio(events, c.slots, c.perWorkspace), c.belady, acquires)
		})
	}
}

func TestATraceWithoutAnAcquireHasTheRatioZero(t *testing.T) {
	if lru, belady := LRUHitRatio(nil, 3, 1), BeladyHitRatio(nil, 3, 1); lru != 0 || belady != 0 {
		t.Errorf("LRU %v, Belady %v, want 0", lru, belady)
	}
}

// A million events; their time must grow hardly faster than their number.
func BenchmarkHitRatios(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.2, 1, 9999)
	workspaces := make([]int, 500_000)
	for i := range workspaces {
		workspaces[i] = int(zipf.Uint64())
	}
	events := sequential(workspaces...)
	for name, ratio := range map[string]func([]Event, int, int) float64{"LRU": LRUHitRatio, "Belady": BeladyHitRatio} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				ratio(events, 1000, 3)
			}
		})
	}
}
