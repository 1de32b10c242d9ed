package actor_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// A slot's log that may not grow: further hits are in the last one, with the time for which they
// were busy, and when that is full they are only counted. The granted turn is always there.
func TestHitsForWhichThereIsNoRoomAreInTheLastOne(t *testing.T) {
	for room, want := range map[int64]struct {
		ended  []string
		missed uint64
	}{
		0:   {[]string{"a at 0s granted after 10ms for 1ms"}, 9},
		16:  {[]string{"a at 0s granted after 10ms for 1ms", "a at 11ms hit for 1ms", "a at 12ms hit for 1ms", "a at 13ms hit for 1ms", "a at 14ms hit for 6ms and 5 more"}, 0},
		100: {[]string{"a at 0s granted after 10ms for 1ms", "a at 11ms hit for 1ms", "a at 12ms hit for 1ms", "a at 13ms hit for 1ms", "a at 14ms hit for 1ms", "a at 15ms hit for 1ms", "a at 16ms hit for 1ms", "a at 17ms hit for 1ms", "a at 18ms hit for 1ms", "a at 19ms hit for 1ms"}, 0},
	} {
		test(t, few(1, 1), func(w *world) {
			w.RecallSeldom()
			w.RoomForHits(first, room)
			w.record()
			for range 2 { // and then all room is there again
				begin := w.traffic(1).Now
				l := w.acquire("a")
				for range 9 {
					holdFor(l, ms)
					l = w.seated("a")
				}
				holdFor(l, ms)
				told := w.traffic(1)
				if got := inWords(begin, told.Ended); !slices.Equal(got, want.ended) || told.Missed != want.missed {
					t.Errorf("room for %d: %q, missed %d; want %q, %d", room, got, told.Missed, want.ended, want.missed)
				}
				if _, err := w.Evict(background, first, "a"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// However many slots there are and however much they are used, what waits to be asked for is
// bounded.
func TestTheMemoryOfTheTrafficIsBounded(t *testing.T) {
	const slots, most = 10_000, 1_500_000
	test(t, few(slots, 2), func(w *world) {
		w.RecallSeldom()
		w.server.dialTakes = 0
		w.record()
		grants := uint64(0)
		use := func(hits func(i int) int) {
			leases := make([]actor.Lease, 0, slots)
			for i := range slots {
				l := w.acquire(model.WorkspaceID(fmt.Sprint("w", i)))
				for range hits(i) {
					l.Release(core.Clean)
					var ok bool
					if l, ok = w.AcquireSeated(first, model.WorkspaceID(fmt.Sprint("w", i))); !ok {
						t.Fatal("it is not in its seat")
					}
					grants++
				}
				grants++
				leases = append(leases, l)
			}
			bytes, room, err := w.TrafficBytes(background, first)
			if bytes > most || room < 0 || err != nil {
				t.Errorf("%d bytes are kept, room for %d is left, %v", bytes, room, err)
			}
			for _, l := range leases {
				l.Release(core.Clean)
			}
			if bytes, _, _ = w.TrafficBytes(background, first); bytes > most {
				t.Errorf("%d bytes are kept", bytes)
			}
			w.leases = nil
			w.stats() // all come home
			if bytes, _, _ = w.TrafficBytes(background, first); bytes > most {
				t.Errorf("%d bytes are kept", bytes)
			}
		}
		use(func(i int) int { return i % 20 })
		use(func(i int) int { return (i % 2) * 40 })
		use(func(i int) int { return 100_000 * (i / (slots - 1)) })
		told := w.traffic(1)
		sum := told.Missed
		for _, a := range told.Ended {
			sum += 1 + uint64(a.More)
		}
		if sum != grants || told.Missed == grants {
			t.Errorf("%d are recorded or missed, %d of these, of %d", sum, told.Missed, grants)
		}
		if bytes, _, _ := w.TrafficBytes(background, first); bytes != 0 {
			t.Errorf("%d bytes are kept", bytes)
		}
	})
}
