package pools

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// nameServer counts what it is asked.
type nameServer struct {
	is    map[string][]string
	asked int
}

func (s *nameServer) lookup(_ context.Context, host string) ([]string, error) {
	s.asked++
	if list := s.is[host]; list != nil {
		return list, nil
	}
	return nil, errors.New("no such host")
}

func TestManyDialsAskTheNameServerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{is: map[string][]string{"a": {"10.0.0.1", "10.0.0.2"}, "b": {"10.0.1.1"}}}
		book := &addresses{lookup: s.lookup}
		for range 100 {
			for host, want := range s.is {
				if got, err := book.find(t.Context(), host); err != nil || !slices.Equal(got, want) {
					t.Fatalf("%s: %v, %v", host, got, err)
				}
			}
			time.Sleep(time.Millisecond)
		}
		if s.asked != 2 {
			t.Errorf("200 dials to two hosts asked %d times", s.asked)
		}
	})
}

func TestAHostThatMovedIsFollowedWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &nameServer{is: map[string][]string{"a": {"10.0.0.1"}}}
		book := &addresses{lookup: s.lookup}
		if _, err := book.find(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		s.is["a"] = []string{"10.0.0.9"}
		time.Sleep(2 * time.Second)
		if got, err := book.find(t.Context(), "a"); err != nil || !slices.Equal(got, s.is["a"]) {
			t.Errorf("after two seconds it is still looked for at %v (%v)", got, err)
		}
	})
}

func TestAnUnknownHostIsAskedForAgain(t *testing.T) {
	s := &nameServer{is: map[string][]string{}}
	book := &addresses{lookup: s.lookup}
	if _, err := book.find(t.Context(), "a"); err == nil {
		t.Error("it was found")
	}
	s.is["a"] = []string{"10.0.0.1"}
	if got, err := book.find(t.Context(), "a"); err != nil || !slices.Equal(got, s.is["a"]) {
		t.Errorf("%v, %v", got, err)
	}
}
