package core

import "testing"

// An Evict of two connections is answered when both are gone, also by a State that
// was restored in between.
func TestARestoredStateFinishesWhatWasBegun(t *testing.T) {
	s := start(t, limits(4, 2))
	s.parked(1, "a")
	s.lent(2, "b")
	s.at(0, acquire(3, "a"), "grant 3 conn 1 a")
	s.at(0, acquire(4, "a"), "dial 3 a")
	s.at(0, DialSucceeded{3}, "grant 4 conn 3 a")
	s.at(0, release(3, 1))
	s.at(0, release(4, 3))
	s.at(0, Evict{Operation: 9, Workspace: "a"}, "close 1 a evict_asked", "close 3 a evict_asked")
	restored, err := Restore(s.Image())
	if err != nil {
		t.Fatal(err)
	}
	s.State = restored
	s.at(0, Closed{1})
	s.at(0, Closed{3}, "done 9 closed 2")
}
