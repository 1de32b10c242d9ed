package planner

// recency is the order in which keys were used last. It tells in logarithmic time how many
// were since one of them: a Fenwick tree over their places (Fenwick: A New Data Structure
// for Cumulative Frequency Tables, 1994), which are numbered anew when they run out.
type recency struct {
	// at[place] is the key there, or none; places begin with 1. tree sums up how many places
	// are taken.
	at   []int32
	tree []uint16
	// next is the next place, first is at most the first taken one, n how many are taken.
	next, first, n int32
}

func (r *recency) full() bool { return int(r.next) >= len(r.at) }

// add puts a key at the end. There must be room.
func (r *recency) add(key int32) (place int32) {
	place = r.next
	r.at[place] = key
	r.next++
	r.n++
	for i := place; int(i) < len(r.tree); i += i & -i {
		r.tree[i]++
	}
	return place
}

func (r *recency) remove(place int32) {
	r.at[place] = none
	r.n--
	for i := place; int(i) < len(r.tree); i += i & -i {
		r.tree[i]--
	}
}

// since is how many have been used since the one at the place, itself included.
func (r *recency) since(place int32) int {
	before := 0
	for i := place - 1; i > 0; i -= i & -i {
		before += int(r.tree[i])
	}
	return int(r.n) - before
}

// oldest is the key that was used longest ago. There must be one.
func (r *recency) oldest() int32 {
	for r.at[r.first] == none {
		r.first++
	}
	return r.at[r.first]
}

// renumber moves all to the first places, and makes as many again.
func (r *recency) renumber(moved func(key, place int32)) {
	old := r.at
	size := 1024 + 2*int(r.n)
	*r = recency{at: make([]int32, size), tree: make([]uint16, size), next: 1, first: 1}
	for _, key := range old {
		if key != none {
			moved(key, r.add(key))
		}
	}
}
