/*
 * The protocol of the seats, the flags and the recall, for the model checker
 * spin. It tries every interleaving of the callers' and the supervisor's steps.
 * actor/seats.check runs it, for several sizes, and with lines broken on purpose.
 *
 * How to read it, knowing Go:
 *   proctype          a goroutine
 *   a; b  or a -> b   one step after the other; others may run in between
 *   atomic, d_step    one step: nobody runs in between. Used for at most one
 *                     access to what goroutines share, with the private work
 *                     that goes with it, and for the checks' own notes.
 *   do :: g -> x od   a loop around a select; a case can be chosen while its guard
 *                     g can be executed, any of them if several can; break ends it
 *   ch!v  ch?v        send, receive
 *   inline            a macro
 *
 * What is left out: dials that wait for each other or back off, lifetimes, the
 * directory of seats. Patience is 0: a slot goes to the oldest waiter. A
 * connection is the number of its slot, from 1; 0 is none.
 *
 * What is checked:
 *   - a connection has one holder, of the workspace it was dialed for (assert)
 *   - when nobody can move, no caller waits, nothing keeps `needRoom` or `closed` up
 *     (Judge); since callers may rest for ever and holders may not, a lost wake-up
 *     would end there. And no deadlock (spin's own check)
 *   - nobody who asks after a waiter of his workspace is served before it
 *   - evicted is an idle connection such that no other idle one was given back
 *     before (that is: its Release was past its last chance to differ before the
 *     evicted one's Release began)
 *   - nothing is dialed or evicted for an Acquire that a connection lay ready for
 *   - after Drain nothing is lent, and the supervisor stops with nothing open
 *   - with FAIR: each waiter is answered, for ever (the formula at the end)
 */
#ifndef CALLERS
#define CALLERS 3
#endif
#ifndef WORKSPACES
#define WORKSPACES 2
#endif
#ifndef BUDGET
#define BUDGET 2       /* connections over all workspaces */
#endif
#ifndef CAP
#define CAP 2          /* connections of one workspace */
#endif
#ifndef SEATS
#define SEATS 1        /* seats of one workspace */
#endif
#ifndef MAILBOX
#define MAILBOX 1      /* room in the mailbox */
#endif
#ifndef IMPATIENT
#define IMPATIENT CALLERS /* how many of the callers may give up */
#endif
#ifndef LOOKS
#define LOOKS 0        /* inspections that nobody needs: those of the timer */
#endif

mtype = { ACQUIRE, CANCEL, RELEASE, BROKEN, /* messages */
          FREE, DIALING, IDLE, LENT, CLOSING, /* what the core thinks of a slot */
          NOTHING, GRANT, DIAL, EVICT, RAISE, LOWER, INSPECT, SHUT, OPEN };

/* ---- What goroutines share ---- */

chan mailbox = [MAILBOX] of { mtype, byte, byte };  /* message, caller or connection, workspace */
chan reply[CALLERS] = [1] of { byte };              /* the connection, 0 for a refusal */
bool needRoom;                                         /* somebody needs room */
bool closed[WORKSPACES];                            /* the workspace has waiters */
byte seat[WORKSPACES * SEATS];                      /* a channel of capacity 1 that is only tried is a cell */
bool stopped;                                       /* the supervisor's loop has ended */

/* Of a connection's owner: who holds it, or took it from a seat or the mailbox. */
byte freed[BUDGET + 1];       /* when it was last given back */

/* ---- What only the supervisor touches ---- */

mtype state[BUDGET + 1] = FREE;
byte home[BUDGET + 1];          /* the workspace it was dialed for */
byte known[BUDGET + 1];       /* lent: it was not given back before then */
bool inspected[BUDGET + 1];   /* lent: looked for since `needRoom` was raised */
byte queue[CALLERS];          /* the waiters, in their order */
byte queued;
byte wants[CALLERS];          /* the workspace a waiter waits for */
bool draining;

/* ---- Notes for the checks. No decision reads them ---- */

bool held[BUDGET + 1];
byte down;                    /* the connections that are given back (bits) */
byte earlier[BUDGET + 1];     /* those given back before this one, and not used since */
byte ahead[CALLERS];          /* who waited for the workspace when this caller asked (bits) */
bool late[CALLERS];           /* asked after the drain began */
byte ready;                   /* what lay in the seats when the Acquire arrived (bits) */

#ifdef FAIR
byte asking;                  /* who waits for a reply (bits) */
#endif

#define mask(c) (1 << (c))

/* ---- The clock ----
 * Only the order of times matters, so a time is its rank among those that are
 * still remembered. Each reading is later than all before; with COARSE it may
 * also be the same, as on a machine with a coarse clock or in a test's bubble. */

byte now;                     /* the supervisor's reading, 0 when it has none */

hidden byte t_i, t_u, t_r, t_max; hidden int t_set;

inline rank(v) {
	t_r = 0; t_u = 1;
	do :: t_u <= v -> t_r = t_r + ((t_set >> t_u) & 1); t_u++ :: else -> break od;
	v = t_r
}

/* ranks makes the times small again, after some are forgotten. */
inline ranks() {
	t_set = mask(now); t_i = 1;
	do :: t_i <= BUDGET -> t_set = t_set | mask(freed[t_i]) | mask(known[t_i]); t_i++ :: else -> break od;
	rank(now); t_i = 1;
	do :: t_i <= BUDGET -> rank(freed[t_i]); rank(known[t_i]); t_i++ :: else -> break od;
	t_i = 0; t_r = 0; t_u = 0; t_set = 0
}
inline readClock(tick, v) {
	t_max = now; t_i = 1;
	do
	:: t_i <= BUDGET ->
		t_max = (freed[t_i] > t_max -> freed[t_i] : t_max);
		t_max = (known[t_i] > t_max -> known[t_i] : t_max);
		t_i++
	:: else -> break
	od;
	v = t_max + ((tick || t_max == 0) -> 1 : 0);
	t_max = 0;
	ranks()
}
#ifndef COARSE
#define COARSE 0
#endif
#if COARSE
#define TICK if :: tick = 1 :: tick = 0 fi
#else
#define TICK tick = 1
#endif

/* used: the connection is no longer idle, for the notes. */
inline used(c) {
	down = down & ~mask(c); freed[c] = 0; earlier[c] = 0; t_i = 1;
	do :: t_i <= BUDGET -> earlier[t_i] = earlier[t_i] & ~mask(c); t_i++ :: else -> break od;
	ranks()
}

/* ---- The callers ---- */

/* tryPut and tryTake try one seat, as a select with a default does. */
inline tryPut(w, n, c) {
	if
	:: seat[w * SEATS + n] == 0 -> seat[w * SEATS + n] = c; down = down | mask(c); c = 0
	:: else
	fi
}
inline tryTake(w, n, c) {
	c = seat[w * SEATS + n]; seat[w * SEATS + n] = 0;
	ready = ready & ~mask(c)
}

/* take tries the seats of w in their order until one has a connection, put
 * until one is free. */
inline take(w, c) {
	d_step { tryTake(w, 0, c) }
#if SEATS > 1
	if :: c == 0 -> d_step { tryTake(w, 1, c) } :: else fi
#endif
}
inline put(w, c) {
	d_step { tryPut(w, 0, c) }
#if SEATS > 1
	if :: c != 0 -> d_step { tryPut(w, 1, c) } :: else fi
#endif
}

/* flagsUp loads both flags, one after the other. */
inline flagsUp(w) {
	up = needRoom;
	up = up || closed[w]
}

/* send: a Release to the supervisor, who must be there while anything is out. */
inline send(m, c, w) {
	atomic { mailbox!m(c, w) -> assert(!stopped); down = down | mask(c); c = 0 }
}

/* asks notes who is ahead of the caller: the waiters that the supervisor knows and
 * has raised the workspace's flag for. */
inline asks(me, w) {
	late[me] = draining && needRoom; i = 0;
	do
	:: i < queued && closed[w] -> ahead[me] = ahead[me] | (wants[queue[i]] == w -> mask(queue[i]) : 0); i++
	:: else -> break
	od;
	i = 0
}

#ifdef FAIR
#define answered(me) ahead[me] = 0; late[me] = 0; asking = asking & ~mask(me)
#else
#define answered(me) ahead[me] = 0; late[me] = 0
#endif

/* owns: the caller goes on with connection c. */
inline owns(me, w, c) {
	assert(state[c] == LENT && home[c] == w && !held[c]);
	held[c] = 1; answered(me)
}

/* The cases of a select for the one reply; it may have come before the end. */
#define REPLY(me, w, c) \
	:: atomic { reply[me]?c -> d_step { if :: c != 0 -> owns(me, w, c) :: else -> answered(me) fi } } \
	:: atomic { stopped && empty(reply[me]) -> answered(me) }

proctype Caller(byte me) {
	byte w, c, i;
	bool up, tick, impatient;

end_rest:
	do
	:: break /* rest for ever, so that nobody is saved by a later request */
	:: atomic {
#ifdef AT_HOME
		w = (me + 1 == CALLERS); /* the last one in workspace 1, the others in 0 */
#else
		if :: w = 0 :: w = 1
#if WORKSPACES > 2
		:: w = 2
#endif
		fi;
#endif
		/* Acquire: first the seats. */
		d_step { asks(me, w); tryTake(w, 0, c) } }
#if SEATS > 1
		if :: c == 0 -> d_step { tryTake(w, 1, c) } :: else fi;
#endif
		if
		:: c != 0 ->
#ifdef NO_LOOK_AFTER_TAKING
			d_step {
#else
			up = needRoom;
			d_step { up = up || closed[w];
#endif
				if
				:: !up -> /* a hit */
					assert(ahead[me] == 0);
					assert(!late[me]);
					used(c); owns(me, w, c)
				:: else
				fi };
			if
			:: up -> up = 0; send(RELEASE, c, w) /* with its old time; a miss after all */
			:: else
			fi
		:: else
		fi;
		if
		:: c != 0
		:: else -> /* a miss: ask, and wait for the one reply */
			if
			:: atomic {
				mailbox!ACQUIRE(me, w) ->
#ifdef FAIR
				asking = asking | mask(me)
			   };
#else
				/* Some have patience; who could always give up would never be stuck. */
				if :: skip :: me < IMPATIENT -> impatient = 1 fi
			   };
#endif
				if
				REPLY(me, w, c)
				:: atomic { impatient && nfull(mailbox) -> mailbox!CANCEL(me, w) }; if REPLY(me, w, c) fi
				fi;
				impatient = 0
			:: d_step { stopped -> answered(me) }
			fi
		fi;

		if
		:: c == 0 -> w = 0 /* refused */
		:: else ->
			/* The connection is used, or not: its caller gave up.
			 * Release: the clock first. */
			atomic {
				TICK;
				d_step {
					held[c] = 0;
					readClock(tick, freed[c]);
					earlier[c] = down;
					tick = 0
				}
			}
#ifdef FAULTS
			if :: send(BROKEN, c, w); goto released :: skip fi;
#endif
			flagsUp(w);
			if
			:: up -> send(RELEASE, c, w)
			:: else ->
				put(w, c);
				if
				:: c != 0 -> send(RELEASE, c, w) /* no free seat */
				:: else ->
#ifndef NO_SECOND_LOOK
					flagsUp(w);
					if
					:: up ->
						take(w, c); /* perhaps not the one that was put there */
						if :: c != 0 -> send(RELEASE, c, w) :: else fi
					:: else
					fi
#endif
				fi
			fi;
			d_step { up = 0; w = 0 }
#ifdef FAULTS
released:		skip
#endif
		fi
	od
}

/* ---- The supervisor ---- */

/* freeing: the core hears of a connection that came free, with its true time. */
inline freeing(c) {
	assert(state[c] == LENT && !held[c]);
	known[c] = 0; inspected[c] = 0; ready = ready & ~mask(c);
	if
	:: draining -> state[c] = CLOSING; used(c)
	:: else -> state[c] = IDLE; ranks()
	fi
}

/* sweep takes what lies in the seats of w, one by one. */
inline sweep(w) {
	s = 0;
	do
	:: s < SEATS -> d_step {
		x = seat[w * SEATS + s]; seat[w * SEATS + s] = 0; s++;
		if :: x != 0 -> freeing(x); x = 0 :: else fi }
	:: else -> break
	od;
	s = 0
}

/* inspect looks whether a lent connection lies in a seat. The clock is read
 * before the look: what is put there after the look was given back after it. */
inline inspect(c) {
#ifndef CLOCK_AFTER_LOOK
#ifndef CLOCK_PER_STEP
	atomic { TICK; d_step { readClock(tick, now); tick = 0 } }
#endif
#endif
	sweep(home[c]);
#ifdef CLOCK_AFTER_LOOK
	atomic { TICK; d_step { readClock(tick, now); tick = 0 } }
#endif
	d_step {
		if
		:: state[c] == LENT -> known[c] = (now > known[c] -> now : known[c]); inspected[c] = 1
		:: else
		fi;
#ifndef CLOCK_PER_STEP
		now = 0;
#endif
		c = 0
	}
}

/* With STRICT, one that is as old as the horizon is not taken for the oldest. */
#ifdef STRICT
#define younger(a, b) ((a) >= (b))
#else
#define younger(a, b) ((a) > (b))
#endif

hidden byte d_w, d_i, d_free, d_coming, d_slot, d_old, d_top, d_lent;
hidden byte d_open[WORKSPACES], d_dialing[WORKSPACES], d_waiters[WORKSPACES];
hidden byte d_asked; /* workspaces with waiters (bits) */
hidden byte d_needs, d_proven;

/* decide finds the next thing to do: what (act), with which connection (x) and for
 * which waiter or workspace (y). The core is private, so this is one step. */
inline decide() {
	act = NOTHING; x = 0; y = 0;
	d_free = 0; d_coming = 0; d_slot = 0; d_old = 0; d_lent = 0; d_needs = 0; d_proven = 1; d_w = 0;
	do :: d_w < WORKSPACES -> d_open[d_w] = 0; d_dialing[d_w] = 0; d_waiters[d_w] = 0; d_w++ :: else -> break od;
	d_i = 1;
	do
	:: d_i <= BUDGET ->
		if
		:: state[d_i] == FREE -> d_free++; d_slot = d_i
		:: else ->
			d_open[home[d_i]]++;
			if
			:: state[d_i] == CLOSING -> d_coming++
			:: state[d_i] == DIALING -> d_dialing[home[d_i]]++
			:: state[d_i] == IDLE && (d_old == 0 || freed[d_i] < freed[d_old]) -> d_old = d_i
			:: state[d_i] == LENT && (d_lent == 0 || known[d_i] < known[d_lent]) -> d_lent = d_i
			:: else
			fi
		fi; d_i++
	:: else -> break
	od;
	d_i = 0; d_asked = 0;
	do :: d_i < queued -> d_asked = d_asked | mask(wants[queue[d_i]]); d_i++ :: else -> break od;
	/* The waiters in their order. */
	d_i = 0;
	do
	:: d_i < queued && act == NOTHING && !d_needs ->
		d_w = wants[queue[d_i]];
		d_top = 0; x = 1;
		do
		:: x <= BUDGET ->
			if
			:: state[x] == IDLE && home[x] == d_w && (d_top == 0 || freed[x] > freed[d_top]) -> d_top = x
			:: else
			fi; x++
		:: else -> break
		od;
		x = 0;
		if
		:: d_top != 0 -> act = GRANT; x = d_top; y = d_i
		:: else ->
			if
			:: d_waiters[d_w] < d_dialing[d_w]   /* a dial is meant for it */
			:: d_waiters[d_w] >= d_dialing[d_w] && d_open[d_w] >= CAP /* only its own can help */
			:: else -> /* it wants a slot */
				d_open[d_w]++; d_dialing[d_w]++;
				if
				:: d_free != 0 -> act = DIAL; x = d_slot; y = d_w
				:: d_free == 0 && d_coming != 0 -> d_coming--
				:: else -> d_needs = 1
				fi
			fi;
			d_waiters[d_w]++
		fi;
		d_i++
	:: else -> break
	od;
	if
	:: d_needs ->
		/* May the oldest idle one go? Not while one that is lent may lie in a seat
		 * for longer: the horizon is known[d_lent]. */
		d_proven = (d_old != 0 && (d_lent == 0 || !younger(freed[d_old], known[d_lent])));
#ifdef NO_HORIZON
		d_proven = (d_old != 0);
#endif
		if
		:: d_proven -> act = EVICT; x = d_old; y = d_w
		:: else ->
			/* Whom to look for: the oldest; with nothing idle, the oldest that was
			 * not looked for since the flag went up. */
			x = d_lent;
#ifndef LOOK_ONCE
			if
			:: d_old == 0
#endif
				-> x = 0; d_i = 1;
				do
				:: d_i <= BUDGET ->
					if
					:: state[d_i] == LENT && !inspected[d_i] && (x == 0 || known[d_i] < known[x]) -> x = d_i
					:: else
					fi; d_i++
				:: else -> break
				od
#ifndef LOOK_ONCE
			:: else
			fi
#endif
			;
#ifdef CLOCK_PER_STEP
			/* Looking twice in a step would not help: known cannot grow. */
			if :: x != 0 && inspected[x] && known[x] >= now -> x = 0 :: else fi;
#endif
			if
#ifdef SWEEP_BEFORE_SHORT
			:: x != 0 -> act = INSPECT
			:: x == 0 && !needRoom -> act = RAISE
#else
			:: !needRoom -> act = RAISE; x = 0
			:: needRoom && x != 0 -> act = INSPECT
#endif
			:: else -> assert(d_old == 0) /* no one waits for room beside an idle connection */
			fi
		fi
	:: else ->
		if :: act == NOTHING && needRoom && !draining -> act = LOWER :: else fi
	fi;
	/* Last, the workspaces' own flags. */
	d_w = 0;
	do
	:: d_w < WORKSPACES && act == NOTHING ->
		if
		:: (d_asked & mask(d_w)) != 0 && !closed[d_w] -> act = SHUT; y = d_w
		:: (d_asked & mask(d_w)) == 0 && closed[d_w] -> act = OPEN; y = d_w
		:: else
		fi; d_w++
	:: else -> break
	od;
	d_w = 0; d_i = 0; d_asked = 0; d_free = 0; d_coming = 0; d_slot = 0; d_old = 0; d_top = 0; d_lent = 0; d_needs = 0; d_proven = 0
}

#if WORKSPACES == 2
#define sweepAll() sweep(0); sweep(1)
#else
#define sweepAll() sweep(0); sweep(1); sweep(2)
#endif

/* forget: nothing was looked for yet. */
inline forget() {
	s = 1;
	do :: s <= BUDGET -> inspected[s] = 0; s++ :: else -> break od;
	s = 0
}

/* dequeue takes the waiter at a place of the queue out of it. */
inline dequeue(at) {
	tick = 0; wants[queue[at]] = 0; ahead[0] = ahead[0] & ~mask(queue[at]);
#if CALLERS > 1
	ahead[1] = ahead[1] & ~mask(queue[at]);
#endif
#if CALLERS > 2
	ahead[2] = ahead[2] & ~mask(queue[at]);
#endif
	do
	:: at + 1 < queued -> queue[at] = queue[at + 1]; at++
	:: else -> break
	od;
	queued--; queue[queued] = 0
}

#define inCell(c, n) (seat[n] == (c))
#if WORKSPACES * SEATS == 2
#define inSeat(c) (inCell(c, 0) || inCell(c, 1))
#elif WORKSPACES * SEATS == 3
#define inSeat(c) (inCell(c, 0) || inCell(c, 1) || inCell(c, 2))
#elif WORKSPACES * SEATS == 4
#define inSeat(c) (inCell(c, 0) || inCell(c, 1) || inCell(c, 2) || inCell(c, 3))
#endif
#define stillReady(c) ((ready & mask(c)) && inSeat(c))
#if BUDGET == 1
#define nothingReady() !stillReady(1)
#elif BUDGET == 2
#define nothingReady() (!stillReady(1) && !stillReady(2))
#else
#define nothingReady() (!stillReady(1) && !stillReady(2) && !stillReady(3))
#endif

#if BUDGET == 1
#define some(t) (state[1] == t)
#define choose(t, c) c = 1
#elif BUDGET == 2
#define some(t) (state[1] == t || state[2] == t)
#define choose(t, c) if :: state[1] == t -> c = 1 :: state[2] == t -> c = 2 fi
#else
#define some(t) (state[1] == t || state[2] == t || state[3] == t)
#define choose(t, c) if :: state[1] == t -> c = 1 :: state[2] == t -> c = 2 :: state[3] == t -> c = 3 fi
#endif
#define nothingOpen() !(some(DIALING) || some(IDLE) || some(LENT) || some(CLOSING))

#ifdef CLOCK_PER_STEP
#define START TICK; d_step { readClock(tick, now); tick = 0 }
#else
#define START skip
#endif

/* settle does what is to be done until there is nothing more. */
inline settle() {
	do
	:: atomic {
		TICK;
		d_step {
			decide();
			if
			:: act == GRANT -> /* one send, into a channel with room */
				used(x);
#ifdef CLOCK_PER_STEP
				known[x] = now;
#else
				readClock(tick, known[x]);
#endif
				state[x] = LENT; inspected[x] = needRoom;
				s = queue[y]; dequeue(y);
				assert(empty(reply[s])); reply[s]!x; s = 0; x = 0; y = 0
			:: act == DIAL -> assert(nothingReady()); state[x] = DIALING; home[x] = y; x = 0; y = 0
			:: act == EVICT ->
				assert(nothingReady());
				s = 1;
				do
				:: s <= BUDGET -> assert(COARSE || !(earlier[x] & mask(s)) || !(state[s] == IDLE || inSeat(s))); s++
				:: else -> break
				od;
				state[x] = CLOSING; used(x); s = 0; x = 0; y = 0
			:: act == RAISE ->
				needRoom = 1;
#ifndef SWEEP_BEFORE_SHORT
				forget()
#endif
			:: act == LOWER -> needRoom = 0; forget()
			:: act == OPEN -> closed[y] = 0; y = 0
#ifndef SWEEP_BEFORE_CLOSED
			:: act == SHUT -> closed[y] = 1
#endif
			:: act == NOTHING -> ready = 0; now = 0; ranks()
			:: else /* more than one step: see below */
			fi;
			tick = 0
		} };
		if
		:: act == NOTHING -> break
		:: act == INSPECT -> d_step { act = NOTHING; z = x; x = 0 }; inspect(z)
		:: act == SHUT -> act = NOTHING; sweep(y);
#ifdef SWEEP_BEFORE_CLOSED
			closed[y] = 1;
#endif
			y = 0
		:: else -> act = NOTHING
		fi
	od
}

#ifdef FAIR
/* A select is fair: a worker is not kept waiting for ever by messages. */
bool workersTurn;
#define WORKER_DONE workersTurn = 0
#define mayReceive (!workersTurn || !(some(DIALING) || some(CLOSING)))
#else
#define mayReceive true
#define WORKER_DONE skip
#endif

proctype Supervisor() {
	mtype m, act;
	byte a, w, x, y, z, s, looks = LOOKS;
	bool tick;

end_idle:
	do
	/* Between two messages the core's own variables are as they were. */
	:: draining && nothingOpen() -> stopped = 1; break
	:: atomic { /* What the core does with a message is private, and one step with its arrival. */
		mayReceive && nempty(mailbox) -> mailbox?m(a, w);
		START;
		d_step {
			if
			:: m == ACQUIRE && !draining ->
				queue[queued] = a; wants[a] = w; queued++;
				s = 0;
				do :: s < SEATS -> ready = ready | (seat[w * SEATS + s] != 0 -> mask(seat[w * SEATS + s]) : 0); s++ :: else -> break od;
				s = 0
			:: m == RELEASE -> freeing(a)
			:: m == BROKEN -> freeing(a); used(a); state[a] = CLOSING
			:: else
			fi
#ifdef FAIR
			; workersTurn = 1
#endif
		} };
		if
		:: m == ACQUIRE ->
#ifndef NO_SWEEP_ON_ACQUIRE
			sweep(w);
#endif
			if :: draining -> reply[a]!0 :: else fi
		:: m == CANCEL ->
			d_step { /* its waiter may have been answered already */
				y = 0;
				do :: y < queued && queue[y] != a -> y++ :: else -> break od;
				if
				:: y < queued -> dequeue(y); reply[a]!0
				:: else
				fi; y = 0
			}
		:: else
		fi;
		m = 0; a = 0; w = 0;
		settle()

	/* The workers' messages: a dial or a close that came to its end. */
	:: atomic { some(DIALING) -> choose(DIALING, x); START; TICK;
		if
		:: d_step {
			if
			:: draining -> state[x] = CLOSING
			:: else ->
				state[x] = IDLE; readClock(tick, freed[x]); earlier[x] = down; down = down | mask(x)
			fi; x = 0; tick = 0 }
#ifdef FAULTS
		:: d_step { state[x] = FREE; home[x] = 0; x = 0; tick = 0 }
#endif
		fi;
		WORKER_DONE };
		settle()
	:: atomic { some(CLOSING) -> choose(CLOSING, x); START; state[x] = FREE; home[x] = 0; x = 0; WORKER_DONE };
		settle()

#if LOOKS > 0
	/* The timer: the one that was not looked for for the longest time. */
	:: d_step { looks > 0 && some(LENT) -> looks--; z = 1; x = 0;
			do
			:: z <= BUDGET ->
				if :: state[z] == LENT && (x == 0 || known[z] < known[x]) -> x = z :: else fi; z++
			:: else -> break
			od; z = x; x = 0 };
		START;
		inspect(z); settle()
#endif

#ifdef DRAIN
	:: !draining ->
		START;
		draining = 1;
#ifdef SWEEP_BEFORE_SHORT
		sweepAll(); needRoom = 1;
#else
		needRoom = 1; sweepAll();
#endif
		do
		:: queued > 0 -> d_step { y = 0; s = queue[0]; dequeue(y); reply[s]!0; s = 0; y = 0 }
		:: else -> break
		od;
		skip;
		d_step { s = 1;
			do
			:: s <= BUDGET -> if :: state[s] == IDLE -> state[s] = CLOSING; used(s) :: else fi; s++
			:: else -> break
			od; s = 0 };
		settle()
#endif
	od
}

/* ---- The verdict ---- */

/* Judge speaks when nobody else can move. */
proctype Judge() {
	timeout ->
	assert(queued == 0);
	assert(stopped || empty(mailbox));
	assert(!some(DIALING) && !some(CLOSING));
	assert(!closed[0] && !closed[1]);
#ifdef DRAIN
	assert(stopped && nothingOpen());
#else
	assert(!needRoom)
#endif
}

init {
	atomic {
		byte n = 0;
		run Supervisor();
		do :: n < CALLERS -> run Caller(n); n++ :: else -> break od;
		run Judge()
	}
}

#ifdef FAIR
/* Callers are alike, so it is enough to watch one. */
ltl answered { [] ((asking & 1) -> <> !(asking & 1)) }
#endif
