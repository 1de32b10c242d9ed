/*
 * The protocol by which replicas share one budget (package comment of replicas), for the
 * model checker spin, which tries every order of events: replicas.check runs it, also
 * with rules left out.
 *
 * To read it, knowing Go: a proctype is a goroutine, do is a loop around a select, and
 * each branch of it is one event, which begins with its condition. inline is a macro.
 *
 * What travels can be late: the answer of a round trip, a report, a dial, a decision
 * between its look and its statement, and the look itself, which sees a replica's backends
 * before it sees whether its control session is there. At any time a process may be killed,
 * and a backend or a control session may end, so a crash of the server is among the orders.
 *
 * Time is only this: Settle has passed since a replica was missed when its dials have
 * landed or failed, and what its last round trip permits has expired.
 *
 * A seq and a version are compared and nothing else. So there are no numbers: what quotes
 * one that is no longer true would change nothing, and is dropped when that is overwritten.
 *
 * Decisions raise anybody that is present while a slot is free, and ask anybody, one slot
 * at a time: what Step decides is among that. Left out: floors and the reserve, strangers
 * (so a newcomer's control session is there only from its registration on, and an old one
 * that is half open is none), reports that a crash takes back, MaxDialing above 1.
 *
 * Checked are R1, R2 and R3 after each event.
 */
#define REPLICAS 2
#ifndef BUDGET
#define BUDGET 4 /* a control session each, and what they share */
#endif
#ifndef DECISIONS
#define DECISIONS 1 /* under way at once: with versions, what one writes drops the others */
#endif

#ifndef FALLIBLE
#define FALLIBLE REPLICAS /* how many of them may be killed or lose a session */
#endif
#ifndef FAULTS
#define FAULTS 255 /* how often one of them does; 255: without end */
#endif
#if FAULTS < 255
byte faults;
#define fault faults++
#define mayFail (me < FALLIBLE && faults < FAULTS)
#else
#define fault skip
#define mayFail (me < FALLIBLE)
#endif

typedef Process {
	bool alive, connected;
	bool current;           /* the seq that it knows is the row's */
	unsigned limit : 3;
	unsigned open : 3;      /* dialed, and not seen to have ended */
	bool dialing
};
Process process[REPLICAS];

/* The server: what it has of each, and the table. */
typedef Row {
	bool there;
	unsigned granted : 3;
	unsigned promised : 3;
	unsigned gone : 2       /* 1: it was missed, 2: Settle ago */
};
Row row[REPLICAS];
typedef Sessions { bool control; unsigned backends : 3 };
Sessions server[REPLICAS];

/* What is on the way. */
typedef Answer { bool on, permit, newer, current; unsigned granted : 3 };
Answer answer[REPLICAS];
typedef Report { bool on; unsigned limit : 3 };
Report report[REPLICAS];
typedef Decision {
	unsigned kind : 3;
	unsigned whose : 2;
	unsigned value : 3;     /* granted, or the backends that were seen */
	unsigned gone : 2
};
Decision decision[DECISIONS];
#define NONE 0
#define RAISE 1
#define ASK 2
#define LOOK 3 /* at a replica that may be gone */
#define MISS 4 /* it is */

byte n, promises, held; /* of one event; 0 between two */

/* sum is what a decision takes for given. */
inline sum() {
	promises = 0; n = 0;
	do
	:: n < REPLICAS ->
#ifdef GROW_FIRST
		promises = promises + row[n].there + row[n].granted;
#else
		promises = promises + row[n].there + row[n].promised;
#endif
		n++
	:: else -> break
	od; n = 0
}

inline check() {
	promises = 0; held = 0; n = 0;
	do
	:: n < REPLICAS ->
		promises = promises + row[n].there + row[n].promised;
		held = held + server[n].control + server[n].backends;
#ifndef ONLY_R3
		assert(server[n].backends + process[n].dialing <= row[n].promised); /* R2 */
#endif
		n++
	:: else -> break
	od; n = 0;
#ifndef ONLY_R3
	assert(promises <= BUDGET); /* R1 */
#endif
	assert(held <= BUDGET);     /* R3 */
	promises = 0; held = 0
}

inline drop(d) { d.kind = NONE; d.whose = 0; d.value = 0; d.gone = 0 }

/* version: every decision under way is out of date. */
inline version() {
	n = 0;
#ifndef NO_VERSION
	do :: n < DECISIONS -> drop(decision[n]); n++ :: else -> break od; n = 0
#endif
}

inline unreport(i) { report[i].on = 0; report[i].limit = 0 }

/* seq: so is what anybody knows of the row. */
inline seq(i) {
	process[i].current = 0; answer[i].current = 0;
#ifndef NO_SEQ
	unreport(i)
#endif
}

inline forget(i) {
	answer[i].on = 0; answer[i].permit = 0; answer[i].newer = 0; answer[i].current = 0; answer[i].granted = 0
}
inline disconnect(i) {
	process[i].connected = 0; process[i].current = 0; process[i].limit = 0; forget(i)
}

#define P process[me]
#define R row[me]
#define S server[me]
#define A answer[me]
#define has (P.open + P.dialing + A.permit) /* a dial that waits for its round trip counts */

proctype Replica(byte me) {
end:	do
	:: d_step { !P.alive && !R.there && S.backends == 0 && !P.dialing -> P.alive = 1 }
	:: d_step { P.alive && !P.connected && !S.control -> /* it registers */
		sum();
		if
		:: R.there || promises < BUDGET ->
			R.there = 1;
#ifdef REGISTER_HELD
			if :: R.promised < has -> R.promised = has :: else fi;
#endif
			R.granted = R.promised; R.gone = 0; S.control = 1;
#ifndef REGISTER_OLD_SEQ
			seq(me);
#endif
			version();
			P.connected = 1; P.current = 1; P.limit = R.promised
		:: else
		fi; promises = 0; check() }
	:: d_step { P.connected && S.control && !A.on -> /* a round trip, as far as the server is concerned */
		A.on = 1; A.permit = !P.dialing && has < P.limit; A.newer = !P.current; A.current = 1; A.granted = R.granted }
	:: d_step { P.connected && A.on -> /* its answer */
		if
		:: A.newer -> P.limit = A.granted; P.current = A.current
		:: !A.newer && A.granted < P.limit -> P.limit = A.granted
		:: else
		fi;
		P.dialing = P.dialing || A.permit; /* though the limit may have fallen */
		forget(me); check() }
#ifdef NO_PERMIT
	:: d_step { P.connected && !P.dialing && has < P.limit -> P.dialing = 1; check() }
#endif
	:: d_step { P.connected && P.current && !report[me].on ->
		report[me].on = 1; report[me].limit = P.limit;
#ifndef REPORT_EARLY
		if :: has > P.limit -> report[me].limit = has :: else fi
#endif
		}
	:: d_step { P.connected && !S.control -> disconnect(me) } /* it notices */
	:: d_step { P.alive && P.open > S.backends -> P.open-- }  /* the end of file */
	:: d_step { P.alive && mayFail -> P.alive = 0; P.open = 0; disconnect(me); fault } /* killed */
	od
}

/* Elsewhere is what the network, the server and time do. */
proctype Elsewhere(byte me) {
end:	do
	:: d_step { P.dialing -> P.dialing = 0; S.backends++; if :: P.alive -> P.open++ :: else fi; check() }
	:: d_step { P.dialing -> P.dialing = 0 }
	:: d_step { S.backends > 0 -> S.backends-- }
	:: d_step { S.control && mayFail -> S.control = 0; fault }
	:: d_step { report[me].on ->
		if :: R.there && report[me].limit < R.promised -> R.promised = report[me].limit :: else fi; unreport(me); check() }
	:: d_step { report[me].on -> unreport(me) }
#ifdef EARLY_SETTLE
	:: d_step { R.gone == 1 -> R.gone = 2 }
#else
	:: d_step { R.gone == 1 && !P.dialing -> R.gone = 2; A.permit = 0 }
#endif
#ifdef UNLOGGED
	:: d_step { R.there -> /* a crash, for one of them */
		R.there = 0; R.promised = 0; R.granted = 0; R.gone = 0; S.backends = 0; S.control = 0; unreport(me); seq(me); version() }
#endif
	od
}

#define D decision[me]
#define ITS row[D.whose]

inline lower(flying) { if :: ITS.promised > D.value + flying -> ITS.promised = D.value + flying :: else fi }

proctype Decider(byte me) {
	byte i;
end:	do
	:: atomic { D.kind == NONE ->
		if :: i = 0 :: i = 1
		fi;
		d_step { sum() };
		if
		:: row[i].there && server[i].control && promises < BUDGET -> D.kind = RAISE; D.value = row[i].promised + 1
		:: row[i].there && server[i].control && row[i].granted < row[i].promised -> D.kind = RAISE; D.value = row[i].promised
		:: row[i].there && server[i].control && row[i].granted > 0 -> D.kind = ASK; D.value = row[i].granted - 1
		:: row[i].there -> D.kind = LOOK; D.value = server[i].backends; D.gone = row[i].gone
		:: else
		fi;
		d_step { if :: D.kind != NONE -> D.whose = i :: else fi; i = 0; promises = 0 } }
	:: d_step { D.kind == LOOK -> if :: server[D.whose].control -> drop(D) :: else -> D.kind = MISS fi }
	:: d_step { D.kind != NONE && D.kind != LOOK -> /* the statement */
		if
		:: ITS.there ->
			if
			:: D.kind == RAISE -> seq(D.whose); ITS.granted = D.value; if :: ITS.promised < D.value -> ITS.promised = D.value :: else fi
			:: D.kind == ASK -> ITS.granted = D.value
			:: D.kind == MISS && D.gone == 0 ->
				ITS.granted = 0; ITS.gone = 1
#ifdef ONE_LOOK
				; lower(1)
#endif
			:: D.kind == MISS && D.gone == 1 ->
#ifdef NO_FLIGHT
				lower(0)
#else
				lower(1)
#endif
			:: D.kind == MISS && D.gone == 2 -> lower(0)
			fi;
			if
			:: D.kind == MISS && ITS.promised == 0 -> ITS.there = 0; ITS.granted = 0; ITS.gone = 0; seq(D.whose); unreport(D.whose)
			:: else
			fi
		:: else
		fi; drop(D); version(); check() }
	od
}

init {
	atomic {
		byte m = 0;
		do :: m < REPLICAS -> run Replica(m); run Elsewhere(m); m++ :: else -> break od;
		m = 0;
		do :: m < DECISIONS -> run Decider(m); m++ :: else -> break od
	}
}
