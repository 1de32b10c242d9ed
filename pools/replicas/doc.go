// Package replicas divides one budget of connections among the processes of one
// application, the replicas. PostgreSQL, which the budget protects, is the arbiter: each
// replica has a control session, and the division stands in two tables. No replica is the
// leader; whoever sees a need reads all, decides by [Step], and writes the decision in one
// statement that changes nothing if somebody else has decided meanwhile.
//
// # Words
//
// The budget is what the role's connections may be together. A replica is present while
// its control session is in the server's list. It is granted what it should have, and
// promised what it may still hold: promised >= granted. Its limit is what it holds itself
// to: granted <= limit <= promised, or less. Floor is what each may always have. The
// reserve of 1 + floor slots, a control session and a floor, is kept free for a newcomer.
// A row keeps the slot of its control session until it is deleted.
// Strangers are connections of the role that no replica owns: neither do they have the
// application_name of one, nor does one lack as many as it says it has open.
//
// # Rules
//
//  1. Only a decision raises, and gives the row a new seq. A report only lowers promised,
//     and says nothing if the row's seq is not the one that the replica knows: a report
//     that comes late is harmless.
//  2. A replica that reads a lower grant lowers its limit at once, closes what is beyond
//     it as it comes free, and reports what is then open as promised, one by one.
//  3. It dials only while less than its limit is open or being dialed, and only after a
//     round trip on its control session that was begun for this dial. A dial ends within
//     MaxDial of the beginning of that round trip.
//  4. When it loses its control session it dials no more and keeps its limit down to what
//     is open. When it registers anew it takes over its row: its limit is what the row
//     promises, never more. A newcomer's row begins with nothing, if there is room for it.
//  5. Of a replica that is gone, in the looks after the one that missed it no more counts
//     than what the server shows of it and MaxDialing, which may be on their way; after
//     Settle, what the server shows. A look is not one moment.
//  6. Free slots go to the poorest replica that needs one, one by one; a replica below its
//     floor may use the reserve.
//  7. For what is then still needed, each replica is asked for what it does not need, or
//     for half of what it has more than the poorest, but for no more than is needed. What
//     nobody needs stays where it is.
//  8. While more is given than the budget has, as after it was lowered or the reserve
//     used, the richest are asked for it. Neither here nor by rule 7 is anybody asked for
//     its floor, but one that is about to leave, which needs nothing.
//
// # Pace
//
// A replica looks at its own row a few times a second, which costs the server next to
// nothing; more often for a second after something has changed. Somebody looks at the whole
// group once a second, and at once when a replica has news: a need that is not met and that
// nobody knows yet, or that it has given back what it was asked for. All this is slower the
// more replicas there are, so that what a group costs the server does not grow with it.
//
// # Invariants
//
//	R1  rows + sum of promised + strangers <= budget, unless the budget was lowered or
//	    strangers came; then no decision raises.
//	R2  Of a replica, the server's backends and the dials under way are at most what it is
//	    promised.
//	R3  So the server's backends of the role are at most the budget, but for strangers, and
//	    for a dial whose machine was frozen between the round trip and the connect: that is
//	    what the role's CONNECTION LIMIT is for.
//	R4  With constant needs the division comes to rest, and no replica that needs more has
//	    two less than another, if slots come free.
package replicas
