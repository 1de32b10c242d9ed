package actor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// HeldLease is a lease that had not ended when it was asked for.
type HeldLease struct {
	Share     ShareIndex
	Workspace model.WorkspaceID
	Age       time.Duration
	// Lease is for reading; its holder may release it at any time.
	Lease Lease
}

// Leases returns the leases of all shares, the oldest first. It waits for the
// supervisor's answer, but no longer than ctx.
func (s *Supervisor) Leases(ctx context.Context) ([]HeldLease, error) {
	held, err := s.leases(ctx, false, 0)
	return held.leases, err
}

// OverdueLeases returns the leases that have been held for at least after, the oldest
// first, and publishes an EventLeaseOverdue for each. It returns each lease once. No
// other lease can become overdue before next has passed. It waits for the supervisor's
// answer, but no longer than ctx.
func (s *Supervisor) OverdueLeases(ctx context.Context, after time.Duration) (overdue []HeldLease, next time.Duration, err error) {
	held, err := s.leases(ctx, true, after)
	return held.leases, held.next, err
}

type heldLeases struct {
	leases []HeldLease
	next   time.Duration
}

func (s *Supervisor) leases(ctx context.Context, overdue bool, after time.Duration) (heldLeases, error) {
	held, err := ask(ctx, s, "leases", notAnswered, func() heldLeases { return s.heldLeases(overdue, after) })
	if err != nil {
		return heldLeases{}, err
	}
	slices.SortStableFunc(held.leases, func(a, b HeldLease) int { return cmp.Compare(b.Age, a.Age) })
	return held, nil
}

// heldLeases looks at the slots only; one that lies in a seat has an even turn. Overdue:
// only those held for at least after, and not reported yet.
func (s *Supervisor) heldLeases(overdue bool, after time.Duration) heldLeases {
	held := heldLeases{next: after}
	now := s.now()
	for i, sh := range s.shares {
		for _, c := range sh.leased {
			l, since := c.held()
			if l.slot == nil || overdue && c.reported == l.turn {
				continue
			}
			age := now - since
			if overdue && age < after {
				held.next = min(held.next, after-age)
				continue
			}
			held.leases = append(held.leases, HeldLease{ShareIndex(i), c.seats.workspace, age, l})
			if overdue {
				c.reported = l.turn
				s.publish(model.Event{Kind: model.EventLeaseOverdue, System: sh.system, Workspace: c.seats.workspace, HeldFor: age})
			}
		}
	}
	return held
}

// held returns the lease that the slot is on, and since when; none if it lies in a
// seat.
func (c *slot) held() (l Lease, since time.Duration) {
	turn := c.turn.Load()
	since = time.Duration(c.lentAt.Load())
	if turn%2 == 0 || c.turn.Load() != turn { // since may be of a later one
		return Lease{}, 0
	}
	return Lease{slot: c, turn: turn}, since
}

// oldestLease returns the oldest lease of those slots, and since when it lasts; none
// if all of them lie in seats.
func oldestLease(slots []*slot) (oldest Lease, since time.Duration) {
	for _, c := range slots {
		if l, at := c.held(); l.slot != nil && (oldest.slot == nil || at < since) {
			oldest, since = l, at
		}
	}
	return oldest, since
}

// oldestLease is that of all. It stays so until it ends, so that a flood of refusals
// does not look for it each time.
func (sh *share) oldestLease() (Lease, time.Duration) {
	if sh.oldest.slot != nil {
		if l, since := sh.oldest.slot.held(); l == sh.oldest {
			return l, since
		}
	}
	var since time.Duration
	sh.oldest, since = oldestLease(sh.leased)
	return sh.oldest, since
}

// nameOldestLease says in a refusal whose lease is the longest, of all or, where the
// end of another workspace's would not help, of the workspace's own.
func (s *Supervisor) nameOldestLease(sh *share, refusal error) {
	limit, ok := errors.AsType[*model.ConnectionLimitError](refusal)
	if !ok {
		return
	}
	var oldest Lease
	var since time.Duration
	if limit.Limit == model.WorkspaceLimit || limit.Limit == model.QueueLimit && limit.CurrentWorkspace >= limit.MaxPerWorkspace {
		oldest, since = oldestLease(sh.directory.find(limit.WorkspaceID).slots)
	} else {
		oldest, since = sh.oldestLease()
	}
	if oldest.slot != nil {
		limit.LongestLease = max(0, s.loop.now-since)
		limit.LongestLeaseWorkspace = oldest.slot.seats.workspace
	}
}
