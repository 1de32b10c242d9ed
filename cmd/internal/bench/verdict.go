package bench

import (
	"fmt"
	"strings"
)

// Verdict is an error when a strategy reached a wrong database: then its figures
// mean nothing.
func (r *Result) Verdict() error {
	var found []string
	for _, w := range r.Workloads {
		for _, s := range w.Strategies {
			if s.WrongAnswers > 0 {
				found = append(found, fmt.Sprintf("%s, %s: %d", w.Workload, s.Name, s.WrongAnswers))
			}
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("bench: connections reached another workspace's database, please report it: %s", strings.Join(found, "; "))
	}
	return nil
}
