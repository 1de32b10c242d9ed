package bench

import (
	"slices"
	"testing"
)

func picks(w workload, quiet bool, seed uint64, round, worker int) (all []int) {
	pick := w.picker(20, quiet, seed, round, worker)
	for range 200 {
		all = append(all, pick())
	}
	return all
}

func TestAWorkerAsksForTheSameWorkspacesInEachTurnOfARound(t *testing.T) {
	zipf := workloads()[1]
	first := picks(zipf, true, 1, 0, 3)
	if !slices.Equal(first, picks(zipf, true, 1, 0, 3)) {
		t.Error("the same worker of the same round has another sequence")
	}
	for name, other := range map[string][]int{
		"seed":   picks(zipf, true, 7, 0, 3),
		"round":  picks(zipf, true, 1, 1, 3),
		"worker": picks(zipf, true, 1, 0, 4),
	} {
		if slices.Equal(first, other) {
			t.Errorf("another %s has the same sequence", name)
		}
	}
}

func TestTheNoiseIsOfOneWorkspaceThatNoOtherWorkerWants(t *testing.T) {
	noisy := workloads()[4]
	if loud := picks(noisy, false, 1, 0, 40); slices.Max(loud) != 0 {
		t.Errorf("the noise is of more than one workspace: %v", loud)
	}
	if quiet := picks(noisy, true, 1, 0, 3); slices.Min(quiet) != 1 || slices.Max(quiet) > 19 {
		t.Errorf("the quiet workers want %d to %d", slices.Min(quiet), slices.Max(quiet))
	}
	if got := noisy.crowds(64); !slices.Equal(got, []crowd{{32, 0}, {32, 32}}) {
		t.Errorf("crowds %v", got)
	}
}

func TestAllFitHasAsManyWorkspacesAsFit(t *testing.T) {
	s := &setting{options: Default()}
	s.config.MaxConnections = 100
	if n := workloads()[0].workspaces(s); n != 30 { // of 3 connections each, in 90
		t.Errorf("%d workspaces", n)
	}
}

// A pool of one slot that starts empty: a a b b, then a a. The first half has a
// hit and a miss for each workspace, the second a miss and a hit.
func TestTheHitRatioOfTheMeasuredPartLeavesOutWhatCameBefore(t *testing.T) {
	var events []Event
	for i, workspace := range []int{1, 1, 2, 2, 1, 1, 1, 1} {
		events = append(events, Event{Request: i, Workspace: workspace}, Event{Request: i, Workspace: workspace, Release: true})
	}
	const warm = 8 // events: four requests
	all, first := 5./8, 2./4
	if got := laterHitRatio(events, warm, all, first); got != 3./4 {
		t.Errorf("%v, want 3/4", got)
	}
	if got := laterHitRatio(events, len(events), all, all); got != all {
		t.Errorf("nothing after the warm-up: %v", got)
	}
}
