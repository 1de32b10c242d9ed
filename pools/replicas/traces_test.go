package replicas

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// H1 to H8 are the traces that broke a first sketch of the protocol. H7 was about a lock
// that is no more; H9 and H10 are about the division (divide_test.go).

// play has these events happen. One that is not possible does not, or it is an error.
func (r rules) play(t *testing.T, script []string, all bool) (w world, wrong string) {
	t.Helper()
	w = r.start()
	for _, name := range script {
		events := r.next(w)
		i := slices.IndexFunc(events, func(e event) bool { return e.name == name })
		switch {
		case i >= 0:
			w = events[i].to
		case all:
			t.Fatalf("%q cannot happen in %+v", name, w)
		}
		if wrong == "" {
			wrong = r.wrong(&w)
		}
	}
	return w, wrong
}

// backends is how many the server has, control sessions included.
func (w *world) backends() (n int) {
	for _, p := range w.players {
		n += int(p.server)
		if p.session {
			n++
		}
	}
	return n
}

func TestTheTracesThatBrokeTheSketch(t *testing.T) {
	const (
		// Replica 0 has all there is, which is three; replica 1 comes and wants as much.
		grown   = "0 registers, 0 wants 5, 0 decides, 0 writes its decision, 0 reads, 1 registers, 1 wants 5, "
		decides = "1 decides, 1 writes its decision, "
		// Replica 0 is gone, and replica 1 takes what it had.
		reclaims = decides + decides + "0 has been gone for long, " + decides + decides
		dials0   = "0 dials, 0 dial arrives, "
		dials1   = "1 dials, 1 dial arrives, "
		fills    = "1 reads, " + dials1 + dials1 + dials1
	)
	for _, test := range []struct {
		name, script string
		without      func(*rules)
		// backends are at the end, and were without the rule.
		backends, were int
	}{
		{
			"H1: a replica that has not noticed that its session is lost believes its old grant",
			grown + "0 loses its session, " + reclaims + fills + dials0 + dials0 + dials0,
			func(r *rules) { r.noPermit = true }, 4, 7,
		},
		{
			"H2: dials of one that was killed are on their way",
			grown + "0 dials, 0 dials, 0 is killed, " + decides + decides + decides + fills + "0 dial arrives, 0 dial arrives, ",
			func(r *rules) { r.noFlight = true }, 3, 6,
		},
		{
			"H3: a crash empties the tables, and a dial lands on the new server",
			grown + "0 dials, 0 dials, 0 server crashes, 1 notices, 1 registers, " + decides + decides + fills + "0 dial arrives, 0 dial arrives, ",
			func(r *rules) { r.unlogged = true }, 3, 6,
		},
		{
			"H4: a report arrives after the grant has been raised again",
			grown + "0 wants 0, " + decides + "0 reads, 0 reports, 1 wants 0, 0 wants 5, " + decides + "0 reads, 0 report arrives, " +
				"0 wants 0, 1 wants 5, " + decides + "1 reads, " + dials1 + dials1 + dials0 + dials0,
			func(r *rules) { r.anySeq = true }, 4, 6,
		},
		{
			"H5: one that registers with what it holds holds nothing that the server has",
			grown + dials0 + dials0 + "0 server crashes, 1 notices, 1 registers, " + reclaims + fills +
				"0 notices, 0 registers, 0 sees that a connection is broken, 0 sees that a connection is broken, " + dials0 + dials0,
			func(r *rules) { r.freshAdopt = true }, 5, 7,
		},
		{
			"H6: two decide by views of the same version",
			"0 registers, 1 registers, 0 wants 5, 0 decides, 0 wants 0, 1 wants 5, 1 decides, 0 writes its decision, 1 writes its decision, " +
				"0 reads, 1 reads, " + dials0 + dials0 + dials1 + dials1,
			func(r *rules) { r.noVersion = true }, 4, 6,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := strings.Split(strings.TrimSuffix(test.script, ", "), ", ")
			r := small(1)
			r.faults, r.MaxDialing = 2, 2
			w, wrong := r.play(t, script, false)
			if got := w.backends(); wrong != "" || got != test.backends {
				t.Errorf("the server has %d backends in the end, want %d; %s", got, test.backends, wrong)
			}
			test.without(&r)
			w, _ = r.play(t, script, true)
			if got := w.backends(); got != test.were || got <= r.Budget {
				t.Errorf("without the rule the server has %d backends in the end, want %d, which is beyond the budget of %d", got, test.were, r.Budget)
			}
		})
	}
}

// H8: all is in use for ever, and a newcomer still has room for its control session, is
// admitted and has its floor.
func TestANewcomerHasRoomWhileAllIsInUse(t *testing.T) {
	g := Group{Budget: 12, Floor: 2, MaxDialing: 2, Settle: time.Second}
	newcomer := func(reserve int) (room, admitted bool, has int) {
		full := g
		full.Budget += g.reserve() - reserve // what a Step without a reserve would take
		s := newGroup(full, 100, 100)
		s.rest(t)
		copy(s.pinned, s.held)
		s.Budget = g.Budget
		used := len(s.Replicas) + s.held[0] + s.held[1]
		s.Strangers = 1 // its control session
		room, admitted = used+1 <= s.Budget, s.Admits()
		s.Strangers = 0
		s.Replicas = append(s.Replicas, Replica{ID: "02", Seq: 1, Wants: 100, Present: true})
		for _, r := range Step(time.Unix(1, 0), s.View) {
			if r.ID == "02" {
				has = r.Promised
			}
		}
		return room, admitted, has
	}
	if room, admitted, has := newcomer(g.reserve()); !room || !admitted || has != g.Floor {
		t.Errorf("there is room: %v, it is admitted: %v, and has %d", room, admitted, has)
	}
	if room, admitted, has := newcomer(0); room || admitted || has != 0 {
		t.Errorf("without a reserve there is room: %v, it is admitted: %v, and has %d", room, admitted, has)
	}
}
