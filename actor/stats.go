package actor

import (
	"context"

	"github.com/tenantpool/tenantpool/model"
)

// Stats is a copy of the state of all shares at one moment.
type Stats struct {
	Shares []model.BudgetStats
	// Saturation is which part of the time since the last Stats the supervisor
	// was busy, from 0 to 1.
	Saturation float64
}

// Stats returns a copy of the state of all shares at one moment. It waits for
// the supervisor's answer, but no longer than ctx.
func (s *Supervisor) Stats(ctx context.Context) (Stats, error) {
	st, err := ask(ctx, s, "stats", notAnswered, s.stats)
	if err != nil {
		return Stats{}, err
	}
	for i := range st.Shares {
		st.Shares[i].SortActive() // here, not at the supervisor's expense
	}
	return st, nil
}

func (s *Supervisor) stats() Stats {
	st := Stats{Shares: make([]model.BudgetStats, len(s.shares))}
	for i, sh := range s.shares {
		s.recallAll(sh)
		st.Shares[i] = s.shareStats(sh)
	}
	now := s.now()
	if busy, over := s.loop.busy+now-s.loop.wokeAt, now-s.loop.statsAt; over > 0 {
		st.Saturation = min(1, busy.Seconds()/over.Seconds())
	}
	s.loop.busy, s.loop.statsAt, s.loop.wokeAt = 0, now, now
	return st
}

// shareStats adds to what the core knows what only the slots tell.
func (s *Supervisor) shareStats(sh *share) model.BudgetStats {
	now := s.loop.now
	st := sh.state.Stats(now)
	for _, c := range sh.leased {
		sh.countSeatHits(c)
	}
	st.Counters.Acquires += sh.seatHits
	st.Counters.Hits += sh.seatHits
	st.Waits, st.DialTimes = sh.waits, sh.dialTimes
	if oldest, since := sh.oldestLease(); oldest.slot != nil {
		st.LongestLease, st.LongestLeaseWorkspace = max(0, now-since), oldest.slot.seats.workspace
	}
	for i := range st.Active {
		w := &st.Active[i]
		if ts := sh.directory.find(w.ID); ts != nil {
			for _, c := range ts.slots {
				if l, since := c.held(); l.slot != nil {
					w.LastUsed = max(0, min(w.LastUsed, now-since))
				}
			}
		}
	}
	return st
}
