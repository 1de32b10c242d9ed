package web

import (
	"fmt"
	"net/http"
)

// turns bound how many requests of a kind are under way at once, in all and for each
// subject, so that one client's cannot be all of them. What one request may cost is
// bounded elsewhere; together these bound what all of them cost.
type turns struct {
	all, each int
	// taken holds the subjects' turns. Whoever has received it may read and change it,
	// and sends it back at once.
	taken chan map[string]int
}

func newTurns(all, each int) *turns {
	t := &turns{all: all, each: each, taken: make(chan map[string]int, 1)}
	t.taken <- make(map[string]int)
	return t
}

// checkTurns refuses bounds of which one would never hold. The names are those of
// tenantpool serve.
func checkTurns(what, variable string, all, each int) error {
	if each <= all {
		return nil
	}
	return fmt.Errorf("%d %s of one subject are more than the %d of all: lower the one (%s_PER_SUBJECT) or raise the other (%s)", each, what, all, variable, variable)
}

// take begins the turn of a request, which ends with giveBack. It waits for nothing: if
// there is none left the error is a 429 or a 503.
func (t *turns) take(subject, what string) (giveBack func(), err error) {
	taken := <-t.taken
	defer func() { t.taken <- taken }()
	all := 0
	for _, n := range taken {
		all += n
	}
	switch {
	case taken[subject] >= t.each:
		return nil, &failure{
			status: http.StatusTooManyRequests, retryAfter: retrySoon,
			message: fmt.Sprintf("%q has %d %s at once, as many as one subject may have: try again when one has ended", subject, t.each, what),
		}
	case all >= t.all:
		return nil, &failure{
			status: http.StatusServiceUnavailable, retryAfter: retrySoon,
			message: fmt.Sprintf("there are %d %s at once, as many as there may be: try again when one has ended", t.all, what),
		}
	}
	taken[subject]++
	return func() { t.end(subject) }, nil
}

func (t *turns) end(subject string) {
	taken := <-t.taken
	if taken[subject]--; taken[subject] == 0 {
		delete(taken, subject)
	}
	t.taken <- taken
}
