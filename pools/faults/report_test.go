package faults

import (
	"fmt"
	"maps"
	"os"
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
	// FullService is how long after the fault the whole budget was lent at once.
	FullService  time.Duration
	Peak, Budget int
	SlotsLost    int
	WrongAnswers int
}

// rows are those of all scenes so far.
var rows []row

func (r row) String() string {
	return fmt.Sprintf("%d requests, %d failed (%s), longest %v, full service after %v, at most %d of %d backends, %d slots lost, %d wrong answers",
		r.Requests, r.Failed, listCauses(r.Causes), r.LongestStall.Round(time.Millisecond), r.FullService.Round(time.Millisecond),
		r.Peak, r.Budget, r.SlotsLost, r.WrongAnswers)
}

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

func writeReport(file string) error {
	var b strings.Builder
	b.WriteString("| fault |\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
