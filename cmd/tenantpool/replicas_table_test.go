package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// What an operator should do something about is said, and nothing else.
func TestWhatDoesNotAgreeIsSaid(t *testing.T) {
	for want, spoil := range map[string]func(*sharedView){
		"":                                func(*sharedView) {},
		"has no CONNECTION LIMIT":         func(s *sharedView) { s.role.Limit = -1 },
		"may have 30 connections and the": func(s *sharedView) { s.role.Limit = 30 },
		"more than the budget of 40":      func(s *sharedView) { s.role.Limit = 50 },
		"is a superuser":                  func(s *sharedView) { s.role.Superuser = true },
		`: 2 of "psql"`: func(s *sharedView) {
			s.Strangers, s.strangers = 2, []replicas.Stranger{{ApplicationName: "psql", Connections: 2}}
		},
		"3 more are given than the budget": func(s *sharedView) { s.Free = -3 },
		"1 of the reserve of 4 are in use": func(s *sharedView) { s.Free = 3 },
		"the server has 39 connections":    func(s *sharedView) { s.role.Usable = 39 },
		"logins under way need some":       func(s *sharedView) { s.role.Usable = 40 },
		"too (new, newer)":                 func(s *sharedView) { s.role.Others = []string{"new", "newer"} },
	} {
		s := sharedView{
			SharedBudget: model.SharedBudget{Group: "shop", Budget: 40, Floor: 3, Reserve: 4, Free: 10},
			role:         replicas.Role{Name: "app", Limit: 40, Usable: 57},
		}
		spoil(&s)
		switch said := s.disagreements(); {
		case want == "" && len(said) > 0, want != "" && (len(said) != 1 || !strings.Contains(said[0], want)):
			t.Errorf("%q, want %q", said, want)
		}
	}
}

func TestTheStateAndTheAgeOfAReplica(t *testing.T) {
	for want, r := range map[string]model.Replica{
		"present":                          {State: model.ReplicaPresent, Share: 4, Granted: 4},
		"leaving, is asked to give back 4": {State: model.ReplicaLeaving, Share: 4},
		"gone":                             {State: model.ReplicaGone, Share: 4},
	} {
		if got := state(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, d := range map[string]time.Duration{"0s": -time.Second, "1m5s": 65*time.Second + 1, "3h2m": 3*time.Hour + 2*time.Minute + 5*time.Second, "3d": 73 * time.Hour} {
		if got := age(d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
