// Package actor runs the decision core of package model: one goroutine, the
// supervisor, owns all state of all connections, and everybody else reaches it
// by message. There is no lock.
//
//	callers ---- Acquire, Cancel, Release, Evict, ... ----> mailbox
//	workers ---- DialSucceeded, DialFailed, Closed -------> mailbox
//	timer ------ Tick --------------------------------+        |
//	                                                  v        v
//	                                            +---------------------+
//	                                            |     supervisor      |
//	                                            | model.State.Step()  |
//	                                            +---------------------+
//	                                                  |        |
//	callers <--- Grant, Reject: a reply channel ------+        |
//	workers <--- Dial, Close: a new goroutine -----------------+
//	watchers <-- events: a channel that loses what does not fit
//
// The loop blocks nowhere but in its select: a reply goes, once, into a channel
// with room for it; dialing and closing happen on worker goroutines that post
// exactly one result back; it does no I/O and never sends to its own mailbox.
// So whoever sends to the mailbox is received, and sending never deadlocks.
//
// Whoever watches (Supervisor.Events) is told through a channel of its own, into
// which the loop puts an event only if there is room.
//
// The supervisor owns one model.State for each [Share] of the server's
// connections, and the connections themselves while they are idle or closing. A
// lease's holder owns its connection until Release.
//
// # Ending
//
// Drain ends the shares in their order, each when the one before it is empty.
// The goroutine stops when the last connection of the last share is gone. So
// long as a lease is out it runs, and a Release is never lost; after it stopped
// there is no lease, and nothing can be granted.
//
// # Where seats will go
//
// A parked connection need not pay for a message: a channel of capacity one for
// each active workspace, between Release and Acquire in client.go, can pass it
// on directly while nobody waits. The core sees such a connection as in use;
// Supervisor.step is the place to recall it before a decision about room.
package actor
