package actor_test

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

func (w *world) usage() model.Usage {
	w.Helper()
	u, err := w.Usage(background, first)
	if err != nil {
		w.Fatal(err)
	}
	return u
}

func TestUsageIsWhatEachWorkspaceHasHad(t *testing.T) {
	test(t, few(1, 1), func(w *world) {
		lease := w.acquire("a")
		w.server.since()
		for range 4 { // through a seat
			time.Sleep(time.Second)
			lease.Release(core.Clean)
			lease = w.acquire("a")
		}
		waiting := w.tryFor(time.Minute, "b")
		time.Sleep(2 * time.Second)
		w.tryFor(time.Second, "b").refused(time.Second)
		lease.Release(core.Clean)
		waiting.granted()
		time.Sleep(time.Second)
		w.leases[len(w.leases)-1].Release(core.Unclean)
		w.usage()
		lease = w.acquire("a") // dialed again
		time.Sleep(time.Second)
		lease.Release(core.Clean)
		w.usage()
		lease = w.acquire("a")
		lease.Release(core.Clean)
		u := w.usage()
		if len(u.Workspaces) != 2 || u.Others != (model.WorkspaceUsage{}) {
			t.Fatalf("%+v", u)
		}
		a, b := u.Workspaces[0], u.Workspaces[1]
		if want := (model.WorkspaceUsage{ID: "a", Acquires: 7, Waits: a.Waits, Dials: 2, Waited: a.Waited, Lent: 8 * time.Second}); a != want {
			t.Errorf("a has had %+v, want %+v", a, want)
		}
		if want := (model.WorkspaceUsage{ID: "b", Acquires: 2, Waits: 1, Refused: 1, Dials: 1, Waited: b.Waited, Lent: time.Second}); b != want || b.Waited < 3*time.Second {
			t.Errorf("b has had %+v, want %+v and a wait of 3 s", b, want)
		}
	})
}

// However many workspaces there are, the sum of all has everything.
func TestUsageRemembersSomeWorkspacesAndTheSumOfTheOthers(t *testing.T) {
	const n = 50_000
	remembered, others := actor.CountUsage(n)
	if len(remembered) > 20_000 || len(remembered) < 10_000 {
		t.Errorf("%d workspaces are remembered", len(remembered))
	}
	sum := others
	for _, w := range remembered {
		sum.Add(w)
	}
	if sum.Acquires != 2*n || others.Acquires == 0 {
		t.Errorf("all have %d acquires, the others %d", sum.Acquires, others.Acquires)
	}
	seen := map[model.WorkspaceID]bool{}
	for _, w := range remembered {
		if seen[w.ID] || w.Acquires > 2 {
			t.Fatalf("%+v is there twice", w)
		}
		seen[w.ID] = true
	}
}
