package replicas

import "testing"

// What the others should know at once, of a replica that has 40 of a budget of 100.
func TestAReplicaSaysAtOnceWhatOthersMayWaitFor(t *testing.T) {
	for _, c := range []struct {
		what           string
		said, now      int
		drains, isNews bool
	}{
		{what: "a need that is not met", said: 10, now: 41, isNews: true},
		{what: "one that has grown by half", said: 60, now: 90, isNews: true},
		{what: "one that has grown by less", said: 60, now: 89},
		{what: "one that is met", said: 10, now: 40},
		{what: "all that it has was needed, and half is no longer", said: 90, now: 20, isNews: true},
		{what: "more than half still is", said: 90, now: 21},
		{what: "not all was needed before", said: 39, now: 0},
		{what: "it leaves", said: 10, now: 10, drains: true, isNews: true},
	} {
		s := Session{member: Member{limit: 40}, group: Group{Budget: 100}, said: said{Use: Use{Wants: c.said}}}
		if is := s.news(said{Use: Use{Wants: c.now}, draining: c.drains}); is != c.isNews {
			t.Errorf("%s: %v", c.what, is)
		}
	}
	s := Session{member: Member{limit: 4}, group: Group{Budget: 100}, said: said{Use: Use{Wants: 4}}}
	if s.news(said{}) {
		t.Error("four of a hundred is too little to tell at once")
	}
}
