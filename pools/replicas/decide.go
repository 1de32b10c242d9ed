package replicas

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Group is what all replicas share.
type Group struct {
	// Budget is how many connections of the role there may be, control sessions included.
	Budget int
	// Floor is how many connections each replica may always have.
	Floor int
	// MaxDialing is how many dials of one replica may be under way.
	MaxDialing int
	// Settle is how long after it is gone a dial of a replica may still arrive.
	Settle time.Duration
}

// reserve is what stays free for a newcomer: a control session, and a floor.
func (g Group) reserve() int { return 1 + g.Floor }

// need is the least budget for so many replicas: for each what a newcomer needs, and the
// reserve.
func (g Group) need(replicas int) int { return (replicas + 1) * g.reserve() }

// Fits tells why the budget is too small for so many replicas.
func (g Group) Fits(replicas int) error {
	if g.need(replicas) <= g.Budget {
		return nil
	}
	return &BudgetError{Group: g, Replicas: replicas}
}

// BudgetError tells that a budget is too small for so many replicas.
type BudgetError struct {
	Group
	Replicas int
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("%d replicas need %d connections: a control session and a floor of %d each, and the same in reserve for a newcomer; the budget is %d, enough for %d",
		e.Replicas, e.need(e.Replicas), e.Floor, e.Budget, max(0, e.Budget/e.reserve()-1))
}

// Replica is one of them, by its row and by what the server says of it.
type Replica struct {
	ID  string
	Seq int64
	// Granted is what it should have, Promised what it may still hold.
	Granted, Promised int
	// Wants is how many connections it has a use for now.
	Wants int
	// Draining: it is about to leave, and wants nothing.
	Draining bool
	// GoneAt is when it was first seen to be gone, or zero.
	GoneAt time.Time

	// Present: its control session is in the server's list.
	Present bool
	// Visible is how many of its connections the server has, or is about to let in.
	Visible int
}

// View is what a decision is made of.
type View struct {
	Group
	Replicas []Replica
	// Strangers are the role's connections that no replica owns, control sessions without
	// a row included.
	Strangers int
}

// Step decides over a view: it returns the rows that are to change, with Granted,
// Promised and GoneAt as they should be and a new Seq if the grant rises. One whose
// replica is gone and that promises nothing is to be deleted (see [Replica.Over]). The same
// view has the same decision, whoever makes it.
func Step(now time.Time, v View) []Replica {
	d := division{View: v}
	d.Replicas = slices.SortedFunc(slices.Values(v.Replicas), func(a, b Replica) int { return cmp.Compare(a.ID, b.ID) })
	d.before = slices.Clone(d.Replicas)
	d.settle(now)
	d.raise()
	d.ask()
	d.fit()
	return d.changed()
}

// Over tells whether nothing is left of the replica.
func (r Replica) Over() bool { return !r.Present && !r.GoneAt.IsZero() && r.Promised == 0 }

type division struct {
	View
	before []Replica
}

// wants is what the replica should have if there were enough.
func (d *division) wants(r *Replica) int {
	if r.Draining || !r.Present {
		return 0
	}
	return max(r.Wants, d.Floor)
}

// settle is rule 5.
func (d *division) settle(now time.Time) {
	for i := range d.Replicas {
		switch r := &d.Replicas[i]; {
		case r.Present:
			r.GoneAt = time.Time{}
		case r.GoneAt.IsZero(), now.Before(r.GoneAt): // what the look saw before that may have grown since; or the clock went back
			r.GoneAt, r.Granted = now, 0
		case now.Sub(r.GoneAt) < d.Settle:
			r.Promised = min(r.Promised, r.Visible+d.MaxDialing)
		default:
			r.Promised = min(r.Promised, r.Visible)
		}
	}
}

// free is how many slots nobody has a claim to, without the reserve. It is negative while
// that is used, or more is promised than the budget has.
func (v View) free() int {
	free := v.Budget - v.Strangers - v.reserve()
	for _, r := range v.Replicas {
		// One for its control session, which may come back. That it has more than it is
		// promised is not foreseen, but true.
		free -= 1 + max(r.Promised, r.Visible)
	}
	return free
}

// Admits tells whether there is room for one more replica's control session. Whoever
// registers with a row of its own must ask in the same statement that inserts it.
func (v View) Admits() bool { return v.free()+v.reserve() > 0 }

// raise is rule 6.
func (d *division) raise() {
	for {
		free := d.free()
		var poorest *Replica
		for i := range d.Replicas {
			r := &d.Replicas[i]
			room := free
			if r.Promised < d.Floor {
				room += d.reserve()
			}
			if room > 0 && r.Promised < d.wants(r) && (poorest == nil || r.Promised < poorest.Promised) {
				poorest = r
			}
		}
		if poorest == nil {
			break
		}
		poorest.Promised++
	}
}

// ask is rule 7. A grant is below the promise by what its replica is asked for.
func (d *division) ask() {
	needed, poorest := 0, 0
	for i := range d.Replicas {
		r := &d.Replicas[i]
		if need := d.wants(r) - r.Promised; need > 0 {
			if needed == 0 || r.Promised < poorest {
				poorest = r.Promised
			}
			needed += need
		}
	}
	for i := range d.Replicas {
		r := &d.Replicas[i]
		if !r.Present {
			continue
		}
		spare := max(r.Promised-d.wants(r), (r.Promised-poorest)/2)
		if r.Draining {
			spare = r.Promised
		}
		asked := min(needed, max(0, spare))
		r.Granted = max(r.Promised-asked, min(r.Promised, d.floorOf(r)))
	}
}

// floorOf is what the replica is not asked for.
func (d *division) floorOf(r *Replica) int {
	if r.Draining {
		return 0
	}
	return d.Floor
}

// fit is rule 8.
func (d *division) fit() {
	over := -d.free()
	for _, r := range d.Replicas {
		if r.Present {
			over -= r.Promised - r.Granted
		}
	}
	for ; over > 0; over-- {
		var richest *Replica
		for i := range d.Replicas {
			r := &d.Replicas[i]
			if r.Present && r.Granted > d.floorOf(r) && (richest == nil || r.Granted > richest.Granted) {
				richest = r
			}
		}
		if richest == nil {
			return
		}
		richest.Granted--
	}
}

// changed are the rows that are no longer as they were.
func (d *division) changed() []Replica {
	var changed []Replica
	for i, r := range d.Replicas {
		if r.Granted > d.before[i].Granted {
			r.Seq++
		}
		if r != d.before[i] || r.Over() {
			changed = append(changed, r)
		}
	}
	return changed
}
