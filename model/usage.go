package model

import "time"

// Usage is what workspaces have had since the start.
type Usage struct {
	// Workspaces are those of the last 10,000 or so that had anything, the one with the most
	// connection time first.
	Workspaces []WorkspaceUsage
	// Others is the sum of all workspaces that are no longer remembered; its ID is empty. So
	// nothing is missing from the sum of all.
	Others WorkspaceUsage
}

// WorkspaceUsage is that of one workspace.
type WorkspaceUsage struct {
	ID WorkspaceID
	// Acquires counts requests, Waits those of them that got a connection and had to wait
	// for it, and Refused those that got none.
	Acquires, Waits, Refused uint64
	// Dials counts the connections that were begun to be opened.
	Dials uint64
	// Waited is how long the Waits took together, Lent how long connections were lent. What
	// is lent now is not in it; a connection that goes from one holder to the next is
	// counted about once a second.
	Waited, Lent time.Duration
}

// Add adds the other's numbers.
func (u *WorkspaceUsage) Add(o WorkspaceUsage) {
	u.Acquires += o.Acquires
	u.Waits += o.Waits
	u.Refused += o.Refused
	u.Dials += o.Dials
	u.Waited += o.Waited
	u.Lent += o.Lent
}
