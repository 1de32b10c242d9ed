// Package property_tests checks the decision core of package model/core from the
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
	"github.com/tenantpool/tenantpool/model/core"
)

// machine is what the tests drive: the State under test, or the reference.
type machine interface {
	Step(now time.Duration, m core.Message) []core.Effect
	Short() bool
	Reclaimable() bool
	Stats(now time.Duration) model.BudgetStats
	Check() error
}

func newCore(limits model.Limits) machine { return core.NewState(limits) }

// entry is one step of a log.
type entry struct {
	at      time.Duration
	message core.Message
	effects []core.Effect
}

// transcript is a log in the format of testdata, so that a counterexample can be
// pasted there.
func transcript(limits model.Limits, log []entry) string {
	var b strings.Builder
	b.WriteString("\n" + describeLimits(limits) + "\n")
	for _, e := range log {
		b.WriteString(e.at.String() + " " + core.DescribeMessage(e.message) + "\n")
		for _, effect := range e.effects {
			b.WriteString("    " + core.DescribeEffect(effect) + "\n")
		}
	}
	return b.String()
}

// step is a Step of somebody who tells every Release at once: a Reclaim follows
// if it closes anything. The effects are those of both.
func step(c machine, now time.Duration, m core.Message) []core.Effect {
	effects := slices.Clone(c.Step(now, m))
	if c.Reclaimable() {
		effects = append(effects, c.Step(now, core.Reclaim{})...)
	}
	return effects
}

func describeAll(effects []core.Effect) string {
	lines := make([]string, len(effects))
	for i, e := range effects {
		lines[i] = core.DescribeEffect(e)
	}
	return strings.Join(lines, "\n")
}
