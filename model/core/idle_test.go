package core

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEquallyUsedConnectionsOfAWorkspaceAreLentByNumber(t *testing.T) {
	s := start(t, limits(3, 3))
	s.lent(1, "a")
	s.lent(2, "a")
	s.lent(3, "a")
	s.at(1*ms, release(2, 2))
	s.at(1*ms, release(3, 3))
	s.at(1*ms, release(1, 1))
	// The one to be lent first is the one to be evicted last.
	s.at(2*ms, acquire(4, "a"), "grant 4 conn 3 a")
	s.at(2*ms, acquire(5, "b"), "close 1 a make_room idle 1ms for b", "wake 102ms")
	s.at(2*ms, acquire(6, "a"), "grant 6 conn 2 a")
}

func TestConnectionsThatEndTogetherCloseByNumber(t *testing.T) {
	l := limits(3, 3)
	l.MaxIdleTime = 5 * ms
	s := start(t, l)
	s.lent(1, "b")
	s.lent(2, "a")
	s.at(0, release(2, 2), "wake 5ms")
	s.at(0, release(1, 1))
	s.at(5*ms, Tick{}, "close 1 b idle_time_over idle 5ms", "close 2 a idle_time_over idle 5ms", "wake never")
}

func TestAConnectionFromTheMiddleOfTheStackLeavesTheOthersInOrder(t *testing.T) {
	l := limits(4, 3)
	l.MaxLifetime = 9 // connection 2 is dialed first, and so ends first
	s := start(t, l)
	s.at(0, acquire(1, "a"), "dial 1 a")
	s.at(0, acquire(2, "a"), "dial 2 a")
	s.at(0, acquire(3, "a"), "dial 3 a")
	s.at(0, DialSucceeded{2}, "grant 1 conn 2 a")
	s.at(1, DialSucceeded{1}, "grant 2 conn 1 a after 1ns")
	s.at(1, DialSucceeded{3}, "grant 3 conn 3 a after 1ns")
	s.at(2, release(2, 1), "wake 10ns")
	s.at(3, release(1, 2), "wake 9ns")
	s.at(4, release(3, 3))
	s.at(9, Tick{}, "close 2 a lifetime_over idle 6ns", "wake 10ns")
	s.at(9, acquire(4, "a"), "grant 4 conn 3 a")
	s.at(9, acquire(5, "a"), "grant 5 conn 1 a", "wake never")
}

func TestAHeapGivesTheLeastOfWhatIsInIt(t *testing.T) {
	type item struct{ key, place int }
	h := heap[*item]{
		compare: func(a, b *item) int { return cmp.Compare(a.key, b.key) },
		place:   func(x *item) *int { return &x.place },
	}
	r := rand.New(rand.NewPCG(1, 2))
	var in []*item // the same, by hand
	for range 2000 {
		switch n := r.IntN(4); {
		case n < 2 || len(in) == 0:
			x := &item{key: r.Int()}
			h.set(x)
			in = append(in, x)
		case n == 2: // any of them gets another key
			x := in[r.IntN(len(in))]
			x.key = r.Int()
			h.set(x)
		default: // any of them goes, and going again changes nothing
			i := r.IntN(len(in))
			x := in[i]
			h.remove(x)
			h.remove(x)
			in = slices.Delete(in, i, i+1)
			if h.has(x) {
				t.Fatal("a removed item is still in")
			}
		}
		if h.size() != len(in) {
			t.Fatalf("size %d, want %d", h.size(), len(in))
		}
		if len(in) > 0 && h.min() != slices.MinFunc(in, func(a, b *item) int { return a.key - b.key }) {
			t.Fatal("min is not the least")
		}
	}
}
