package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// sameAsReference runs generated logs through the core and the reference.
func sameAsReference(m mix) func(*rapid.T) { return sameAsReferenceWith(m, someLimits) }

// sameAsReferenceWith runs generated logs through the core and the reference, and
// compares effects and counts after each step.
func sameAsReferenceWith(m mix, some func(*rapid.T) model.Limits) func(*rapid.T) {
	generator := orders(m)
	return func(t *rapid.T) {
		limits := some(t)
		r := newRun(t, limits)
		reference := newReference(limits)
		r.watch = []property{{after: func(l *ledger, e entry) string {
			want := describeAll(step(reference, e.at, e.message))
			if got := describeAll(e.effects); got != want {
				return fmt.Sprintf("the core:\n%s\nthe reference:\n%s", got, want)
			}
			if err := r.core.Check(); err != nil {
				return "Check: " + err.Error()
			}
			return differentStats(r.core.Stats(l.now), reference.Stats(l.now))
		}}}
		r.follow(generator.Draw(t, "orders"))
	}
}

func TestCoreDoesWhatTheReferenceDoes(t *testing.T) { often(t, sameAsReference(everything)) }

func TestCoreDoesWhatTheReferenceDoesUnderLoad(t *testing.T) { often(t, sameAsReference(sound)) }

func TestCoreDoesWhatTheReferenceDoesWithSeats(t *testing.T) { often(t, sameAsReference(seated)) }

func TestCoreDoesWhatTheReferenceDoesInACrowd(t *testing.T) { often(t, sameAsReference(crowded)) }

func TestCoreDoesWhatTheReferenceDoesWithBatchWork(t *testing.T) { often(t, sameAsReference(batching)) }

func TestCoreDoesWhatTheReferenceDoesWithLimitsOfWorkspaces(t *testing.T) {
	often(t, sameAsReference(limited))
}

func TestCoreDoesWhatTheReferenceDoesWithSoftCaps(t *testing.T) {
	for _, m := range []mix{crowded, seated, batchCrowd, limited, failing} {
		often(t, sameAsReferenceWith(m, someSoftLimits))
	}
}

func TestCoreDoesWhatTheReferenceDoesWithBatchWorkInACrowd(t *testing.T) {
	often(t, sameAsReference(batchCrowd))
}

func TestCoreDoesWhatTheReferenceDoesWhenDialsFail(t *testing.T) { often(t, sameAsReference(failing)) }

func TestCoreDoesWhatTheReferenceDoesWhileDraining(t *testing.T) {
	often(t, sameAsReference(draining))
}

func TestCoreDoesWhatTheReferenceDoesInExclusiveUse(t *testing.T) { often(t, sameAsReference(alone)) }

// Dials that take long when many are under way, in turn with such that do not, so that
// the pace moves up and down.
func TestCorePacesDialsAsTheReferenceDoes(t *testing.T) {
	often(t, func(t *rapid.T) {
		limits := model.Limits{
			Budget: 1000, PerWorkspace: 1000, MaxWaiters: 1000, MaxWaitersPerWorkspace: 1000,
			MaxDialing: rapid.IntRange(1, 12).Draw(t, "dialing"), AdaptDialing: true,
			BackoffMin: 1, BackoffMax: 1, CloseGrace: time.Hour,
		}
		state, reference := core.NewState(limits), newReference(limits)
		l := newLedger(limits)
		tell := func(now time.Duration, m core.Message) {
			l.message(now, m)
			effects := step(state, now, m)
			got, want := describeAll(effects), describeAll(step(reference, now, m))
			if got != want {
				t.Fatalf("at %v, %s: the core:\n%s\nthe reference:\n%s", now, core.DescribeMessage(m), got, want)
			}
			for _, e := range effects {
				l.effect(e)
			}
		}
		asked := core.LeaseID(0)
		ask := func(now time.Duration) {
			asked++
			tell(now, core.Acquire{Lease: asked, Workspace: "a"})
		}
		for range 14 {
			ask(0)
		}
		now := time.Duration(0)
		for i, slow := range rapid.SliceOfN(rapid.Bool(), 50, 90).Draw(t, "slow") {
			pass := ms(1)
			if slow {
				pass *= time.Duration(len(l.in(dialing)))
			}
			if i%40 == 39 {
				pass = 4 * time.Minute
			}
			now += pass
			tell(now, core.DialSucceeded{Conn: l.in(dialing)[0].id})
			tell(now, core.Release{Lease: asked - 13, Conn: l.in(inUse)[0].id, Health: core.Unclean})
			tell(now, core.Closed{Conn: l.in(closing)[0].id})
			ask(now)
		}
	})
}

// differentStats compares what the rules fix.
func differentStats(got, want model.BudgetStats) string {
	type total struct {
		Budget, EffectiveBudget, PerWorkspace int
		Counts, Batch                         model.Counts
		BatchBudget                           int
		Counters                              model.Counters
		LongestWait                           time.Duration
		Draining, ServerDown                  bool
	}
	of := func(s model.BudgetStats) total {
		return total{s.Budget, s.EffectiveBudget, s.PerWorkspace, s.Counts, s.Batch, s.BatchBudget, s.Counters,
			s.LongestWait, s.Draining, s.ServerDown != nil}
	}
	if of(got) != of(want) {
		return fmt.Sprintf("the core's stats:\n%+v\nthe reference's:\n%+v", of(got), of(want))
	}
	if got, want := describeActive(got), describeActive(want); got != want {
		return fmt.Sprintf("the core's workspaces:\n%s\nthe reference's:\n%s", got, want)
	}
	return ""
}

func describeActive(s model.BudgetStats) string {
	lines := ""
	s.SortActive()
	for _, w := range s.Active {
		lines += fmt.Sprintf("%s %+v paused=%v\n", w.ID, w.Counts, w.Paused)
	}
	return lines
}
