package replicas

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Some replicas, their server and what travels between them, as small as possible: every
// order of events of two of them up to a number of states, and random ones of three. Step
// and Member are the real ones.

const players = 3 // at most

// world is a state of all. It is comparable, so that each is visited once.
type world struct {
	players [players]player
	faults  int8
}

type player struct {
	alive   bool
	member  Member
	open    int8 // as the process knows: dialed, and not seen to have ended
	flying  int8 // dials under way
	server  int8 // backends that the server has of it
	session bool // the server has its control session

	hasRow            bool
	seq               int64
	granted, promised int8
	wants             int8
	gone              int8 // 1: since less than Settle, 2: since longer

	// report travels to the server.
	report struct {
		on    bool
		limit int8
		seq   int64
	}
	// plan is a decision that has been made and not been written yet.
	plan plan
}

type plan struct {
	on    bool
	fresh bool // nobody has written since it was read
	rows  [players]struct {
		change            bool
		granted, promised int8
		raised, over      bool
		gone              int8
	}
}

type rules struct {
	Group
	players int
	faults  int8
	most    int // states
	// What a rule that is broken looks like.
	noPermit, anySeq, freshAdopt, noVersion, noFlight, unlogged bool
}

type event struct {
	name string
	to   world
}

var clock = time.Unix(1_000_000, 0)

func (r rules) view(w *world) View {
	v := View{Group: r.Group}
	for i := range w.players {
		p := &w.players[i]
		if !p.hasRow {
			continue
		}
		row := Replica{
			ID: fmt.Sprint(i), Seq: p.seq, Granted: int(p.granted), Promised: int(p.promised), Wants: int(p.wants),
			Present: p.session, Visible: int(p.server),
		}
		switch p.gone {
		case 1:
			row.GoneAt = clock
		case 2:
			row.GoneAt = clock.Add(-r.Settle)
		}
		v.Replicas = append(v.Replicas, row)
	}
	return v
}

// written: every plan made before is out of date.
func (w *world) written() {
	for i := range w.players {
		w.players[i].plan.fresh = false
	}
}

// next are all events that may follow.
func (r rules) next(w world) []event {
	var all []event
	add := func(i int, name string, change func(w *world, p *player)) {
		to := w
		change(&to, &to.players[i])
		to.tidy()
		all = append(all, event{fmt.Sprintf("%d %s", i, name), to})
	}
	for i, p := range w.players[:r.players] {
		count := int(p.open + p.flying)
		if p.alive && p.flying < int8(r.MaxDialing) && p.member.MayDial(count) && (p.session || r.noPermit) {
			add(i, "dials", func(_ *world, p *player) { p.flying++ })
		}
		if p.flying > 0 {
			add(i, "dial arrives", func(_ *world, p *player) {
				p.flying--
				p.server++
				if p.alive {
					p.open++
				}
			})
			add(i, "dial fails", func(_ *world, p *player) { p.flying-- })
		}
		if p.alive && p.open > 0 && p.server > 0 {
			add(i, "closes", func(_ *world, p *player) { p.open--; p.server-- })
		}
		if p.alive && p.open > p.server {
			add(i, "sees that a connection is broken", func(_ *world, p *player) { p.open-- })
		}
		if !p.alive && p.server > 0 {
			add(i, "backend of the dead ends", func(_ *world, p *player) { p.server-- })
		}
		if p.alive && p.member.connected && !p.session {
			add(i, "notices", func(_ *world, p *player) { p.member.Lost(int(p.open + p.flying)) })
		}
		if p.alive && !p.member.connected && (p.hasRow || r.view(&w).Admits()) {
			add(i, "registers", func(w *world, p *player) {
				if !p.hasRow {
					p.hasRow, p.seq, p.promised = true, 1, 0
					if r.freshAdopt {
						p.promised = p.open
					}
				} else {
					p.seq++
					if r.freshAdopt {
						p.promised = max(p.promised, p.open)
					}
				}
				p.granted, p.gone, p.session = p.promised, 0, true
				p.member.Registered(p.seq, int(p.promised))
				w.written()
			})
		}
		if !p.alive && !p.hasRow && p.server == 0 && p.flying == 0 {
			add(i, "starts", func(_ *world, p *player) { *p = player{alive: true, wants: p.wants, plan: p.plan} })
		}
		if p.alive && !p.report.on {
			if limit, seq, ok := p.member.Report(count); ok {
				add(i, "reports", func(_ *world, p *player) {
					p.report.on, p.report.limit, p.report.seq = true, int8(limit), seq
				})
			}
		}
		if p.report.on {
			add(i, "report arrives", func(_ *world, p *player) {
				if p.hasRow && (p.seq == p.report.seq || r.anySeq) {
					p.promised = min(p.promised, p.report.limit)
				}
				p.report.on = false
			})
		}
		if p.alive && p.member.connected && p.session {
			add(i, "reads", func(_ *world, p *player) {
				p.member.Read(Replica{Seq: p.seq, Granted: int(p.granted), Promised: int(p.promised)})
			})
			for _, wants := range []int8{0, int8(r.Budget)} {
				if wants != p.wants {
					add(i, fmt.Sprint("wants ", wants), func(_ *world, p *player) { p.wants = wants })
				}
			}
			if !p.plan.on {
				add(i, "decides", func(w *world, p *player) { p.plan = r.decide(w) })
			}
		}
		if p.plan.on {
			add(i, "writes its decision", func(w *world, p *player) { r.write(w, p) })
		}
		if p.gone == 1 && p.flying == 0 {
			add(i, "has been gone for long", func(_ *world, p *player) { p.gone = 2 })
		}
		if w.faults >= r.faults {
			continue
		}
		if p.alive {
			add(i, "is killed", func(w *world, p *player) {
				w.faults++
				p.alive, p.session, p.open, p.member = false, false, 0, Member{}
			})
		}
		if p.session {
			add(i, "loses its session", func(w *world, p *player) { w.faults++; p.session = false })
		}
	}
	if w.faults < r.faults {
		add(0, "server crashes", func(w *world, _ *player) {
			w.faults++
			for i := range w.players {
				w.players[i].server, w.players[i].session = 0, false
				if r.unlogged {
					w.players[i].hasRow, w.players[i].promised = false, 0
				}
			}
		})
	}
	return all
}

func (r rules) decide(w *world) plan {
	made := plan{on: true, fresh: true}
	for _, row := range Step(clock, r.view(w)) {
		i := int(row.ID[0] - '0')
		p := &w.players[i]
		to := &made.rows[i]
		to.change, to.granted, to.promised = true, int8(row.Granted), int8(row.Promised)
		to.raised, to.over = row.Seq > p.seq, row.Over()
		if p.gone == 0 && !row.GoneAt.IsZero() {
			to.gone = 1
		}
		if r.noFlight && to.gone == 1 {
			to.promised = p.server
		}
	}
	return made
}

func (r rules) write(w *world, p *player) {
	plan := p.plan
	p.plan.on = false
	if !plan.fresh && !r.noVersion {
		return
	}
	for i, to := range plan.rows {
		p := &w.players[i]
		switch {
		case !to.change || !p.hasRow:
			continue
		case to.over:
			p.hasRow, p.report.on, p.gone = false, false, 0
			continue
		case to.raised:
			p.seq++
			p.promised = max(p.promised, to.promised)
		default:
			p.promised = min(p.promised, to.promised)
		}
		p.granted = to.granted
		p.gone = max(p.gone, to.gone)
	}
	w.written()
}

// tidy makes states equal that differ in nothing that matters: of the seqs only their
// order does.
func (w *world) tidy() {
	for i := range w.players {
		p := &w.players[i]
		if !p.hasRow {
			p.seq, p.granted, p.promised = 0, 0, 0
		}
		if !p.report.on {
			p.report.limit, p.report.seq = 0, 0
		}
		if !p.plan.on {
			p.plan = plan{}
		}
		seqs := []int64{0, p.seq, p.member.seq, p.report.seq}
		slices.Sort(seqs)
		seqs = slices.Compact(seqs)
		rank := func(seq int64) int64 { i, _ := slices.BinarySearch(seqs, seq); return int64(i) }
		p.seq, p.member.seq, p.report.seq = rank(p.seq), rank(p.member.seq), rank(p.report.seq)
	}
}

// wrong is the invariant that does not hold, or "".
func (r rules) wrong(w *world) string {
	backends, promised := 0, 0
	for i := range w.players {
		p := &w.players[i]
		backends += int(p.server)
		promised += int(p.promised)
		if p.session {
			backends++
		}
		if p.hasRow {
			promised++
		}
		if p.server+p.flying > p.promised {
			return fmt.Sprintf("R2: %d has %d backends and %d dials, and is promised %d", i, p.server, p.flying, p.promised)
		}
	}
	switch {
	case backends > r.Budget:
		return fmt.Sprintf("R3: %d backends", backends)
	case promised > r.Budget:
		return fmt.Sprintf("R1: %d promised", promised)
	}
	return ""
}

// start is the world after these events, which are possible in this order.
func (r rules) start(after ...string) (w world) {
	for i := range r.players {
		w.players[i].alive = true
	}
	for _, name := range after {
		events := r.next(w)
		w = events[slices.IndexFunc(events, func(e event) bool { return e.name == name })].to
	}
	return w
}

// walk is one order of events, with faults times as many others as faults on the average.
func (r rules) walk(random *rand.Rand, steps int) (trace []string) {
	w := r.start()
	for range steps {
		events := r.next(w)
		e := events[random.IntN(len(events))]
		if e.to.faults > w.faults {
			if random.IntN(40) > 0 {
				continue
			}
			e.to.faults = 0 // there may always be another
		}
		w = e.to
		trace = append(trace, e.name)
		if wrong := r.wrong(&w); wrong != "" {
			return append(trace, wrong)
		}
	}
	return nil
}

// explore visits states, those with the shortest traces first, until there is a wrong one,
// or no other, or too many.
func (r rules) explore(after ...string) (trace []string, states int, all bool) {
	type visit struct {
		from world
		by   string
	}
	start := r.start(after...)
	seen := map[world]visit{start: {}}
	queue := []world{start}
	for len(queue) > 0 {
		w := queue[0]
		queue = queue[1:]
		for _, e := range r.next(w) {
			if _, known := seen[e.to]; known {
				continue
			}
			seen[e.to] = visit{w, e.name}
			if wrong := r.wrong(&e.to); wrong != "" {
				trace := []string{wrong}
				for at := e.to; at != start; at = seen[at].from {
					trace = append(trace, seen[at].by)
				}
				slices.Reverse(trace)
				return trace, len(seen), false
			}
			queue = append(queue, e.to)
		}
		if len(seen) >= r.most {
			return nil, len(seen), false
		}
	}
	return nil, len(seen), true
}

// times is n, or more in the long form, or less with the race detector, which finds nothing
// in one goroutine.
func times(n, long int) int {
	switch {
	case underRaceDetector:
		return n / 10
	case os.Getenv("TENANTPOOL_TEST_LONG") == "1":
		return long
	}
	return n
}

func small(faults int8) rules {
	return rules{
		Group:   Group{Budget: 5, Floor: 0, MaxDialing: 1, Settle: 4 * time.Second},
		players: 2, faults: faults, most: times(60_000, 150_000),
	}
}

var (
	// grown: the first one was granted all there is, and the second has come.
	grown = []string{"0 registers", "0 wants 5", "0 decides", "0 writes its decision", "0 reads", "1 registers", "1 wants 5"}
	// busy: the first one also has two connections.
	busy = slices.Concat(grown, []string{"0 dials", "0 dial arrives", "0 dials", "0 dial arrives"})
)

func TestNoOrderOfEventsGoesOverTheBudget(t *testing.T) {
	for name, after := range map[string][]string{"from the beginning": nil, "grown": grown, "busy": busy} {
		for faults := range int8(3) {
			trace, states, all := small(faults).explore(after...)
			t.Logf("%s, %d faults: %d states, all of them: %v", name, faults, states, all)
			if trace != nil {
				t.Errorf("%s, with %d faults:\n%s", name, faults, strings.Join(trace, "\n"))
			}
		}
	}
}

// Each rule is there because without it the budget is exceeded.
func TestWithoutARuleTheBudgetIsExceeded(t *testing.T) {
	for name, test := range map[string]struct {
		after   []string
		without func(*rules)
	}{
		"a dial needs a round trip":                  {nil, func(r *rules) { r.noPermit = true }},
		"a report needs the seq":                     {grown, func(r *rules) { r.anySeq = true }},
		"a registration takes over what is promised": {busy, func(r *rules) { r.freshAdopt = true }},
		"a decision needs the version":               {nil, func(r *rules) { r.noVersion = true }},
		"what is on its way counts":                  {nil, func(r *rules) { r.noFlight = true }},
		"a crash leaves the tables":                  {nil, func(r *rules) { r.unlogged = true }},
	} {
		t.Run(name, func(t *testing.T) {
			if underRaceDetector {
				t.Skip("it takes a minute to find nothing more")
			}
			r := small(2)
			r.most = 600_000
			test.without(&r)
			trace, states, _ := r.explore(test.after...)
			t.Logf("%d states:\n%s", states, strings.Join(trace, "\n"))
			if trace == nil {
				t.Error("nothing was exceeded")
			}
		})
	}
}

func TestNoRandomOrderOfEventsOfThreeGoesOverTheBudget(t *testing.T) {
	for seed := range uint64(times(10, 30)) {
		random := rand.New(rand.NewPCG(seed, 1))
		floor := random.IntN(2)
		r := rules{
			Group:   Group{Budget: 3*(1+floor) + 1 + floor + 1 + random.IntN(5), Floor: floor, MaxDialing: 1 + random.IntN(2), Settle: 4 * time.Second},
			players: 3, faults: 1,
		}
		if trace := r.walk(random, 20_000); trace != nil {
			t.Fatalf("seed %d, %+v:\n%s", seed, r.Group, strings.Join(trace[max(0, len(trace)-60):], "\n"))
		}
	}
}
