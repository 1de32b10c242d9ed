package actor_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// startInstant starts a supervisor whose dials and closes take no time.
func startInstant(b *testing.B, budget, perWorkspace int, change ...func(*model.Limits)) *actor.Supervisor {
	s := actor.Start(actor.Share{Limits: few(budget, perWorkspace, change...), Dialer: instant{}})
	b.Cleanup(func() {
		if err := s.Drain(background); err != nil {
			b.Error(err)
		}
	})
	b.ReportAllocs()
	return s
}

// borrow acquires and releases once.
func borrow(b *testing.B, s *actor.Supervisor, id model.WorkspaceID) {
	l, err := s.Acquire(background, first, id, actor.Wait{})
	if err != nil {
		b.Error(err)
		return
	}
	l.Release(core.Clean)
}

// BenchmarkHit: one goroutine, one workspace, a parked connection.
func BenchmarkHit(b *testing.B) {
	s := startInstant(b, 10, 10)
	borrow(b, s, "a")
	for b.Loop() {
		borrow(b, s, "a")
	}
}

// BenchmarkHitParallel64: 64 goroutines share the 10 connections of one
// workspace; most releases are hand-offs.
func BenchmarkHitParallel64(b *testing.B) {
	s := startInstant(b, 10, 10)
	b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			borrow(b, s, "a")
		}
	})
}

// BenchmarkMiss: every acquire evicts another workspace's connection and dials.
func BenchmarkMiss(b *testing.B) {
	s := startInstant(b, 1, 1)
	ids := [2]model.WorkspaceID{"a", "b"}
	i := 0
	for b.Loop() {
		borrow(b, s, ids[i%2])
		i++
	}
}

// BenchmarkHitRecorded is BenchmarkHit while somebody asks for the traffic every second.
func BenchmarkHitRecorded(b *testing.B) {
	s := startInstant(b, 10, 10)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			if _, err := s.Traffic(background, first, 1); err != nil {
				b.Error(err)
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
		}
	}()
	borrow(b, s, "a")
	for b.Loop() {
		borrow(b, s, "a")
	}
}
