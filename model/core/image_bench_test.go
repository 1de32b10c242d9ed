package core

import (
	"fmt"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

// BenchmarkImage: what a recording costs the supervisor once in a generation, and
// what one message costs at the same size, of which a generation has so many:
// four times the waiters, connections and workspaces.
func BenchmarkImage(b *testing.B) {
	limits := model.Limits{
		Budget: 100, PerWorkspace: 3, MaxWaiters: 20_000, MaxWaitersPerWorkspace: 20_000, MaxDialing: 100,
		BackoffMin: 1, BackoffMax: 1,
	}
	s := NewState(limits)
	for i := range maxRetired { // remembered
		id := model.WorkspaceID(fmt.Sprintf("seen-%d", i))
		s.Step(0, Evict{Workspace: id})
		s.Step(0, Pause{Workspace: id})
		s.Step(0, Resume{Workspace: id})
	}
	lease := LeaseID(0)
	for range 10_100 {
		lease++
		for _, e := range s.Step(0, Acquire{Lease: lease, Workspace: model.WorkspaceID(fmt.Sprintf("w-%d", lease%500))}) {
			if dial, ok := e.(Dial); ok {
				s.Step(0, DialSucceeded{dial.Conn})
			}
		}
	}
	if s.queue.size != 10_000 || s.Known() < maxRetired {
		b.Fatalf("%d waiters, %d workspaces", s.queue.size, s.Known())
	}
	b.Run("image", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Image()
		}
	})
	b.Run("message", func(b *testing.B) {
		for b.Loop() { // one of each
			lease++
			s.Step(0, Acquire{Lease: lease, Workspace: "w-7"})
			s.Step(0, Cancel{Lease: lease})
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(2*b.N), "ns/message")
	})
}
