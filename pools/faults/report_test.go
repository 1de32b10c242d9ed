package faults

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is what one scene came to.
type row struct {
	Fault            string
	Lasted           time.Duration
	Requests, Failed int
	Causes           map[cause]int
	LongestStall     time.Duration
	// FullService is how long after the fault's end the whole budget was lent at
	// once and the last request had failed.
	FullService  time.Duration
	Peak, Budget int
	SlotsLost    int
	WrongAnswers int
}

// rows are those of all scenes so far.
var rows []row

// overload is what the tests of that name came to.
var overload struct {
	Refused, Served          int
	SlowestRefusal, ServedIn time.Duration
	Peak, WrongAnswers       int
	Calm, Stormy             float64 // requests/s with few and with very many clients
}

func (r row) String() string {
	return fmt.Sprintf("%d requests, %d failed (%s), longest %v, full service after %v, at most %d of %d backends, %d slots lost, %d wrong answers",
		r.Requests, r.Failed, listCauses(r.Causes), roundly(r.LongestStall), roundly(r.FullService), r.Peak, r.Budget, r.SlotsLost, r.WrongAnswers)
}

// cells are those of the table.
func (r row) cells() string {
	return fmt.Sprintf("| %s | %v | %d | %d | %s | %v | %v | %d/%d | %d | %d |\n",
		r.Fault, roundly(r.Lasted), r.Requests, r.Failed, listCauses(r.Causes), roundly(r.LongestStall), roundly(r.FullService),
		r.Peak, r.Budget, r.SlotsLost, r.WrongAnswers)
}

func roundly(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// listCauses names the most frequent first.
func listCauses(causes map[cause]int) string {
	if len(causes) == 0 {
		return "none"
	}
	names := slices.SortedFunc(maps.Keys(causes), func(a, b cause) int {
		if causes[a] != causes[b] {
			return causes[b] - causes[a]
		}
		return strings.Compare(string(a), string(b))
	})
	var list []string
	for _, c := range names {
		list = append(list, fmt.Sprintf("%s: %d", c, causes[c]))
	}
	return strings.Join(list, ", ")
}

// writeFaults writes the faults' part of the report.
func writeFaults(file string) error {
	if len(rows) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From a run on %s with %d processors and %s:\n\n", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), serverVersion())
	b.WriteString("| fault | lasted | requests | failed | by cause | longest stall | full service after | backends, peak/budget | slots lost | wrong answers |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	wrong, requests := 0, 0
	for _, r := range rows {
		b.WriteString(r.cells())
		wrong, requests = wrong+r.WrongAnswers, requests+r.Requests
	}
	fmt.Fprintf(&b, "\nWrong answers in all: %d of %d requests.\n", wrong, requests)
	return writePart(file, "faults", b.String())
}

// writeOverload writes that part of the report.
func writeOverload(file string) error {
	if overload.Served == 0 || overload.Calm == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d acquires at once for a budget of 40: %d are beyond the queue's bound and refused, the slowest after %v;\n",
		crowd, overload.Refused, roundly(overload.SlowestRefusal))
	fmt.Fprintf(&b, "the %d others are served in their order in %v, with at most %d backends of %d. Throughput with %d\n",
		overload.Served, roundly(overload.ServedIn), overload.Peak, budgetOf40, peakCrowd)
	fmt.Fprintf(&b, "clients is %.0f requests/s, with %d clients %.0f: %.2f of it. Wrong answers: %d.\n",
		overload.Calm, crowd, overload.Stormy, overload.Stormy/overload.Calm, overload.WrongAnswers)
	return writePart(file, "overload", b.String())
}

// writeSoak writes the soak's part of the report.
func writeSoak(file string) error {
	s := soakResult
	if s == nil {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From a run of %v on %s with %d processors and %s: %d requests, %d failed (%s; %d sessions were\n",
		s.Lasted, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), serverVersion(), s.Requests, s.Failed, listCauses(s.Causes), s.Terminated)
	fmt.Fprintf(&b, "terminated on purpose), %d wrong answers, the longest took %v; at most %d of %d backends, %d slots\nlost.\n\n",
		s.WrongAnswers, roundly(s.LongestStall), s.Peak, s.Budget, s.SlotsLost)
	b.WriteString("| | second quarter | last quarter |\n|---|---|---|\n")
	for _, f := range watched {
		fmt.Fprintf(&b, "| %s (%s) | %.4g | %.4g |\n", f.name, f.unit, f.of(s.Early), f.of(s.Late))
	}
	return writePart(file, "soak", b.String())
}

func serverVersion() (version string) {
	if err := control.QueryRow(`SELECT 'PostgreSQL ' || current_setting('server_version')`).Scan(&version); err != nil {
		return "PostgreSQL"
	}
	return version
}

// writePart replaces what stands between the marks of a part.
func writePart(file, part, text string) error {
	begin, end := fmt.Sprintf("<!-- %s: generated -->\n", part), fmt.Sprintf("<!-- %s: end -->\n", part)
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s lacks the lines %q and %q, between which the report goes", file, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}
