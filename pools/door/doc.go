// Package door speaks PostgreSQL's wire protocol in front of a [pools.Manager]: any
// PostgreSQL client, in any language, shares the same budget. The name of the database
// that a client asks for is the id of a workspace, and the Manager decides which server
// connection carries each transaction.
//
//	client ── start-up ──> session ── lease ──> server
//	          startup.go   session.go  relay.go
//	          login.go     prepared.go settings.go
//	          auth.go      effects.go  cancel.go
//
// A client costs a goroutine while it is idle, and no buffer. A connection is acquired at
// the first message of a transaction and given back when the server says that it has ended
// (ReadyForQuery 'I'), unless the session has something that would be lost with it.
//
// What must never happen, and where it is prevented:
//
//   - A client reaches a workspace that its credential does not name: [Grant.Opens], asked
//     once, between the start-up and the session.
//   - A client sees what another one has left in a server session: effects.go says what a
//     statement may leave, settings.go and prepared.go carry over what belongs to the
//     client, and what remains is reset before the connection is lent again.
//   - A cancel request hits the next user of a server process: the connection is not given
//     back before the request's own connection is at its end (cancel.go).
//   - A client that is slow, silent or gone keeps something from others: each wait has a
//     bound, and what runs for a client that is gone is cancelled.
//
// The package's state has one owner, the desk (desk.go), which is reached by message; a
// session is owned by its goroutine.
package door
