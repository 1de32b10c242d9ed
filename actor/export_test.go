package actor

import "time"

// RecallSeldom keeps the supervisor, to which nobody has said anything yet, from
// emptying the seats before an hour has passed: so it does not find by
// chance what it should have been told of.
func (s *Supervisor) RecallSeldom() {
	for _, sh := range s.shares {
		sh.recallEvery = time.Hour
	}
}
