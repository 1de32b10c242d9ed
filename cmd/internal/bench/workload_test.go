package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func picks(w Workload, noisy bool, seed uint64, round, worker int) (all []int) {
	pick := w.picker(20, noisy, seed, round, worker)
	for range 200 {
		all = append(all, pick())
	}
	return all
}

func TestAWorkerAsksForTheSameWorkspacesInEachTurnOfARound(t *testing.T) {
	zipf := Workloads()[1]
	first := picks(zipf, false, 1, 0, 3)
	if !slices.Equal(first, picks(zipf, false, 1, 0, 3)) {
		t.Error("the same worker of the same round has another sequence")
	}
	for name, other := range map[string][]int{
		"seed":   picks(zipf, false, 7, 0, 3),
		"round":  picks(zipf, false, 1, 1, 3),
		"worker": picks(zipf, false, 1, 0, 4),
	} {
		if slices.Equal(first, other) {
			t.Errorf("another %s has the same sequence", name)
		}
	}
}

func TestTheNoiseIsOfOneWorkspaceThatNoOtherWorkerWants(t *testing.T) {
	noisy := Workloads()[4]
	if loud := picks(noisy, true, 1, 0, 40); slices.Max(loud) != 0 {
		t.Errorf("the noise is of more than one workspace: %v", loud)
	}
	if quiet := picks(noisy, false, 1, 0, 3); slices.Min(quiet) != 1 || slices.Max(quiet) > 19 {
		t.Errorf("the quiet workers want %d to %d", slices.Min(quiet), slices.Max(quiet))
	}
	if got := noisy.crowds(64); !slices.Equal(got, []crowd{{32, 0}, {64, 32}}) {
		t.Errorf("crowds %v", got)
	}
}

func TestAllFitHasAsManyWorkspacesAsFit(t *testing.T) {
	if n := Workloads()[0].workspaces(Default()); n != 30 { // of 3 connections each, in 90
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

func TestTheQuietWorkspacesAreThoseThatAreAskedForLeast(t *testing.T) {
	for name, want := range map[string][]int{"all-fit": nil, "uniform": nil, "zipf": {3, 4, 5}, "bursty": {3, 4, 5}, "noisy": {1, 2, 3, 4, 5}} {
		var quiet []int
		for workspace := range 6 {
			if named(name)[0].quiet(workspace, 6) {
				quiet = append(quiet, workspace)
			}
		}
		if !slices.Equal(quiet, want) {
			t.Errorf("%s: quiet are %v, want %v", name, quiet, want)
		}
	}
}

func TestABurstIsSentAtOnceAndThenTheNextOneIsWaitedFor(t *testing.T) {
	bursty := named("bursty")[0]
	for sent, want := range map[int]time.Duration{0: 150, 1: 0, 3: 0, 4: 150} {
		if got := bursty.untilBurst(sent, 250*time.Millisecond); got != want*time.Millisecond {
			t.Errorf("after %d requests: %v, want %d ms", sent, got, want)
		}
	}
	if got := named("zipf")[0].untilBurst(0, time.Second); got != 0 {
		t.Errorf("without bursts: %v", got)
	}
}

func TestAWorkloadFileIsReadOrRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.json")
	for content, want := range map[string]string{
		`[{"name":"mine","zipf":0.9},{"name":"bursts","burstOf":2,"burstEveryMs":50}]`: "",
		``:                              "EOF",
		`[]`:                            "at least one workload",
		`[{"name":"a"}] []`:             "one array",
		`[{"name":"a"},{"name":"a"}]`:   "workload 2 has no name of its own",
		`[{"zipf":1}]`:                  "workload 1 has no name",
		`[{"name":"a","zipf":-1}]`:      "zipf must be 0 or more",
		`[{"name":"a","burstOf":1}]`:    "burstEveryMs",
		`[{"name":"a","popularity":1}]`: "unknown field",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := ReadWorkloads(file)
		if want == "" && (err != nil || len(all) != 2 || all[0].Zipf != 0.9 || all[1].BurstOf != 2) {
			t.Errorf("%s: %+v, %v", content, all, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", content, err, want)
		}
	}
}
