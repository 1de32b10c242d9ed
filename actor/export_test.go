package actor

import "time"

// LookSeldom keeps the supervisor, to which nobody has said anything yet, from
// looking through the seats when an hour has passed only: so it does not find by
// chance what it should have been told of.
func (s *Supervisor) LookSeldom() {
	for _, sh := range s.shares {
		sh.lookEvery = time.Hour
	}
}
