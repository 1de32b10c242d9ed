package model

import "time"

// Lease is a connection that is lent.
type Lease struct {
	// Workspace is whose connection it is. With System it is one of the system database's.
	Workspace WorkspaceID
	System    bool
	// Age is how long it has been lent.
	Age time.Duration
	// AcquiredAt has a line for each function that led to the acquire, the innermost
	// first. It is empty without Config.LeaseTracing.
	AcquiredAt string
}
