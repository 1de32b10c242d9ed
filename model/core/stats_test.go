package core

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/tenantpool/tenantpool/model"
)

func TestStatsTellTheWholeStory(t *testing.T) {
	s := start(t, limits(4, 2))
	s.lent(1, "b")
	s.lent(2, "a")
	s.lent(3, "c")
	s.at(10*ms, release(2, 2))
	s.at(15*ms, release(3, 3))
	s.at(20*ms, acquire(4, "a"), "grant 4 conn 2 a") // a hit
	s.at(20*ms, acquire(5, "d"), "dial 4 d")
	s.at(20*ms, acquire(6, "d"), "close 3 c make_room idle 5ms for d", "wake 120ms")
	s.at(20*ms, Cancel{6}, "reject 6: budget limit of d: open 4 of 4, own 1 of 2, waiting 2 own 2", "wake never")
	s.at(21*ms, failed(4, model.ServerFull), "wake 120ms")
	s.at(22*ms, acquire(7, "b"))
	s.at(25*ms, release(1, 1), "grant 7 conn 1 b after 3ms") // a hand-off
	s.at(30*ms, Cancel{5}, "reject 5: budget limit of d: open 3 of 4, own 0 of 2, waiting 1 own 1, effective 3", "wake 521ms")
	s.at(31*ms, Pause{1, "e"}, "done 1 closed 0")
	s.at(32*ms, acquire(8, "e"))
	s.at(32*ms, Cancel{8}, `reject 8: acquire workspace "e": ErrPaused`)
	s.at(32*ms, acquire(9, "e"))
	s.at(33*ms, release(7, 7)) // stale

	got := s.Stats(40 * ms)
	got.SortActive()
	want := model.BudgetStats{
		Budget: 4, EffectiveBudget: 3, PerWorkspace: 2, BatchBudget: 1,
		Counts: model.Counts{InUse: 2, Closing: 1, Waiting: 1},
		Counters: model.Counters{
			Acquires: 9, Hits: 1, HandOffs: 1, FreshGrants: 3,
			Dials: 4, DialFailures: 1, ServerRefusals: 1,
			Closes:      [model.CloseReasons]uint64{model.MakeRoom: 1},
			LimitErrors: 2, Rejects: 3, StaleMessages: 1,
		},
		LongestWait: 8 * ms,
		Active: []model.WorkspaceStats{ // d is gone
			{ID: "a", Counts: model.Counts{InUse: 1}, Cap: 2, SoftCap: 2, LastUsed: 20 * ms, Dials: 1},
			{ID: "b", Counts: model.Counts{InUse: 1}, Cap: 2, SoftCap: 2, LastUsed: 15 * ms, Dials: 1},
			{ID: "c", Counts: model.Counts{Closing: 1}, Cap: 2, SoftCap: 2, LastUsed: 25 * ms, Dials: 1, Evictions: 1},
			{ID: "e", Counts: model.Counts{Waiting: 1}, Cap: 2, SoftCap: 2, LastUsed: 9 * ms, Paused: true},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	if got.Open() != 3 || got.Counters.Grants() != 5 || got.Counters.Evictions() != 1 {
		t.Errorf("open %d, grants %d, evictions %d", got.Open(), got.Counters.Grants(), got.Counters.Evictions())
	}
}

func TestEvictionsAreTheClosesThatServedOtherWorkspaces(t *testing.T) {
	s := start(t, limits(1, 1))
	s.lent(1, "a")
	s.at(0, acquire(2, "b"))
	s.at(30*ms, acquire(3, "a"))
	s.at(31*ms, release(1, 1), "close 1 a yield for b", "wake 131ms")
	s.at(32*ms, Closed{1}, "dial 2 b", "wake never")
	s.at(33*ms, DialSucceeded{2}, "grant 2 conn 2 b after 33ms")
	s.at(34*ms, unclean(2, 2), "close 2 b not_reusable", "wake 134ms")
	st := s.Stats(35 * ms)
	st.SortActive()
	if st.Counters.Evictions() != 1 || st.Active[0].Evictions != 1 || st.Active[1].Evictions != 0 {
		t.Errorf("%+v", st)
	}
}

func TestCountersOutliveTheWorkspacesTheyCountedFor(t *testing.T) {
	s := start(t, limits(1, 1))
	s.parked(1, "a")
	s.at(0, Evict{7, "a"}, "close 1 a evict_asked")
	s.at(0, Closed{1}, "done 7 closed 1")
	if st := s.Stats(0); len(st.Active) != 0 || st.Counters.Dials != 1 || st.Counters.Closes[model.EvictAsked] != 1 {
		t.Errorf("%+v", st)
	}
	s.parked(2, "a")
	if st := s.Stats(0); st.Active[0].Dials != 2 { // remembered, as few have come since
		t.Errorf("%+v", st)
	}
}

func TestOf1024InactiveWorkspacesTheOneInactiveLongestIsForgotten(t *testing.T) {
	s := NewState(limits(1, 1))
	visit := func(w model.WorkspaceID) {
		s.Step(0, Pause{1, w})
		s.Step(0, Resume{w})
	}
	s.Step(0, acquire(1, "bad"))
	s.Step(0, failed(1, model.Permanent))
	s.Step(0, Pause{1, "paused"}) // never forgotten
	for i := range 1023 {
		visit(model.WorkspaceID(fmt.Sprint(i)))
	}
	at := script{s, t}
	at.at(0, acquire(2, "bad"), "reject 2: permanent dial of bad, attempt 1: refused")
	if s.Known() != 1025 {
		t.Errorf("%d known", s.Known())
	}
	visit("one more")
	if s.Known() != 1025 {
		t.Errorf("%d known", s.Known())
	}
	at.at(0, acquire(3, "bad"), "dial 2 bad")
	if st := s.Stats(0); len(st.Active) != 2 {
		t.Errorf("active: %+v", st.Active)
	}
}

// The names appear in metrics and on the dashboard.
func TestNames(t *testing.T) {
	var got []string
	for r := range model.CloseReasons + 1 {
		got = append(got, r.String())
	}
	for k := range model.ServerFull + 2 {
		got = append(got, k.String())
	}
	for l := range model.BatchLimit + 2 {
		got = append(got, l.String())
	}
	want := []string{
		"make_room", "yield", "lifetime_over", "idle_time_over", "not_reusable",
		"dial_leftover", "evict_asked", "pause_asked", "shrink", "drain_asked", "renewed", "unknown",
		"transient", "permanent", "server_down", "server_full", "unknown",
		"budget", "workspace", "queue", "batch", "unknown",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}

func TestThePartsOfStatsAreThoseOfTheWhole(t *testing.T) {
	s := start(t, limits(3, 2))
	s.lent(1, "a")
	own := model.WorkspaceLimits{Cap: 1, MaxWaiters: 7}
	s.at(0, Acquire{Lease: 2, Workspace: "b", Limits: own}, "dial 2 b")
	s.at(0, SetLimits{Budget: 5, PerWorkspace: 4})
	s.at(1*ms, failed(2, model.ServerFull), "wake 501ms")
	st := s.Stats(1 * ms)
	in, effective := s.Limits()
	if s.Counts() != st.Counts || s.Counters() != st.Counters || in.Budget != 5 || in.PerWorkspace != 4 || effective != st.EffectiveBudget || effective == 5 {
		t.Errorf("%+v, %+v, %+v of which there are %d; the whole is %+v", s.Counts(), s.Counters(), in, effective, st)
	}
	if got := maps.Collect(s.OwnLimits()); len(got) != 1 || got["b"] != own {
		t.Errorf("%+v", got)
	}
	for range s.OwnLimits() {
		break
	}
}
