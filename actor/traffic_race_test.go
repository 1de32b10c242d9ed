package actor_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/model/planner"
)

// lasted is a lease: between asked and granted it began, and between releasing and released
// it ended.
type lasted struct {
	workspace                           planner.Hash
	asked, granted, releasing, released time.Duration
}

// toldTraffic is a Traffic, and when it was asked for and returned.
type toldTraffic struct {
	planner.Traffic
	asked, returned time.Duration
}

// Many callers and one that asks for the traffic all the time: each acquire is in one Ended,
// and before that in the Held of each Traffic that was asked for and returned while it lasted.
func TestEachOfManyAcquiresIsInOneTraffic(t *testing.T) {
	const enough = 1 << 20 // that no two are kept as one
	for _, test := range []struct {
		budget, perWorkspace, workspaces, callers int
		room                                      int64
		slow                                      bool
	}{
		{1, 1, 1, 1, enough, false}, {4, 4, 1, 6, enough, false}, {4, 2, 4, 8, enough, true},
		{8, 4, 12, 8, enough, true}, {8, 8, 8, 6, enough, false}, {4, 4, 2, 4, 40, false}, {4, 4, 2, 4, 0, false},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			server, s := startKeen(t, few(test.budget, test.perWorkspace), test.slow)
			s.RoomForHits(first, test.room)
			var told []toldTraffic
			ask := func() {
				next := toldTraffic{asked: server.now()}
				var err error
				if next.Traffic, err = s.Traffic(background, first, 1); err != nil {
					t.Fatal(err)
				}
				next.returned = server.now()
				told = append(told, next)
			}
			ask()
			var all sync.WaitGroup
			var refused atomic.Uint64
			leases := make([][]lasted, test.callers)
			for i := range test.callers {
				all.Go(func() {
					for range 1_500 {
						n := rand.IntN(test.workspaces)
						id := model.WorkspaceID(fmt.Sprintf("w%d", n))
						l := lasted{workspace: planner.HashOf(id), asked: server.now()}
						lease, err := s.Acquire(background, first, id, actor.Wait{NoWait: rand.IntN(20) == 0, Batch: rand.IntN(20) == 0})
						if err != nil {
							refused.Add(1)
							continue
						}
						l.granted = server.now()
						if rand.IntN(20) == 0 {
							dawdle(background)
						}
						l.releasing = server.now()
						lease.Release(core.Health(max(0, rand.IntN(400)-398)))
						l.released = server.now()
						leases[i] = append(leases[i], l)
					}
				})
			}
			done := finished(&all)
			for last := false; !last; {
				select {
				case <-done:
					last = true
				default:
				}
				ask()
				dawdle(background)
			}
			bytes, room, err := s.TrafficBytes(background, first)
			if bytes != 0 || room != test.room || err != nil {
				t.Errorf("after the last one %d bytes are kept, of room for %d there is %d, %v", bytes, test.room, room, err)
			}
			if err := s.Drain(background); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t)
			if test.room == enough {
				checkEach(t, told, slices.Concat(leases...))
			}
			checkSum(t, told, uint64(len(slices.Concat(leases...))), refused.Load())
		})
	}
}

// checkSum wants as many acquires as there were in all.
func checkSum(t *testing.T, told []toldTraffic, wantLeases, wantRefused uint64) {
	t.Helper()
	var leases, refused, missed, more, acquires uint64
	for _, each := range told {
		missed += each.Missed
		acquires += each.Acquires
		for _, a := range each.Ended {
			more += uint64(a.More)
			if a.Outcome == planner.Refused {
				refused++
			} else {
				leases += 1 + uint64(a.More)
			}
		}
	}
	if leases+missed != wantLeases || refused != wantRefused || acquires != wantLeases+wantRefused || len(told[len(told)-1].Held) > 0 {
		t.Errorf("%d leases, %d missed, %d refused, of %d; want %d and %d; at last %d are held",
			leases, missed, refused, acquires, wantLeases, wantRefused, len(told[len(told)-1].Held))
	}
	t.Logf("%d Traffics, %d leases, %d of them as one with others, %d missed, %d refused", len(told), leases, more, missed, refused)
}

// checkEach counts the leases of each workspace: those that must be in the Ended up to a
// Traffic and in its Held, and those that may be. What is held has not ended, and will.
func checkEach(t *testing.T, told []toldTraffic, leases []lasted) {
	t.Helper()
	type one struct {
		workspace planner.Hash
		at        time.Duration
	}
	ends := make(map[one]int)
	for _, each := range told {
		for _, a := range each.Ended {
			if a.More > 0 || each.Missed > 0 {
				t.Fatalf("%d more, %d missed, although there is room", a.More, each.Missed)
			}
			ends[one{a.Workspace, a.At}]++
		}
	}
	var workspaces []planner.Hash
	for _, l := range leases {
		if !slices.Contains(workspaces, l.workspace) {
			workspaces = append(workspaces, l.workspace)
		}
	}
	for _, w := range workspaces {
		ended := 0
		had := make(map[one]int)
		for i, each := range told {
			held := 0
			for _, a := range each.Ended {
				if a.Workspace == w && a.Outcome != planner.Refused {
					ended++
				}
				had[one{a.Workspace, a.At}]++
			}
			for _, a := range each.Held {
				if a.Workspace == w {
					held++
				}
				if k := (one{a.Workspace, a.At}); had[k] >= ends[k] {
					t.Errorf("traffic %d: the one of %v is held, and %d of %d of then have ended before", i, a.At, had[k], ends[k])
				}
			}
			if i%(1+len(told)/200) > 0 {
				continue // that would take long
			}
			mustEnd, mayEnd, mustHold, mayHold := 0, 0, 0, 0
			for _, l := range leases {
				if l.workspace != w {
					continue
				}
				mustEnd += count(l.released < each.asked)
				mayEnd += count(l.releasing < each.returned)
				mustHold += count(l.granted < each.asked && l.releasing > each.returned)
				mayHold += count(l.asked < each.returned && l.released > each.asked)
			}
			if ended < mustEnd || ended > mayEnd || held < mustHold || held > mayHold {
				t.Fatalf("traffic %d of %d: so far %d have ended, of %d to %d; %d are held, of %d to %d",
					i, len(told), ended, mustEnd, mayEnd, held, mustHold, mayHold)
			}
		}
	}
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}
