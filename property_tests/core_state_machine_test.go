package property_tests

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantpool/tenantpool/model"
)

// sameAsReference runs generated logs through the core and the reference, and
// compares effects and counts after each step.
func sameAsReference(m mix) func(*rapid.T) {
	generator := orders(m)
	return func(t *rapid.T) {
		limits := someLimits(t)
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

func TestCoreDoesWhatTheReferenceDoesWhenDialsFail(t *testing.T) { often(t, sameAsReference(failing)) }

func TestCoreDoesWhatTheReferenceDoesWhileDraining(t *testing.T) {
	often(t, sameAsReference(draining))
}

func TestCoreDoesWhatTheReferenceDoesInExclusiveUse(t *testing.T) { often(t, sameAsReference(alone)) }

// differentStats compares what the rules fix.
func differentStats(got, want model.BudgetStats) string {
	type total struct {
		Budget, EffectiveBudget, PerWorkspace int
		Counts                                model.Counts
		Counters                              model.Counters
		LongestWait                           time.Duration
		Draining, ServerDown                  bool
	}
	of := func(s model.BudgetStats) total {
		return total{s.Budget, s.EffectiveBudget, s.PerWorkspace, s.Counts, s.Counters,
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
