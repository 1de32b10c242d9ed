package model

import "time"

// SharedBudget is a budget that several processes share, as its tables and the server's
// list of sessions show it at one moment.
type SharedBudget struct {
	// Group is its name, Budget how many connections its replicas may have together, their
	// control sessions included.
	Group  string
	Budget int
	// Floor is how many connections each replica may always have, besides its control
	// session. Reserve is what stays free for a newcomer: a control session, and a floor.
	Floor, Reserve int
	// Free is what nobody has a claim to, the reserve included. It is negative while more
	// is promised than the budget has, as after it was lowered.
	Free int
	// Strangers are connections of the role that no replica owns.
	Strangers int
	// RoleLimit is the role's CONNECTION LIMIT, which should be the budget; -1: there is
	// none that holds for it.
	RoleLimit int
	// Replicas are the processes, by when they joined.
	Replicas []Replica
}

// Replica is one process of a SharedBudget.
type Replica struct {
	// ID is the process's alone. Label is its host and process id, for people.
	ID, Label string
	// Self: it is the one that was asked.
	Self  bool
	State ReplicaState
	// Age is how long ago it joined.
	Age time.Duration
	// Share is how many connections it may hold, its control session not included, and
	// Granted how many it should have: it is asked to give back the difference. Wants is
	// how many it has a use for.
	Share, Granted, Wants int
	// Open is how many of its connections the server shows. InUse are those of them that
	// are lent, and Waiting how many acquires wait, as the replica said last, a second or
	// so ago.
	Open, InUse, Waiting int
}

// Idle is how many of its connections are open and not lent.
func (r Replica) Idle() int { return max(0, r.Open-r.InUse) }

// ReplicaState is what becomes of a replica.
type ReplicaState string

const (
	// ReplicaPresent has a control session.
	ReplicaPresent ReplicaState = "present"
	// ReplicaLeaving drains.
	ReplicaLeaving ReplicaState = "leaving"
	// ReplicaGone has no control session: it has ended, or cannot reach the server. The
	// others get its share as the server ends its connections.
	ReplicaGone ReplicaState = "gone"
)

// ReplicaStats is a process's own part in a SharedBudget, as it knows it.
type ReplicaStats struct {
	// Group is the budget's name; empty: the budget is not shared.
	Group string
	// Connected: the process has a control session. While it has none it dials nothing.
	Connected bool
	// Budget is that of the group, Limit how many connections the process may hold now,
	// its control session not included.
	Budget, Limit int
	// Refusals is how often the server had no room for one of these all the same
	// (SQLSTATE 53300), since the start: the role has other connections, or its CONNECTION
	// LIMIT is less than the budget. It only grows.
	Refusals uint64
}
