// Package property_tests checks the decision core of package model from the
// outside: against a second, deliberately dumb implementation of the same rules
// (reference_test.go), against the invariants one by one (ledger_test.go and
// properties_*_test.go), in virtual time under load (simulation_test.go), and by
// transcripts with prose (testdata).
package property_tests

import (
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// core is what the tests drive: the State under test, or the reference.
type core interface {
	Step(now time.Duration, m model.Message) []model.Effect
	Short() bool
	Reclaimable() bool
	Stats(now time.Duration) model.BudgetStats
	Check() error
}

func newCore(limits model.Limits) core { return model.NewState(limits) }

// entry is one step of a log.
type entry struct {
	at      time.Duration
	message model.Message
	effects []model.Effect
}

// transcript is a log in the format of testdata, so that a counterexample can be
// pasted there.
func transcript(limits model.Limits, log []entry) string {
	var b strings.Builder
	b.WriteString("\n" + describeLimits(limits) + "\n")
	for _, e := range log {
		b.WriteString(e.at.String() + " " + model.DescribeMessage(e.message) + "\n")
		for _, effect := range e.effects {
			b.WriteString("    " + model.DescribeEffect(effect) + "\n")
		}
	}
	return b.String()
}

// step is a Step of somebody who tells every Release at once: a Reclaim follows
// if it closes anything. The effects are those of both.
func step(c core, now time.Duration, m model.Message) []model.Effect {
	effects := slices.Clone(c.Step(now, m))
	if c.Reclaimable() {
		effects = append(effects, c.Step(now, model.Reclaim{})...)
	}
	return effects
}

func describeAll(effects []model.Effect) string {
	lines := make([]string, len(effects))
	for i, e := range effects {
		lines[i] = model.DescribeEffect(e)
	}
	return strings.Join(lines, "\n")
}
