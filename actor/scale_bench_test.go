package actor_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// These benchmarks show how the costs grow with the budget, and that they do not
// grow with the number of workspaces ever seen. Dials and closes take no time.

var budgets = []int{100, 1_000, 10_000}

// workspaceIDs are made before the clock runs.
func workspaceIDs(n int) []model.WorkspaceID {
	ids := make([]model.WorkspaceID, n)
	for i := range ids {
		ids[i] = model.WorkspaceID(fmt.Sprintf("workspace-%d", i))
	}
	return ids
}

// touch borrows a connection of each.
func touch(b *testing.B, s *actor.Supervisor, ids []model.WorkspaceID) {
	for _, id := range ids {
		borrow(b, s, id)
	}
	b.ResetTimer()
}

// reportHeap reports what the program keeps, after touch and the measurement.
func reportHeap(b *testing.B, slots int, before float64) {
	b.StopTimer()
	b.ReportMetric((heap()-before)/float64(slots), "heap-B/slot")
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkScaleHit: every workspace has an idle connection. By seats, and by
// messages only, which a limit enforces that leaves no time for seats.
func BenchmarkScaleHit(b *testing.B) {
	withoutSeats := func(l *model.Limits) { l.VerifyAfter = time.Nanosecond }
	for _, way := range []struct {
		name   string
		change []func(*model.Limits)
	}{{"seat", nil}, {"message", []func(*model.Limits){withoutSeats}}} {
		for _, budget := range budgets {
			b.Run(fmt.Sprintf("%s/budget=%d", way.name, budget), func(b *testing.B) {
				ids := workspaceIDs(budget)
				before := heap()
				s := startInstant(b, budget, 1, way.change...)
				touch(b, s, ids)
				for b.Loop() {
					borrow(b, s, ids[rand.IntN(len(ids))])
				}
				reportHeap(b, budget, before)
				runtime.KeepAlive(ids)
			})
		}
	}
}

// BenchmarkScaleEvict: every acquire evicts and dials, in full budgets.
func BenchmarkScaleEvict(b *testing.B) {
	for _, budget := range budgets {
		b.Run(fmt.Sprintf("budget=%d", budget), func(b *testing.B) {
			benchmarkEvict(b, budget, 2*budget)
		})
	}
}

// BenchmarkScaleSeen: the same at one budget, after more and more workspaces.
func BenchmarkScaleSeen(b *testing.B) {
	for _, seen := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("workspaces=%d", seen), func(b *testing.B) {
			benchmarkEvict(b, 100, seen)
		})
	}
}

func benchmarkEvict(b *testing.B, budget, workspaces int) {
	ids := workspaceIDs(workspaces)
	before := heap()
	s := startInstant(b, budget, 1)
	touch(b, s, ids)
	i := 0
	for b.Loop() {
		borrow(b, s, ids[i%len(ids)])
		i++
	}
	reportHeap(b, budget, before)
	runtime.KeepAlive(ids)
}

// BenchmarkScaleStats: a snapshot, when every workspace has an idle connection.
func BenchmarkScaleStats(b *testing.B) {
	for _, budget := range budgets {
		b.Run(fmt.Sprintf("budget=%d", budget), func(b *testing.B) {
			s := startInstant(b, budget, 1)
			touch(b, s, workspaceIDs(budget))
			for b.Loop() {
				if _, err := s.Stats(background); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
