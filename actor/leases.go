package actor

import (
	"cmp"
	"context"
	"fmt"
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
	held, err := s.leases(ctx, leasesRequest{})
	return held.leases, err
}

// OverdueLeases returns the leases that have been held for at least after, the oldest
// first, and publishes an EventLeaseOverdue for each. It returns each lease once. No
// other lease can become overdue before next has passed. It waits for the supervisor's
// answer, but no longer than ctx.
func (s *Supervisor) OverdueLeases(ctx context.Context, after time.Duration) (overdue []HeldLease, next time.Duration, err error) {
	held, err := s.leases(ctx, leasesRequest{overdue: true, after: after})
	return held.leases, held.next, err
}

func (s *Supervisor) leases(ctx context.Context, r leasesRequest) (heldLeases, error) {
	answers := make(chan heldLeases, 1)
	r.answer = answers
	s.send(envelope{request: r})
	held, err := await(ctx, s, answers, "the supervisor has not answered")
	if err != nil {
		return heldLeases{}, fmt.Errorf("leases: %w", err)
	}
	slices.SortStableFunc(held.leases, func(a, b HeldLease) int { return cmp.Compare(b.Age, a.Age) })
	return held, nil
}

type heldLeases struct {
	leases []HeldLease
	next   time.Duration
}

type leasesRequest struct {
	overdue bool // only those held for at least after, and not reported yet
	after   time.Duration
	answer  chan<- heldLeases
}

// carryOut looks at the slots only; one that lies in a seat has an even turn.
func (r leasesRequest) carryOut(s *Supervisor) {
	held := heldLeases{next: r.after}
	now := s.now()
	for i, sh := range s.shares {
		for c := sh.lent.head; c != nil; c = c.after {
			l, since := c.held()
			if l.slot == nil || r.overdue && c.reported == l.turn {
				continue
			}
			age := now - since
			if r.overdue && age < r.after {
				held.next = min(held.next, r.after-age)
				continue
			}
			held.leases = append(held.leases, HeldLease{ShareIndex(i), c.seats.workspace, age, l})
			if r.overdue {
				c.reported = l.turn
				s.noteOverdue(sh, c.seats.workspace, age)
			}
		}
	}
	r.answer <- held
}

// held returns the lease that the slot is on, and since when; none if it lies in a
// seat.
func (c *slot) held() (l Lease, since time.Duration) {
	turn := c.turn.Load()
	since = time.Duration(c.lent.Load())
	if turn%2 == 0 || c.turn.Load() != turn { // since may be of a later one
		return Lease{}, 0
	}
	return Lease{slot: c, turn: turn}, since
}
