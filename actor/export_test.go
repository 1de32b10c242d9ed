package actor

import (
	"context"
	"strconv"
	"time"
	"unsafe"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/planner"
)

// RecallSeldom keeps the supervisor, to which nobody has said anything yet, from
// emptying the seats before an hour has passed: so it does not find by
// chance what it should have been told of.
func (s *Supervisor) RecallSeldom() {
	for _, sh := range s.shares {
		sh.recallEvery = time.Hour
	}
}

// CountUsage counts two acquires of each of n workspaces: one after the other, and the
// second when 4,000 others have had one.
func CountUsage(n int) (remembered []model.WorkspaceUsage, others model.WorkspaceUsage) {
	u := newUsage()
	for i := range n {
		u.of(model.WorkspaceID(strconv.Itoa(i))).Acquires++
		u.of(model.WorkspaceID(strconv.Itoa((i+n-4_000)%n))).Acquires++
	}
	return u.all(), u.others
}

// RoomForHits is how many hits the slots' logs may still grow by, in the share that nobody
// uses yet.
func (s *Supervisor) RoomForHits(share ShareIndex, hits int64) { s.shares[share].room.left.Store(hits) }

// TrafficBytes is what the share keeps of the traffic, while nothing happens, and what room
// is left for hits.
func (s *Supervisor) TrafficBytes(ctx context.Context, share ShareIndex) (bytes int, room int64, err error) {
	sh := s.shares[share]
	_, err = ask(ctx, s, "", "", func() bool {
		bytes = cap(sh.notes.ended) * int(unsafe.Sizeof(planner.Acquire{}))
		for _, c := range sh.slots {
			for _, l := range c.logs {
				bytes += cap(l.hits) * int(unsafe.Sizeof(hit{}))
			}
		}
		for _, l := range sh.notes.logs {
			bytes += cap(l.hits) * int(unsafe.Sizeof(hit{}))
		}
		room = sh.room.left.Load()
		return true
	})
	return bytes, room, err
}
