package model

import "time"

// DoorStats is the state of the door (package door) at one moment, and what it has counted
// since it was opened.
type DoorStats struct {
	// Clients are those logged in; the next four are parts of them, the rest is idle.
	Clients int
	// Active have a server connection, Waiting wait for one, Pinned keep one beyond their
	// transaction for what they have left in its session.
	Active, Waiting, Pinned int
	// Starting have not logged in yet.
	Starting int
	// Logins, LoginsRefused and Cancels count clients, failed log-ins and cancel requests.
	Logins, LoginsRefused, Cancels uint64
	// Transactions and Queries count those that have ended; one message that may have
	// several statements is one query. Errors are the server's and the door's.
	Transactions, Queries, Errors uint64
	// Prepared counts statements that the door has prepared again on another connection,
	// Resets the sessions that it has reset, and Replays the settings that it has restored.
	Prepared, Resets, Replays uint64
	// FromClients and FromServers are bytes.
	FromClients, FromServers uint64
	// WaitTime is how long clients have waited for connections, in all.
	WaitTime time.Duration
	// QueryTime is how long servers have worked for clients, in all, and TransactionTime
	// how long clients have had connections.
	QueryTime, TransactionTime time.Duration
	// Draining: no new client comes in.
	Draining bool
	// Workspaces are those that have clients, by id.
	Workspaces []DoorWorkspace
}

// DoorWorkspace is the door's part in one workspace.
type DoorWorkspace struct {
	ID                               WorkspaceID
	Clients, Active, Waiting, Pinned int
	// LongestWait is how long the first of those that wait has waited.
	LongestWait time.Duration
	// The rest counts since the workspace's first client came, while one is there.
	Transactions, Queries, Errors        uint64
	FromClients, FromServers             uint64
	WaitTime, QueryTime, TransactionTime time.Duration
}
