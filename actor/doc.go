// Package actor runs the decision core of package model/core: one goroutine, the
// supervisor, owns the state of all connections, and everybody else reaches it by
// message. There is no lock. It knows neither pgx nor HTTP: what a connection is, its
// [Dialer] and [Conn] say.
//
//	callers ---- Acquire, Cancel, Release, Evict, ... ----> mailbox
//	workers ---- DialSucceeded, DialFailed, Closed -------> mailbox
//	timer ------ Tick ------------------------------------> mailbox
//	                                                           |
//	                                                           v
//	                                            +---------------------+
//	                                            |     supervisor      |
//	                                            | core.State.Step()   |
//	                                            +---------------------+
//	                                                  |        |
//	callers <--- Grant, Reject: a reply channel ------+        |
//	workers <--- Dial, Close: a new goroutine -----------------+
//	watchers <-- events: a channel that loses what does not fit
//
// The loop blocks nowhere but on an empty mailbox: a reply goes, once, into a channel
// with room for it; dialing and closing happen on worker goroutines that post
// exactly one result back; it does no I/O and never sends to its own mailbox.
// So whoever sends to the mailbox is received, and sending never deadlocks.
//
// Each watcher (Supervisor.Events) has a channel of its own, into which the loop puts an
// event only if there is room.
//
// The supervisor owns one core.State for each [Share] of the server's
// connections, and the connections themselves while they are idle or closing. A
// lease's holder owns its connection until Release.
//
// # Ending
//
// Drain ends the shares in their order, each when the one before it is empty. The
// goroutine stops when the last connection of the last share is gone. As long as a
// lease is out it runs, so no Release is lost; once it has stopped there is no lease,
// and nothing can be granted.
//
// # The recording
//
// The supervisor keeps what it has told each core of late (Supervisor.Recordings), so
// that what went wrong can be replayed. The messages stand in two generations: when
// one is full, it takes the place of the one before it, and the next begins with an
// image of the core. So there are always between one and two generations of messages
// that follow an image. One has 4,096 messages, or four for each connection, waiter
// and known workspace if that is more; the image, which takes a hundred nanoseconds
// for each of these, then takes a few percent of the time that the messages take. A
// message has 120 bytes: up to 980 KB for each share, or up to 980 bytes, and twice
// its image, for each of the items of a large one. What is handed out is a copy.
//
// # Seats
//
// A message and its reply cost a microsecond and wake two goroutines. Most acquires need
// none: a workspace has seats, atomic places for one connection each, in which a holder
// leaves its connection for the next one.
//
//	Release --put--> seat --take--> Acquire                     nobody is short of a slot
//	Release --message--> supervisor --reply--> Acquire          otherwise
//
// For the core a connection in a seat is still in use.
//
// Two flags send every release to the supervisor instead: closed, of a workspace
// (somebody waits for a connection of it, it has more than its cap, or one of its
// connections was dialed before a Renew or Pause, or is in exclusive use),
// and short, of a share (the core wants a slot that is neither free nor on its way,
// or the share drains).
//
// No wake-up is lost. Whoever fills or empties a seat does that first and looks
// at the flags after; the supervisor raises a flag first and looks into the
// seats after. Atomics order these four steps, so for each connection and each flag
// one of the two sees the other:
//
//	holder:      put into the seat     ->  look at the flags
//	supervisor:  raise the flag        ->  take what is in the seats
//
// If the holder saw the flag down, its put came before the flag was raised, and the
// supervisor finds the connection (unless another caller took it first; the same then
// holds for that caller's release). If the holder saw the flag up, it takes back what
// lies in the seats and sends it. A caller that takes a connection also looks at the flags
// afterwards: if one is up, somebody came first, so it sends the connection to the
// supervisor and queues. So nobody overtakes a waiter. seats.pml is a model of this, and
// seats.check has spin try every interleaving.
//
// At most one holder. Whoever takes a slot from a seat or the mailbox has it alone.
// A lease is the slot and its turn, which every Release and every grant increments. A
// second Release finds another turn, and does nothing.
//
// The order of eviction stays exact. A core that is short of a slot does not close a
// connection at once. The supervisor first raises short, recalls the seats, and sends the
// core a Release for each connection found there, with its true time and that of the use
// before; then it sends Reclaim. While short is up nothing is put into a seat, so the core
// knows of every connection that nobody holds. A connection recalled stands for at least
// one release that cost no message, so the recall is paid for.
//
// A holder reads the clock and then fills the seat, and a recall may come in between. The
// connection evicted then was back in the pool when the holder's was not yet, which is as
// exact as it can be.
//
// A connection that lies unused in a seat must not miss the end of its idle time or
// lifetime, nor its test: all seats are recalled every recallEvery, and also by Stats, by
// whatever makes all idle connections suspect, and by an acquire that does not wait. The
// slots themselves count the acquires that found a connection in a seat, and know since
// when each lease lasts.
//
// # Traffic
//
// What became of each acquire is recorded while somebody asks for it (Supervisor.Traffic).
// The supervisor notes what it is told: who was refused, and each turn after which a slot
// is sent to it. The other turns are noted by the slot's owner, just before he leaves it in a
// seat, in a log of the slot's own. A slot has two, one for every other period, which is
// the time from one Traffic to the next.
//
//	holder:      end the turn         ->  look which log  ->  write it  ->  put into the seat
//	supervisor:  change the period    ->  see an odd turn ->  read the other log
//
// A holder whose turn the supervisor has seen ends it later, and so sees the new period. All
// holders before have written by the time that turn began. So nobody else touches the log that
// the supervisor reads, although the slot is lent. If it sees an even turn, the slot is just
// being given back: it looks again. The turn that the supervisor granted, the first of a slot
// away from home, is noted in a place of its own, so that there is always room for it.
package actor
