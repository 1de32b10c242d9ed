package actor

import (
	"strconv"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// RecallSeldom keeps the supervisor, to which nobody has said anything yet, from
// emptying the seats before an hour has passed: so it does not find by
// chance what it should have been told of.
func (s *Supervisor) RecallSeldom() {
	for _, sh := range s.shares {
		sh.recallEvery = time.Hour
	}
}

// CountUsage counts two acquires of each of n workspaces: one after the other, and the
// second when 4,000 others have had one.
func CountUsage(n int) (remembered []model.WorkspaceUsage, others model.WorkspaceUsage) {
	u := newUsage()
	for i := range n {
		u.of(model.WorkspaceID(strconv.Itoa(i))).Acquires++
		u.of(model.WorkspaceID(strconv.Itoa((i+n-4_000)%n))).Acquires++
	}
	return u.all(), u.others
}
