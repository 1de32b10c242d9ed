// Package core decides who gets which connection.
//
// It is a pure state machine, [State]: a message goes in with the time it arrived,
// effects come out. It owns no goroutine, channel, clock or source of randomness
// and touches nothing outside itself, so the same limits and the same messages
// always give the same effects: a log of (now, message) replays any bug. Package
// actor runs it. It never decides by ranging over a map.
//
//	Acquire Cancel Release Evict Renew Pause Resume SetLimits SetWorkspaceLimits Drain
//	                                 |
//	DialSucceeded DialFailed Closed  v         Tick
//	----------------------------> State <----------------
//	                                 |
//	                                 v
//	     Grant Reject Dial Close OperationDone WakeAt Drained
//
// # The life of a connection
//
// One State decides over one budget: a number of slots, one for each backend
// process that the server may run for it.
//
//	(free slot) --Dial--> dialing --DialSucceeded--> idle <--> in use
//	     ^                   |                         |          |
//	     |              DialFailed                   Close      Close
//	     |                   |                         |          |
//	     +-------------------+--------Closed------- closing <-----+
//
// A closing connection still holds its slot, because the server still runs its
// backend; only Closed, or a DialFailed whose slot is not held, frees it. A
// closing connection counts as "on its way" to being free for
// Limits.CloseGrace; after that it lingers: counted against the budget as
// before, but nobody's plans rest on it any more.
//
// # The rules
//
// Words: a waiter is an Acquire without an answer. The workspace's dials
// under way are meant for its first waiters, in order: with d dials under
// way its first d waiters are expected to be served by them. The waiters
// after those are uncovered. An exclusive waiter wants the only connection of its
// workspace; a workspace is shut while it is paused, or has an exclusive waiter or
// lease. It is held back while it is shut or its dials are backing off. Its need
// is the number of further dials that would serve it now:
//
//	need = 1 when it has an exclusive waiter, no connection and no back-off,
//	     = 0 when held back, else max(0, min(waiters - dialing, cap - open))
//
// with cap = what the workspace's own limits say, or else Limits.PerWorkspace, and
// open = dialing + idle + in use + closing. Its needy waiters are the
// first `need` uncovered ones. The demand is the sum of all needs.
//
//		dialRoom = 0                          while the server's back-off lasts
//		         = max(0, 1 - dialing)        after it, until a dial was answered
//		         = max(0, pace - dialing)     otherwise
//
//		pace     = MaxDialing, or what observe in pace.go finds best below it
//
//		wanted   = min(demand, dialRoom)
//
//		coming   = effective budget - open + on their way   (free slots, now or soon)
//
//	 1. Acquire is answered from the top (the most recently used) of its
//	    workspace's idle connections. With none, it joins the end of its
//	    workspace's queue, unless the queue is full, the workspace's last dial
//	    failed for good and backs off (and it is not paused), or it would not wait
//	    (NoWait) and neither a dial under way nor one that could start, now or
//	    after an eviction, would serve it: then it is refused at once. The error
//	    names the longest lease: of the workspace's own if it is at its cap.
//	 2. A connection that comes free (released clean, or freshly dialed) goes to the
//	    first waiter of its workspace; with no waiter there it becomes idle. It is
//	    closed instead if something ends it: draining, its workspace shut, stale, its
//	    lifetime over, the budget or the cap exceeded after SetLimits. It is also
//	    closed if its slot is owed to an older waiter of another workspace: if more
//	    than max(0, coming) needy waiters arrived earlier than that first waiter by
//	    more than Patience, and dialRoom exceeds max(0, coming). But it stays with its
//	    workspace until it has been open for nine times as long as its dial took, at
//	    most a second.
//	 3. After every message: while the demand, the dial room and the free slots
//	    under the effective budget are positive, a dial starts for the workspace
//	    of the needy waiter that arrived first.
//	 4. On Reclaim, idle connections are closed, in the order of eviction, until there
//	    are none: first as many as the open ones that are not closing exceed the
//	    effective budget; then, if wanted is positive, as many as wanted exceeds
//	    coming. Reclaimable tells when to ask for it. Reclaim is a message of its own
//	    so that whoever runs the State can first report every connection that came
//	    free without a message.
//	    The order of eviction is that of Limits.Eviction. LRU: the least recently used
//	    first, ties by the lower ConnID. LRU2: the ones without a last use but one
//	    first, then the one whose last use but one ended longest ago; ties as with LRU.
//	    A use is a lease; until its first one ends, its dial counts as a connection's
//	    last use. One that is dialed while its workspace has none but closing ones goes
//	    on from the workspace's last use, if that is still remembered (I10): so what was
//	    evicted and comes back has a last use but one. Any other begins without, so what
//	    a burst opens goes first. (This is O'Neil's LRU-K with K = 2; the remembered
//	    workspaces are its ghost list.)
//	 5. A permanent dial failure holds its workspace back and answers all of its
//	    waiters at once, unless it is paused (Resume forgets the failure); a
//	    transient one holds it back and they wait on. After any failure the NoWait
//	    ones that no dial under way is meant for are answered. A failure that means
//	    that the server is down holds all dials back. A refusal because the server is
//	    full lowers the effective budget to what is open (after the failed dial's slot
//	    is free); from ProbeAfter on, it is raised by 1, 2, 4, ... every ProbeAfter
//	    until it is the budget again.
//	 6. Idle connections are closed when their lifetime or idle time is over, at
//	    the first message from then on (WakeAt asks for one). A Grant asks to
//	    verify one that was idle for VerifyAfter, or since before the server was
//	    down or a connection was lost.
//	 7. Renew makes every connection of its workspace stale that was dialed before,
//	    or is being dialed. Idle ones close at once, the others when they come free
//	    (rule 2). A stale dial under way still counts as one for its waiter; when it
//	    succeeds, its connection closes and the waiter is uncovered again. A Renew
//	    forgets the workspace's dial back-off, and a permanent failure of a stale
//	    dial counts as a transient one. A Pause makes them stale, too: those that are
//	    lent when it comes close when they come free, also after the Resume.
//	 8. An exclusive Acquire closes its workspace's idle connections and waits, in a
//	    queue of its own. A freshly dialed connection goes to the first of that
//	    queue if it is the only one of the workspace (rule 2), also under a pause,
//	    and is closed when it is released. A permanent failure answers the exclusive
//	    waiters in any case.
//	 9. Batch work lets interactive waiters go first. Its waiters stand in queues of their
//	    own, which MaxWaiters bounds for themselves; NoWait means nothing with them. In a
//	    workspace the dials under way are meant for interactive waiters first, and what
//	    they leave over, and the idle connections, for batch ones; so is the cap.
//	    The batch share is max(1, BatchShare * budget) slots: those dialing for batch
//	    waiters, lent to them, or closing after that. Of pace it has the same share. Needy
//	    batch waiters that have room in both follow all interactive ones in rules 3 and
//	    4; but while batch work has no slot, its first one comes by its arrival.
//	    In rule 2 a connection that a batch waiter would get goes to any needy
//	    interactive one instead, however late it came and however long the
//	    connection has been open, unless batch work has no other slot.
//	    A batch waiter is lent an idle connection (rule 1), or one that comes free, if
//	    the share has room for it beside the needy batch waiters, or none of those is
//	    older by more than Patience, or the connection was batch work's and stays
//	    (rule 2); an idle one only if no slot is wanted for an interactive waiter that
//	    is neither free nor on its way. Else it waits for that.
//	    A connection is cold until an interactive lease has used it, if it was dialed for
//	    a batch waiter. Cold ones are evicted (rule 4) and closed before all
//	    others, and lent after them: batch work does not displace what is in use.
//	10. A workspace's soft cap is what its own limits say, or else
//	    Limits.SoftPerWorkspace, but at most its cap; with neither it is the cap. What it
//	    needs beyond max(0, soft cap - open) is surplus. Surplus waiters follow the other
//	    interactive ones, and the batch one that comes by its arrival, in rules 3 and 4,
//	    and go before the other batch ones. In rule 2 a connection of a workspace that has
//	    more open than its soft cap goes to any of those that a surplus waiter follows
//	    instead, however late they came and however long it has been open.
//
// # Invariants
//
//	I1  dialing + idle + in use + closing <= budget, always; only Closed or
//	    DialFailed frees a slot. (Right after SetLimits lowered the budget it
//	    may be exceeded; it then only shrinks, and nothing is dialed.)
//	I2  The same for each workspace and its cap.
//	I3  Every Acquire is answered exactly once, by Grant or Reject, also when
//	    it is cancelled or the State drains.
//	I4  The connection of a lease was dialed for the lease's workspace.
//	I5  A connection is in one state and on at most one lease; a Release that
//	    is not of the connection's current lease changes nothing but a counter.
//	I6  The LRU heap holds exactly the idle connections. One evicted to make
//	    room was idle, and no other idle one came before it in the order of
//	    eviction (rule 4).
//	I7  No lost wake-up: after a message no waiter is left whom a grant or a dial
//	    could serve under rules 1 to 3, nor after a Reclaim one whom an eviction
//	    could. Short tells whether a connection that comes free might serve one.
//	I8  Within a workspace grants are first-in first-out. Across workspaces a
//	    needy waiter that no slot is coming for is never passed over by a
//	    hand-off to one that arrived later by more than Patience, while a dial
//	    for it could start, unless that connection stays (rule 2), or only that
//	    one is within its soft cap (rule 10).
//	I9  After Drain there is no Dial and no Grant, and Drained comes once, when
//	    the last slot is free.
//	I10 Memory is bounded by the budget, the waiters, the paused workspaces and
//	    a constant; workspaces that are gone cost nothing.
//	I11 No stale connection is idle, or granted after the Renew or Pause.
//	I12 While a lease is exclusive, its connection is the only one of its workspace,
//	    and no other acquire of it is granted.
//	I13 Batch work gets no slot beyond its share. (SetLimits may leave it with more.)
//
// [State.Check] verifies the structural ones; package property_tests the rest.
//
// # Replay
//
// [State.Image] copies what a State knows for itself and [Restore] makes another State of
// it. A [Recording] is an Image and the messages since, small enough to keep always; a
// State that is made of it and told the messages has the same effects and becomes the
// same. [State.Waiting] says at each step why a waiter waits, and [DescribeMessage] and
// [DescribeEffect] put the steps into words: the command tenantpool replay shows both.
package core
