package property_tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tenantpool/tenantpool/model"
)

// A history is what the callers of a supervisor, and its server, saw: what was
// asked when, and what had come of it when. It is good if each operation can be
// given one moment between the two so that, one after the other, they are what a
// lock for each connection and a counter for each limit allow.
//
// An Acquire that got nothing is left out. Where it was refused, nothing happened.
// Where it was cancelled, a connection may have been granted and given back, but
// nobody has used it, and both happened before the Acquire returned: to take it out
// of a good history leaves a good one, and in a bad one it makes no difference to
// anybody.
type historyOp struct {
	kind      historyKind
	conn      int // of what follows but limits
	workspace model.WorkspaceID
	// budget and cap are what limits sets, for all workspaces.
	budget, cap int
}

type historyKind int

const (
	opens historyKind = iota // a dial
	acquires
	releases
	ends // a close
	limits
)

func (o historyOp) String() string {
	if o.kind == limits {
		return fmt.Sprintf("limits %d and %d", o.budget, o.cap)
	}
	return fmt.Sprintf("%s %d of %s", [...]string{"dial", "acquire", "release", "close"}[o.kind], o.conn, o.workspace)
}

// lockState is what is known of one connection.
type lockState struct {
	life   int // not open yet, open, closed
	holder int // 0: none
}

// lockModel: a connection is lent after it was opened and before it is closed, to
// one caller at a time. Each connection is for itself, so the history is checked
// apart for each.
var lockModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		return partition(history, func(o historyOp) (string, bool) { return fmt.Sprint(o.conn), o.kind != limits })
	},
	Init: func() any { return lockState{} },
	Step: func(state, input, caller any) (bool, any) {
		s := state.(lockState)
		who := caller.(int)
		switch input.(historyOp).kind {
		case opens:
			return s == lockState{}, lockState{life: 1}
		case acquires:
			return s == lockState{life: 1}, lockState{1, who}
		case releases:
			return s == lockState{1, who}, lockState{life: 1}
		default:
			return s == lockState{life: 1}, lockState{life: 2}
		}
	},
}

// counterState is how many leases there are, and may be.
type counterState struct{ held, most int }

// counterModel: a lease is granted while there are fewer than the limit, as it is
// at that moment; lowering it takes no lease away.
//
// With the caps, each workspace is checked for itself. That a change of the limits
// is one moment for all of them is then not checked; what is, holds all the same.
func counterModel(most int, part func(historyOp) string, limit func(historyOp) int) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := partition(history, func(o historyOp) (string, bool) { return part(o), o.kind == acquires || o.kind == releases })
			for _, op := range history {
				if op.Input.(historyOp).kind != limits {
					continue
				}
				for i := range parts {
					parts[i] = append(parts[i], op)
				}
			}
			return parts
		},
		Init: func() any { return counterState{0, most} },
		Step: func(state, input, _ any) (bool, any) {
			s, o := state.(counterState), input.(historyOp)
			switch o.kind {
			case acquires:
				return s.held < s.most, counterState{s.held + 1, s.most}
			case releases:
				return s.held > 0, counterState{s.held - 1, s.most}
			default:
				return true, counterState{s.held, limit(o)}
			}
		},
	}
}

func capModel(most int) porcupine.Model {
	return counterModel(most, func(o historyOp) string { return string(o.workspace) }, func(o historyOp) int { return o.cap })
}

func budgetModel(most int) porcupine.Model {
	return counterModel(most, func(historyOp) string { return "" }, func(o historyOp) int { return o.budget })
}

// partition sorts the operations that belong somewhere, by where.
func partition(history []porcupine.Operation, of func(historyOp) (string, bool)) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	var names []string
	for _, op := range history {
		name, belongs := of(op.Input.(historyOp))
		if !belongs {
			continue
		}
		if parts[name] == nil {
			names = append(names, name)
		}
		parts[name] = append(parts[name], op)
	}
	all := make([][]porcupine.Operation, len(names))
	for i, name := range names {
		all[i] = parts[name]
	}
	return all
}

// checkTakes bounds one check; they take milliseconds.
const checkTakes = 20 * time.Second

// wrongIn returns what is wrong with a history, or "".
func wrongIn(history []porcupine.Operation, budget, perWorkspace int) string {
	for _, m := range []struct {
		promise string
		model   porcupine.Model
	}{
		{"a connection has one holder", lockModel},
		{"a workspace keeps its cap", capModel(perWorkspace)},
		{"all keep the budget", budgetModel(budget)},
	} {
		switch porcupine.CheckOperationsTimeout(m.model, history, checkTakes) {
		case porcupine.Ok:
		case porcupine.Unknown:
			return "not decided in time: " + m.promise
		default:
			return "broken: " + m.promise + "\n" + culprits(m.model, history)
		}
	}
	return ""
}

// culprits shows how far each bad part can be explained, and what cannot be.
func culprits(m porcupine.Model, history []porcupine.Operation) string {
	var b strings.Builder
	for _, part := range m.Partition(history) {
		alone := m
		alone.Partition = nil
		result, info := porcupine.CheckOperationsVerbose(alone, part, checkTakes)
		if result == porcupine.Ok {
			continue
		}
		var longest []porcupine.Operation
		for _, explained := range info.PartialLinearizationsOperations()[0] {
			if len(explained) > len(longest) {
				longest = explained
			}
		}
		const shown = 10
		fmt.Fprintf(&b, "of %d operations %d can be explained, the last ones are\n", len(part), len(longest))
		show(&b, longest[max(0, len(longest)-shown):])
		rest := slices.DeleteFunc(slices.Clone(part), func(op porcupine.Operation) bool { return slices.Contains(longest, op) })
		slices.SortFunc(rest, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
		b.WriteString("but not\n")
		show(&b, rest[:min(shown, len(rest))])
	}
	return b.String()
}

func show(b *strings.Builder, ops []porcupine.Operation) {
	for _, op := range ops {
		fmt.Fprintf(b, "  %12v to %12v caller %d: %v\n", time.Duration(op.Call), time.Duration(op.Return), op.ClientId, op.Input)
	}
}

// at is an operation of a caller from one moment to another.
func at(from, to int64, caller int, o historyOp) porcupine.Operation {
	return porcupine.Operation{ClientId: caller, Input: o, Output: caller, Call: from, Return: to}
}

func TestTheCheckerRefusesBrokenHistoriesAndNoOthers(t *testing.T) {
	conn := func(kind historyKind, n int) historyOp { return historyOp{kind: kind, conn: n, workspace: "a"} }
	other := func(kind historyKind, n int) historyOp { return historyOp{kind: kind, conn: n, workspace: "b"} }
	lower := historyOp{kind: limits, budget: 2, cap: 1}
	open := []porcupine.Operation{
		at(0, 1, 0, conn(opens, 1)), at(0, 1, 0, conn(opens, 2)), at(0, 1, 0, conn(opens, 3)),
		at(0, 1, 0, other(opens, 4)), at(0, 1, 0, other(opens, 5)),
	}
	const one, two, three = 1, 2, 3 // callers
	for name, test := range map[string]struct {
		history []porcupine.Operation
		broken  string // "": nothing
	}{
		"one after the other": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(20, 21, one, conn(releases, 1)), at(22, 23, two, conn(acquires, 1)),
		}, ""},
		"two holders": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(12, 13, two, conn(acquires, 1)), at(20, 21, one, conn(releases, 1)),
		}, "one holder"},
		"two holders, the first of whom has not returned": {[]porcupine.Operation{
			at(10, 15, one, conn(acquires, 1)), at(12, 13, two, conn(acquires, 1)), at(20, 21, one, conn(releases, 1)), at(20, 21, two, conn(releases, 1)),
		}, "one holder"},
		"who waits for long is served between others": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(10, 50, two, conn(acquires, 1)), at(20, 21, one, conn(releases, 1)),
			at(22, 23, three, conn(acquires, 1)), at(30, 31, three, conn(releases, 1)), at(60, 61, two, conn(releases, 1)),
		}, ""},
		"lent while its release is under way": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(20, 30, one, conn(releases, 1)), at(21, 22, two, conn(acquires, 1)),
		}, ""},
		"another's lease is released": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(12, 13, two, conn(releases, 1)),
		}, "one holder"},
		"closed under its lease": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(15, 15, 0, conn(ends, 1)), at(20, 21, one, conn(releases, 1)),
		}, "one holder"},
		"lent after its close": {[]porcupine.Operation{
			at(15, 15, 0, conn(ends, 1)), at(20, 21, one, conn(acquires, 1)),
		}, "one holder"},
		"lent before its dial ended": {[]porcupine.Operation{
			at(30, 40, 0, conn(opens, 9)), at(20, 21, one, conn(acquires, 9)),
		}, "one holder"},
		"two in a cap of two": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(10, 11, two, conn(acquires, 2)),
		}, ""},
		"three in a cap of two": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(10, 11, two, conn(acquires, 2)), at(30, 31, three, conn(acquires, 3)),
		}, "its cap"},
		"three in a cap of two, one of whom may just have gone": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(10, 11, two, conn(acquires, 2)), at(20, 25, one, conn(releases, 1)), at(24, 31, three, conn(acquires, 3)),
		}, ""},
		"two when the cap has become one": {[]porcupine.Operation{
			at(10, 12, 0, lower), at(20, 21, one, conn(acquires, 1)), at(22, 23, two, conn(acquires, 2)),
		}, "its cap"},
		"two from before the cap became one": {[]porcupine.Operation{
			at(10, 30, 0, lower), at(20, 21, one, conn(acquires, 1)), at(22, 23, two, conn(acquires, 2)), at(40, 41, one, conn(releases, 1)),
		}, ""},
		"four in a budget of three": {[]porcupine.Operation{
			at(10, 11, one, conn(acquires, 1)), at(10, 11, two, conn(acquires, 2)), at(10, 11, three, other(acquires, 4)), at(10, 11, 4, other(acquires, 5)),
		}, "the budget"},
	} {
		t.Run(name, func(t *testing.T) {
			got := wrongIn(append(slices.Clone(open), test.history...), 3, 2)
			if test.broken == "" && got != "" || !strings.Contains(got, test.broken) {
				t.Errorf("want %q: %s", test.broken, got)
			}
		})
	}
}
