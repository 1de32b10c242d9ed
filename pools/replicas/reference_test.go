package replicas

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// rulebook is rules 5 to 8 of the package comment, read naively: one slot moves at a time,
// and before each all is counted again. It shares nothing with Step.
type rulebook struct {
	v    View
	now  time.Time
	rows map[string]*Replica
}

func (b rulebook) decide() (changed []Replica) {
	b.rows = map[string]*Replica{}
	for _, r := range b.v.Replicas {
		b.rows[r.ID] = &r
	}
	before := b.v.Replicas
	for _, r := range b.rows {
		b.rule5(r)
	}
	for b.rule6() {
	}
	asked := map[string]int{}
	for _, id := range b.ids() {
		for b.rule7(id, asked[id]) {
			asked[id]++
		}
	}
	for _, id := range b.ids() {
		if b.rows[id].Present {
			b.rows[id].Granted = b.rows[id].Promised - asked[id]
		}
	}
	for b.rule8() {
	}
	for _, old := range before {
		r := *b.rows[old.ID]
		if r.Granted > old.Granted {
			r.Seq++
		}
		if over := !r.Present && r.Promised == 0; r != old || over {
			changed = append(changed, r)
		}
	}
	slices.SortFunc(changed, func(a, b Replica) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return changed
}

func (b rulebook) ids() []string { return slices.Sorted(maps.Keys(b.rows)) }

// Of a replica that is gone, in the looks after the one that missed it no more counts than
// what the server shows of it and MaxDialing; after Settle, what the server shows.
func (b rulebook) rule5(r *Replica) {
	if r.Present {
		r.GoneAt = time.Time{}
		return
	}
	if r.GoneAt.IsZero() || r.GoneAt.After(b.now) {
		r.GoneAt = b.now
		r.Granted = 0
		return
	}
	counts := r.Visible
	if b.now.Before(r.GoneAt.Add(b.v.Settle)) {
		counts += b.v.MaxDialing
	}
	for r.Promised > counts {
		r.Promised--
	}
}

// need: it is present and stays, and has less than it wants, or than its floor.
func (b rulebook) need(r *Replica) bool {
	return r.Present && !r.Draining && (r.Promised < r.Wants || r.Promised < b.v.Floor)
}

// left is what neither strangers, nor rows and what they are promised, nor the reserve take.
func (b rulebook) left() int {
	left := b.v.Budget
	left -= b.v.Strangers
	left -= 1 + b.v.Floor
	for _, r := range b.rows {
		left--
		if r.Visible > r.Promised {
			left -= r.Visible
		} else {
			left -= r.Promised
		}
	}
	return left
}

// Free slots go to the poorest replica that needs one; one below its floor may use the
// reserve.
func (b rulebook) rule6() bool {
	var poorest *Replica
	for _, id := range b.ids() {
		r := b.rows[id]
		free := b.left()
		if r.Promised < b.v.Floor {
			free += 1 + b.v.Floor
		}
		if b.need(r) && free >= 1 && (poorest == nil || r.Promised < poorest.Promised) {
			poorest = r
		}
	}
	if poorest == nil {
		return false
	}
	poorest.Promised++
	return true
}

// needed is how much more all need together, and of what the poorest of them has.
func (b rulebook) needed() (slots, poorest int) {
	for _, r := range b.rows {
		if !b.need(r) {
			continue
		}
		if slots == 0 || r.Promised < poorest {
			poorest = r.Promised
		}
		for rich := *r; b.need(&rich); rich.Promised++ {
			slots++
		}
	}
	return slots, poorest
}

// Each replica is asked for what it does not need, or for half of what it has more than the
// poorest, but for no more than is needed, and not for its floor. Tells whether one that is
// asked for so many is asked for one more.
func (b rulebook) rule7(id string, asked int) bool {
	r := b.rows[id]
	needed, poorest := b.needed()
	if !r.Present || asked >= needed {
		return false
	}
	if r.Draining { // it needs nothing, and has no floor
		return asked < r.Promised
	}
	if r.Promised-asked <= b.v.Floor {
		return false
	}
	without := *r
	without.Promised -= asked + 1
	return !b.need(&without) || 2*(asked+1) <= r.Promised-poorest
}

// While more is given than the budget has, the richest are asked for it, but not for their
// floors.
func (b rulebook) rule8() bool {
	given := -b.left()
	for _, r := range b.rows {
		if r.Present {
			given -= r.Promised - r.Granted
		}
	}
	if given <= 0 {
		return false
	}
	var richest *Replica
	for _, id := range b.ids() {
		r := b.rows[id]
		keeps := b.v.Floor
		if r.Draining {
			keeps = 0
		}
		if r.Present && r.Granted > keeps && (richest == nil || r.Granted > richest.Granted) {
			richest = r
		}
	}
	if richest == nil {
		return false
	}
	richest.Granted--
	return true
}

// views draws any view, those that no history leads to included.
func views(now time.Time) *rapid.Generator[View] {
	return rapid.Custom(func(t *rapid.T) View {
		upTo := func(most int, name string) int { return rapid.IntRange(0, most).Draw(t, name) }
		v := View{
			Group:     Group{Floor: upTo(3, "floor"), MaxDialing: upTo(3, "max dialing"), Settle: 4 * time.Second},
			Strangers: max(0, upTo(8, "strangers")-4),
		}
		n := upTo(6, "replicas")
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4, 5}).Draw(t, "order")[:n] {
			r := Replica{
				ID: fmt.Sprint(i), Seq: int64(upTo(9, "seq")), Promised: upTo(12, "promised"), Wants: upTo(20, "wants"),
				Draining: upTo(4, "draining") == 4, Present: upTo(3, "present") < 3,
			}
			r.Granted = max(0, r.Promised-max(0, upTo(8, "asked")-4))
			r.Visible = max(0, r.Promised+2-upTo(10, "not visible"))
			if !r.Present && rapid.Bool().Draw(t, "missed before") {
				r.GoneAt = now.Add(-time.Duration(upTo(8, "gone for")) * time.Second)
				r.Granted = 0
			}
			v.Replicas = append(v.Replicas, r)
		}
		v.Budget = upTo(n*(1+v.Floor)+60, "budget")
		return v
	})
}

func TestStepIsWhatTheRulesSay(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		v := views(now).Draw(t, "view")
		given := slices.Clone(v.Replicas)
		got, want := Step(now, v), rulebook{v: v, now: now}.decide()
		if !slices.Equal(got, want) {
			t.Fatalf("of %+v\nStep makes %+v,\nthe rules   %+v", v, got, want)
		}
		if !slices.Equal(v.Replicas, given) {
			t.Fatalf("Step has changed the view: %+v, and was given %+v", v.Replicas, given)
		}
	})
}
