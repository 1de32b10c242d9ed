package core

import (
	"iter"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// Stats returns a copy of the state at now, its Active in no particular order. It
// takes time linear in the number of known workspaces.
func (s *State) Stats(now time.Duration) model.BudgetStats {
	st := model.BudgetStats{
		Budget:          s.limits.Budget,
		EffectiveBudget: s.effective,
		PerWorkspace:    s.limits.PerWorkspace,
		Counts:          countsOf(&s.counts, s.waiting()),
		BatchBudget:     s.limits.Batch(),
		Batch:           countsOf(&s.batch, s.batchQueue.size),
		Counters:        s.counters,
		Draining:        s.draining,
	}
	if first := s.queue.head; first != nil {
		st.LongestWait = now - first.item.Arrived
	}
	if s.server.Failures > 0 {
		st.ServerDown = s.server.Err
	}
	for _, w := range s.workspaces { // a report, not a decision
		if w.listed.in != nil {
			continue // retired
		}
		st.Active = append(st.Active, model.WorkspaceStats{
			ID:        w.ID,
			Counts:    countsOf(&w.counts, w.waiting()),
			Cap:       s.capOf(w),
			SoftCap:   s.softCapOf(w),
			LastUsed:  now - w.LastUsed,
			Dials:     w.Dials,
			Evictions: w.Evictions,
			Paused:    w.shut(),
		})
	}
	return st
}

// Counts says how many connections are in which state, and how many acquires wait.
func (s *State) Counts() model.Counts { return countsOf(&s.counts, s.waiting()) }

// Counters are those of Stats.
func (s *State) Counters() model.Counters { return s.counters }

// Limits are those in force, and effective what the server grants of their budget.
func (s *State) Limits() (limits model.Limits, effective int) { return s.limits, s.effective }

// OwnLimits are those of the known workspaces that have some of their own, in no order.
func (s *State) OwnLimits() iter.Seq2[model.WorkspaceID, model.WorkspaceLimits] {
	return func(yield func(model.WorkspaceID, model.WorkspaceLimits) bool) {
		for id, w := range s.workspaces { // a report, not a decision
			if w.Limits != (model.WorkspaceLimits{}) && !yield(id, w.Limits) {
				return
			}
		}
	}
}

func countsOf(counts *[connStates]int, waiting int) model.Counts {
	return model.Counts{
		Dialing: counts[dialing],
		Idle:    counts[idle],
		InUse:   counts[inUse],
		Closing: counts[closing],
		Waiting: waiting,
	}
}
