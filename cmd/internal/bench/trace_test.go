package bench

import (
	"slices"
	"sync"
	"testing"
)

func TestATraceHasTheOrderInWhichItsWorkersActed(t *testing.T) {
	r := NewRecorder(2)
	a, b := r.Worker(0), r.Worker(1)
	first := a.Acquired(7)
	second := b.Acquired(8)
	third := a.Acquired(7)
	b.Released(second, 8)
	a.Released(third, 7)
	a.Released(first, 7)
	want := []Event{
		{Request: first, Workspace: 7}, {Request: second, Workspace: 8}, {Request: third, Workspace: 7},
		{Request: second, Workspace: 8, Release: true},
		{Request: third, Workspace: 7, Release: true}, {Request: first, Workspace: 7, Release: true},
	}
	if got := r.Events(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if first == second || second == third || first == third {
		t.Errorf("requests %d, %d and %d do not differ", first, second, third)
	}
}

// The baton is a pool of one connection: who has it may note an acquire.
func TestATraceOfManyWorkersNeverShowsMoreInUseThanThereWas(t *testing.T) {
	const workers, rounds = 8, 2000
	r := NewRecorder(workers)
	baton := make(chan struct{}, 1)
	baton <- struct{}{}
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			w := r.Worker(i)
			for range rounds {
				<-baton
				request := w.Acquired(i)
				w.Released(request, i)
				baton <- struct{}{}
			}
		})
	}
	all.Wait()
	events := r.Events()
	if len(events) != 2*workers*rounds {
		t.Fatalf("%d events, want %d", len(events), 2*workers*rounds)
	}
	for i := 0; i < len(events); i += 2 {
		acquire, release := events[i], events[i+1]
		if acquire.Release || !release.Release || acquire.Request != release.Request || acquire.Workspace != release.Workspace {
			t.Fatalf("events %d and %d are %v and %v, want an acquire and its release", i, i+1, acquire, release)
		}
	}
}

func BenchmarkRecorder(b *testing.B) {
	r := NewRecorder(1)
	w := r.Worker(0)
	b.ReportAllocs()
	for b.Loop() {
		w.Released(w.Acquired(1), 1)
	}
}
