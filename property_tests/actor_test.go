package property_tests

import (
	"testing"

	"pgregory.net/rapid"
)

// checkActor runs random plans with real goroutines in virtual time.
//
// What happens at one moment is in no fixed order, so a report differs from run
// to run, and rapid shrinks only what fails with the same message each time.
// Hence the message is constant, and the report of the last run that failed, the
// smallest, comes after it.
func checkActor(t *testing.T, m actorMix) {
	t.Helper()
	var report string
	defer func() {
		if report != "" {
			t.Log(report)
		}
	}()
	rapid.Check(t, func(t *rapid.T) {
		p := actorPlans(m).Draw(t, "plan")
		rapid.SyncTest(t, func(t *rapid.T) {
			r := newActorRun(p)
			r.steady = m == actorMix{}
			r.follow()
			if len(r.faults) > 0 {
				report = r.report()
				t.Fatal("the supervisor broke a promise; the report is below")
			}
		})
	})
}

func TestActorServesEverybodyAndNeverStandsStillWhenNothingFails(t *testing.T) {
	checkActor(t, actorMix{})
}

func TestActorKeepsEveryBoundOfImpatientCallers(t *testing.T) {
	checkActor(t, actorMix{bounds: true})
}

func TestActorServesEverybodyInTheEndWhenDialsFail(t *testing.T) {
	checkActor(t, actorMix{failures: true, controls: true})
}

func TestActorEndsAtADrainWithoutBounds(t *testing.T) {
	checkActor(t, actorMix{failures: true, drains: true})
}

func TestActorKeepsItsPromisesWhateverHappens(t *testing.T) {
	checkActor(t, actorMix{failures: true, bounds: true, controls: true, drains: true})
}
