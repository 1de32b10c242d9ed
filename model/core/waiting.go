package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Waiting says why a waiter waits, at one moment.
type Waiting struct {
	Workspace model.WorkspaceID
	// Waited is how long it has waited.
	Waited time.Duration
	// Before is how many acquires of all workspaces have waited longer, and
	// BeforeOwn how many of them are of its own.
	Before, BeforeOwn int
	// Budget, EffectiveBudget and PerWorkspace are the limits; All and Own what
	// all workspaces hold, and its own.
	Budget, EffectiveBudget, PerWorkspace int
	All, Own                              model.Counts
	// MostDialing is how many dials may be under way at once.
	MostDialing int
	// RetryIn is how long nothing will be dialed for it, after dials that failed.
	RetryIn time.Duration
	// Reason is what a Cancel would be answered: a *ConnectionLimitError, a
	// *DialError, or an error that wraps ErrPaused or ErrDialing.
	Reason error
}

// Waiting says why the Acquire of that lease waits. It reports false if there is
// none. It takes time linear in the number of waiters.
func (s *State) Waiting(lease LeaseID) (Waiting, bool) {
	wt := s.waiters[lease]
	if wt == nil {
		return Waiting{}, false
	}
	w := wt.workspace
	waiting := Waiting{
		Workspace:       w.id,
		Waited:          s.now - wt.arrived,
		Budget:          s.limits.Budget,
		EffectiveBudget: s.effective,
		PerWorkspace:    s.limits.PerWorkspace,
		All:             countsOf(&s.counts, s.queue.size),
		Own:             countsOf(&w.counts, w.waiting()),
		MostDialing:     s.counts[dialing] + s.dialRoom(),
		Reason:          s.waitedFor(wt),
	}
	for n := wt.inQueue.prev; n != nil; n = n.prev {
		waiting.Before++
		if n.item.workspace == w {
			waiting.BeforeOwn++
		}
	}
	for _, b := range []*backoff{&w.backoff, &s.server} {
		if b.lasts(s.now) {
			waiting.RetryIn = max(waiting.RetryIn, b.until-s.now)
		}
	}
	return waiting, true
}
