package replicas

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// group is a group whose replicas do at once what they are told, but for connections that
// nobody gives back.
type group struct {
	View
	members []Member
	held    []int // connections of each
	pinned  []int // how many of them nobody gives back
}

func newGroup(g Group, wants ...int) *group {
	s := &group{View: View{Group: g}, members: make([]Member, len(wants)), held: make([]int, len(wants)), pinned: make([]int, len(wants))}
	for i, w := range wants {
		s.Replicas = append(s.Replicas, Replica{ID: fmt.Sprintf("%02d", i), Seq: 1, Wants: w, Present: true})
		s.members[i].Registered(1, 0)
	}
	return s
}

// round is one decision, and what follows from it. It reports whether anything changed.
func (s *group) round(t require) bool {
	changed := Step(time.Unix(1, 0), s.View)
	for _, r := range changed {
		i := slices.IndexFunc(s.Replicas, func(old Replica) bool { return old.ID == r.ID })
		s.Replicas[i] = r
	}
	sum := s.Strangers
	moved := len(changed) > 0
	for i := range s.Replicas {
		r, m := &s.Replicas[i], &s.members[i]
		m.Read(*r)
		before := s.held[i]
		s.held[i] = max(min(m.Limit(), r.Wants), s.pinned[i])
		if s.held[i] > r.Promised {
			t.Fatalf("replica %d holds %d and is promised %d", i, s.held[i], r.Promised)
		}
		if limit, seq, ok := m.Report(s.held[i]); ok && seq == r.Seq {
			r.Promised = min(r.Promised, limit)
			moved = true
		}
		r.Visible = s.held[i]
		moved = moved || s.held[i] != before
		sum += 1 + r.Promised
	}
	if sum > s.Budget {
		t.Fatalf("%d of %d are promised: %+v", sum, s.Budget, s.Replicas)
	}
	return moved
}

// rest goes on until nothing changes.
func (s *group) rest(t require) (rounds int) {
	for rounds = 0; s.round(t); rounds++ {
		if rounds > 500 {
			t.Fatalf("it does not come to rest: %+v", s.Replicas)
		}
	}
	return rounds
}

type require interface {
	Fatalf(string, ...any)
}

func (s *group) promised() (all []int) {
	for _, r := range s.Replicas {
		all = append(all, r.Promised)
	}
	return all
}

func TestADivision(t *testing.T) {
	for _, test := range []struct {
		name          string
		budget, floor int
		wants, want   []int
	}{
		{"one takes what there is but the reserve", 12, 1, []int{100}, []int{9}},
		{"one that wants little leaves the rest", 12, 1, []int{100, 2}, []int{6, 2}},
		{"nobody wants anything", 12, 1, []int{0, 0}, []int{1, 1}},
		{"three that want all", 40, 2, []int{100, 100, 100}, []int{12, 11, 11}},
		{"each has its floor", 13, 3, []int{100, 0}, []int{4, 3}},
	} {
		s := newGroup(Group{Budget: test.budget, Floor: test.floor, MaxDialing: 4, Settle: time.Second}, test.wants...)
		s.rest(t)
		if got := s.promised(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// What the others do not need is elsewhere after a few decisions, and comes back as soon.
func TestABusyReplicaHasWhatTheOthersLeave(t *testing.T) {
	s := newGroup(Group{Budget: 60, Floor: 2, MaxDialing: 4, Settle: time.Second}, 100, 100, 100)
	s.rest(t)
	s.Replicas[1].Wants, s.Replicas[2].Wants = 0, 0
	if rounds := s.rest(t); rounds > 4 || s.held[0] != 60-3-3-2*2 {
		t.Errorf("after %d decisions it holds %d", rounds, s.held[0])
	}
	s.Replicas[1].Wants, s.Replicas[2].Wants = 100, 100
	if rounds := s.rest(t); rounds > 12 || slices.Min(s.held) < slices.Max(s.held)-1 {
		t.Errorf("after %d decisions they hold %v", rounds, s.held)
	}
}

// H9: leases that never end do not keep a newcomer from what others give.
func TestANewcomerIsNotStarvedByLeasesThatDoNotEnd(t *testing.T) {
	s := newGroup(Group{Budget: 9, Floor: 0, MaxDialing: 4, Settle: time.Second}, 3, 2)
	s.rest(t)
	s.pinned[0] = 3
	s.Replicas = append(s.Replicas, Replica{ID: "02", Seq: 1, Wants: 5, Present: true})
	s.members = append(s.members, Member{})
	s.members[2].Registered(1, 0)
	s.held, s.pinned = append(s.held, 0), append(s.pinned, 0)
	s.rest(t)
	if s.held[2] < 1 {
		t.Errorf("they hold %v", s.held)
	}
}

// H10: needs that flicker move nothing as long as they fit.
func TestNeedsThatFlickerMoveNothing(t *testing.T) {
	s := newGroup(Group{Budget: 24, Floor: 0, MaxDialing: 4, Settle: time.Second}, 4, 4, 4, 4)
	s.rest(t)
	for i := range 100 {
		for j := range s.Replicas {
			s.Replicas[j].Wants = 2 + (i+j)%3
		}
		if changed := Step(time.Unix(1, 0), s.View); len(changed) > 0 {
			t.Fatalf("round %d changes %+v", i, changed)
		}
	}
}

func TestALowerBudgetIsTakenFromTheRichest(t *testing.T) {
	s := newGroup(Group{Budget: 40, Floor: 1, MaxDialing: 4, Settle: time.Second}, 20, 6, 6)
	s.rest(t)
	s.Budget = 20
	for range 10 { // over the new budget until it is given back
		for _, r := range Step(time.Unix(1, 0), s.View) {
			i := slices.IndexFunc(s.Replicas, func(old Replica) bool { return old.ID == r.ID })
			r.Promised = min(r.Promised, r.Granted)
			r.Visible = r.Promised
			s.Replicas[i] = r
		}
	}
	if got := s.promised(); !slices.Equal(got, []int{5, 5, 5}) {
		t.Errorf("promised are %v", got)
	}
}

func TestWhatIsGoneComesBackByWhatTheServerShows(t *testing.T) {
	now := time.Unix(1, 0)
	v := View{Group: Group{Budget: 20, Floor: 1, MaxDialing: 2, Settle: 4 * time.Second}, Replicas: []Replica{
		{ID: "a", Seq: 3, Granted: 9, Promised: 9, Visible: 5},
		{ID: "b", Seq: 1, Wants: 100, Present: true},
	}}
	at := func(after time.Duration) map[string]Replica {
		rows := map[string]Replica{}
		for _, r := range Step(now.Add(after), v) {
			rows[r.ID] = r
			i := slices.IndexFunc(v.Replicas, func(old Replica) bool { return old.ID == r.ID })
			v.Replicas[i] = r
		}
		return rows
	}
	if a := at(0)["a"]; a.Promised != 9 || a.GoneAt != now {
		t.Errorf("in the look that misses it, it is %+v", a)
	}
	if a := at(time.Millisecond)["a"]; a.Promised != 7 {
		t.Errorf("in the next look it is %+v", a)
	}
	if b := v.Replicas[1]; b.Promised != 20-2-2-7 {
		t.Errorf("the other one has %+v", b)
	}
	v.Replicas[0].Visible = 1
	if a := at(3 * time.Second)["a"]; a.Promised != 3 {
		t.Errorf("before Settle it is %+v", a)
	}
	if a := at(4 * time.Second)["a"]; a.Promised != 1 || a.Over() {
		t.Errorf("after Settle it is %+v", a)
	}
	v.Replicas[0].Visible = 0
	if a := at(5 * time.Second)["a"]; !a.Over() {
		t.Errorf("with no backend left it is %+v", a)
	}
}

// The server's clock is set back: nothing waits until it is again what it was.
func TestAClockThatGoesBackKeepsNoSlots(t *testing.T) {
	now := time.Unix(1, 0)
	v := View{Group: Group{Budget: 20, Floor: 1, MaxDialing: 2, Settle: 4 * time.Second}, Replicas: []Replica{
		{ID: "a", Seq: 3, Promised: 9, Visible: 5, GoneAt: now.Add(time.Hour)},
	}}
	v.Replicas = Step(now, v)
	if a := v.Replicas[0]; a.Promised != 9 || a.GoneAt != now {
		t.Errorf("it is %+v", a)
	}
	if a := Step(now.Add(4*time.Second), v)[0]; a.Promised != 5 {
		t.Errorf("after Settle it is %+v", a)
	}
}

func TestFloorsThatDoNotFitAreRefusedWithTheArithmetic(t *testing.T) {
	err := Group{Budget: 97, Floor: 1}.Fits(48)
	want := "48 replicas need 98 connections: a control session and a floor of 1 each, and the same in reserve for a newcomer; the budget is 97, enough for 47"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if err := (Group{Budget: 97, Floor: 1}).Fits(47); err != nil {
		t.Error(err)
	}
}

// R4: whatever the needs, and whatever is not given back, the division comes to rest; then
// nobody needs one more while somebody who can give has two more, or one that he does not
// need, or while one is free.
func TestADivisionComesToRestAndStarvesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "replicas")
		floor := rapid.IntRange(0, 2).Draw(t, "floor")
		g := Group{Floor: floor, MaxDialing: 4, Settle: time.Second}
		g.Budget = n*(1+floor) + 1 + floor + rapid.IntRange(0, 30).Draw(t, "more")
		draw := func(name string) []int { return rapid.SliceOfN(rapid.IntRange(0, 20), n, n).Draw(t, name) }
		s := newGroup(g, draw("wanted before")...)
		s.rest(t)
		for i, w := range draw("wants") {
			s.Replicas[i].Wants = w
			s.pinned[i] = rapid.IntRange(0, s.held[i]).Draw(t, "pinned")
		}
		s.rest(t)
		d := division{View: s.View}
		for i := range s.Replicas {
			r := &s.Replicas[i]
			if r.Promised < min(floor, d.wants(r)) {
				t.Fatalf("replica %d is below its floor: %+v", i, s.Replicas)
			}
			if r.Promised >= d.wants(r) {
				continue
			}
			if d.free() > 0 {
				t.Fatalf("replica %d needs more and %d are free: %+v", i, d.free(), s.Replicas)
			}
			for j := range s.Replicas {
				other := &s.Replicas[j]
				if s.pinned[j] >= other.Promised || other.Promised <= floor {
					continue // it cannot give
				}
				if other.Promised > d.wants(other) || other.Promised >= r.Promised+2 {
					t.Fatalf("replica %d needs more, and replica %d could give: pinned %v, %+v", i, j, s.pinned, s.Replicas)
				}
			}
		}
	})
}
