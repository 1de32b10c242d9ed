/*
 * The protocol of the seats, the two flags and the recall (package comment of actor),
 * for the model checker spin, which tries every interleaving of the callers' and the
 * supervisor's steps. actor/seats.check runs it, also with lines broken on purpose.
 *
 * To read it, knowing Go: a proctype is a goroutine; between two steps others may run;
 * atomic and d_step are one step, used for at most one access to what goroutines share,
 * with the private work that goes with it; do is a loop around a select; ch!v sends,
 * ch?v receives; inline is a macro.
 *
 * There are two workspaces with one seat each, and at most two connections, 1 and 2; 0
 * is none. Left out: failed dials, lifetimes, the directory. Patience is 0: a slot goes
 * to the oldest waiter.
 *
 * Checked, besides spin's own check for deadlocks:
 *   - a connection has one holder, and of the workspace it was dialed for
 *   - nobody is served before a waiter of his workspace that he came after
 *   - evicted is the least recently used of all connections that nobody holds
 *   - when nobody can move, nobody waits and no flag is up (Judge). Callers may rest for
 *     ever, holders may not: a lost wake-up would end there
 *   - after Drain nothing is lent, and the supervisor stops with nothing open
 */
#ifndef CALLERS
#define CALLERS 3
#endif
#ifndef BUDGET
#define BUDGET 2 /* connections of both workspaces */
#endif
#ifndef CAP
#define CAP 2 /* connections of one workspace */
#endif
#ifndef IMPATIENT
#define IMPATIENT CALLERS /* how many of the callers may give up */
#endif
#define bit(n) (1 << (n))

mtype = { ACQUIRE, CANCEL, RELEASE, FREE, DIALING, IDLE, LENT, CLOSING };

/* What goroutines share. */
chan mailbox = [1] of { mtype, byte, byte }; /* caller or connection, workspace */
chan reply[CALLERS] = [1] of { byte };       /* the connection; 0: refused */
bool short_, closed[2];                      /* the flags */
byte seat[2];
bool stopped;

/* What only the supervisor touches. The core's part is state, home and queue. */
mtype state[3] = FREE;
byte home[3];                                /* the workspace it was dialed for */
byte queue[CALLERS], wants[CALLERS], queued; /* the waiters in their order */
bool draining;
byte latest;                                 /* the connection whose holder read the clock last */

/* Notes for the checks; no decision reads them. */
bool held[3];
byte down;           /* connections that were given back (bits) */
byte before[3];      /* those that were given back before this one, and not used since */
byte ahead[CALLERS]; /* who waited for the workspace when this caller asked (bits) */
bool late[CALLERS];  /* asked when the share drained */

/* used: the connection is no longer one that nobody holds. */
inline used(c) { down = down & ~bit(c); before[c] = 0; before[3 - c] = before[3 - c] & ~bit(c) }

/* ---- The callers ---- */

inline mustTell(w) { up = short_; up = up || closed[w] }
inline take(w, c) { atomic { c = seat[w]; seat[w] = 0 } }
inline send(c, w) { atomic { mailbox!RELEASE(c, w) -> assert(!stopped); down = down | bit(c); c = 0 } }
inline owns(me, w, c) {
	assert(state[c] == LENT && home[c] == w && !held[c]);
	held[c] = 1; ahead[me] = 0; late[me] = 0
}
#define ANSWER(me, w, c) \
	:: atomic { reply[me]?c -> if :: c != 0 -> owns(me, w, c) :: else -> ahead[me] = 0; late[me] = 0 fi } \
	:: atomic { stopped && empty(reply[me]) -> ahead[me] = 0; late[me] = 0 }

proctype Caller(byte me) {
	byte w, c, i;
	bool up, impatient;
end_rest:
	do
	:: break /* rest for ever, so that nobody is saved by a later request */
	:: atomic { /* Acquire */
#ifdef AT_HOME
		w = (me + 1 == CALLERS); /* the last one in workspace 1, the others in 0 */
#else
		if :: w = 0 :: w = 1 fi;
#endif
		late[me] = draining && short_; i = 0;
		do
		:: i < queued -> if :: closed[w] && wants[queue[i]] == w -> ahead[me] = ahead[me] | bit(queue[i]) :: else fi; i++
		:: else -> break
		od; i = 0 };
		take(w, c);
		if
		:: c != 0 ->
#ifndef NO_LOOK_AFTER_TAKING
			mustTell(w);
#endif
			if
			:: up -> up = 0; send(c, w)
			:: else -> d_step { assert(ahead[me] == 0 && !late[me]); used(c); owns(me, w, c) } /* a hit */
			fi
		:: else
		fi;
		if
		:: c != 0
		:: else ->
			if
			:: atomic { mailbox!ACQUIRE(me, w) -> if :: skip :: me < IMPATIENT -> impatient = 1 fi };
				if
				ANSWER(me, w, c)
				:: atomic { impatient && nfull(mailbox) -> mailbox!CANCEL(me, w) }; if ANSWER(me, w, c) fi
				fi;
				impatient = 0
			:: d_step { stopped -> ahead[me] = 0; late[me] = 0 }
			fi
		fi;
		if
		:: c == 0 -> w = 0 /* refused */
		:: else -> /* Release: the clock first */
			d_step { held[c] = 0; latest = c; before[c] = down };
			mustTell(w);
			if
			:: !up -> atomic { if :: seat[w] == 0 -> seat[w] = c; down = down | bit(c); c = 0 :: else fi }
			:: else
			fi;
			if
			:: c != 0 -> send(c, w)
			:: else ->
#ifndef NO_SECOND_LOOK
				mustTell(w);
				if
				:: up -> take(w, c); if :: c != 0 -> send(c, w) :: else fi /* perhaps another one */
				:: else
				fi
#endif
			fi;
			d_step { up = 0; w = 0 }
		fi
	od
}

/* ---- The supervisor ---- */

#define some(t) (state[1] == t || state[2] == t)
#define choose(t, c) if :: state[1] == t -> c = 1 :: state[2] == t -> c = 2 fi
#define nothingOpen (state[1] == FREE && state[2] == FREE)

/* home: the core hears of a connection that came free. */
inline comesHome(c) {
	assert(state[c] == LENT && !held[c]);
	if :: draining -> state[c] = CLOSING; used(c) :: else -> state[c] = IDLE fi
}
inline recall(w) { d_step { x = seat[w]; seat[w] = 0; if :: x != 0 -> comesHome(x) :: else fi; x = 0 } }

inline dequeue(at) {
	wants[queue[at]] = 0; y = 0;
	do :: y < CALLERS -> ahead[y] = ahead[y] & ~bit(queue[at]); y++ :: else -> break od;
	do :: at + 1 < queued -> queue[at] = queue[at + 1]; at++ :: else -> break od;
	queued--; queue[queued] = 0; at = 0; y = 0
}

/* waits: somebody waits for the workspace. */
#if CALLERS == 2
#define waits(w) (queued > 0 && wants[queue[0]] == w || queued > 1 && wants[queue[1]] == w)
#else
#define waits(w) (queued > 0 && wants[queue[0]] == w || queued > 1 && wants[queue[1]] == w || queued > 2 && wants[queue[2]] == w)
#endif

hidden byte d_open[2], d_dialing[2], d_seen[2], d_coming, d_w;

/* decide is the core: it grants and dials what it can, and tells whether it is short. */
inline decide() {
	again = 1;
	do
	:: again ->
		again = 0; wanting = 0; d_coming = 0; x = 1;
		d_open[0] = 0; d_open[1] = 0; d_dialing[0] = 0; d_dialing[1] = 0; d_seen[0] = 0; d_seen[1] = 0;
		do
		:: x <= BUDGET ->
			if :: state[x] == FREE || state[x] == CLOSING -> d_coming++ :: else fi;
			if :: state[x] != FREE -> d_open[home[x]]++ :: else fi;
			if :: state[x] == DIALING -> d_dialing[home[x]]++ :: else fi; x++
		:: else -> break
		od;
		i = 0;
		do
		:: i < queued && !again && !wanting ->
			d_w = wants[queue[i]]; x = 0;
			if
			:: state[1] == IDLE && home[1] == d_w && !(state[2] == IDLE && home[2] == d_w && latest == 2) -> x = 1
			:: state[2] == IDLE && home[2] == d_w && !(state[1] == IDLE && home[1] == d_w && latest == 1) -> x = 2
			:: else
			fi;
			if
			:: x != 0 -> used(x); state[x] = LENT; s = queue[i]; dequeue(i); assert(empty(reply[s])); reply[s]!x; s = 0; again = 1
			:: else ->
				if
				:: d_seen[d_w] >= d_dialing[d_w] && d_open[d_w] < CAP -> /* it needs a slot */
					d_open[d_w]++; d_dialing[d_w]++;
					if
					:: state[1] == FREE -> state[1] = DIALING; home[1] = d_w; again = 1
					:: state[1] != FREE && BUDGET == 2 && state[2] == FREE -> state[2] = DIALING; home[2] = d_w; again = 1
					:: else -> if :: d_coming > 0 -> d_coming-- :: else -> wanting = 1 fi
					fi
				:: else
				fi;
				d_seen[d_w]++
			fi;
			i++
		:: else -> break
		od
	:: else -> break
	od;
	i = 0; x = 0; d_coming = 0; d_w = 0;
	d_open[0] = 0; d_open[1] = 0; d_dialing[0] = 0; d_dialing[1] = 0; d_seen[0] = 0; d_seen[1] = 0
}

/* reclaim closes the least recently used idle connection. */
inline reclaim() {
	if
	:: state[1] == IDLE && !(state[2] == IDLE && latest == 1) -> x = 1
	:: state[2] == IDLE && !(state[1] == IDLE && latest == 2) -> x = 2
	:: else
	fi;
	if
	:: x != 0 ->
		assert(!(before[x] & bit(3 - x)) || !(state[3 - x] == IDLE || seat[0] == 3 - x || seat[1] == 3 - x));
		used(x); state[x] = CLOSING; x = 0
	:: else
	fi
}

/* settle is what follows each request. */
inline settle() {
	d_step { decide() };
	if
	:: wanting && !short_ ->
#ifdef RECALL_BEFORE_SHORT
		recall(0); recall(1); short_ = 1;
#else
		short_ = 1;
#ifndef NO_RECALL
		recall(0); recall(1);
#endif
#endif
		d_step { decide() }
	:: else
	fi;
	if
	:: wanting && some(IDLE) ->
#ifndef RECALL_ONCE
		recall(0); recall(1);
#endif
		d_step { decide(); if :: wanting -> reclaim(); decide() :: else fi }
	:: else
	fi;
	if :: short_ && !wanting && !draining -> short_ = 0 :: else fi;
	if :: closed[0] && !waits(0) -> closed[0] = 0 :: else fi;
	if :: closed[1] && !waits(1) -> closed[1] = 0 :: else fi;
	wanting = 0
}

proctype Supervisor() {
	mtype m;
	byte a, w, x, y, s, i;
	bool again, wanting;
end_idle:
	do
	:: draining && nothingOpen -> stopped = 1; break
	:: mailbox?m(a, w);
		if
		:: m == ACQUIRE && draining -> reply[a]!0
		:: m == ACQUIRE && !draining ->
#ifdef RECALL_BEFORE_CLOSED
			recall(w); closed[w] = 1;
#else
			closed[w] = 1;
			recall(w);
#endif
			d_step { queue[queued] = a; wants[a] = w; queued++ }
		:: m == CANCEL ->
			d_step { /* its waiter may have been answered already */
				do :: i < queued && queue[i] != a -> i++ :: else -> break od;
				if :: i < queued -> dequeue(i); reply[a]!0 :: else fi; i = 0 }
		:: m == RELEASE -> d_step { comesHome(a) }
		fi;
		m = 0; a = 0; w = 0;
		settle()
	/* The workers' answers. */
	:: d_step { some(DIALING) -> choose(DIALING, x);
		if
		:: draining -> state[x] = CLOSING
		:: else -> state[x] = IDLE; latest = x; before[x] = down; down = down | bit(x)
		fi; x = 0 };
		settle()
	:: d_step { some(CLOSING) -> choose(CLOSING, x); state[x] = FREE; home[x] = 0; x = 0 };
		settle()
#ifdef DRAIN
	:: !draining ->
		draining = 1;
#ifdef RECALL_BEFORE_SHORT
		recall(0); recall(1); short_ = 1;
#else
		short_ = 1; recall(0); recall(1);
#endif
		d_step {
			do :: queued > 0 -> s = queue[0]; dequeue(i); reply[s]!0 :: else -> break od; s = 0;
			if :: state[1] == IDLE -> state[1] = CLOSING; used(1) :: else fi;
			if :: state[2] == IDLE -> state[2] = CLOSING; used(2) :: else fi };
		settle()
#endif
	od
}

/* Judge speaks when nobody else can move. */
proctype Judge() {
	timeout ->
	assert(queued == 0 && !some(DIALING) && !some(CLOSING) && !closed[0] && !closed[1]);
	assert(stopped || empty(mailbox));
#ifdef DRAIN
	assert(stopped && nothingOpen)
#else
	assert(!short_)
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
