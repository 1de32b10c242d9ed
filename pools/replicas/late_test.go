package replicas_test

import (
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// registered is a store whose session is replica a's, and the row's seq.
func registered(t *testing.T, pg *localpg.Server) (s *replicas.Store, seq int64) {
	t.Helper()
	s = store(t, pg)
	_, version := view(t, s)
	seq, _, err := s.Register(t.Context(), version, "a", "web", "app/a")
	if err != nil {
		t.Fatal(err)
	}
	return s, seq
}

// A session that the replica has given up may still carry out what was sent to it.
func TestWhatTheSessionBeforeSaysLateChangesNothing(t *testing.T) {
	pg := server(t)
	if _, err := store(t, pg).Found(t.Context(), 20, 1); err != nil {
		t.Fatal(err)
	}
	before, seq := registered(t, pg)
	if err := before.Say(t.Context(), "a", replicas.Use{Wants: 5}, false); err != nil {
		t.Fatal(err)
	}
	v, version := view(t, before)
	if err := before.Decide(t.Context(), version, replicas.Step(time.Unix(1, 0), v)); err != nil {
		t.Fatal(err)
	}
	now, _ := registered(t, pg)
	if err := now.Say(t.Context(), "a", replicas.Use{Wants: 7, Open: 5}, false); err != nil {
		t.Fatal(err)
	}
	if err := before.Say(t.Context(), "a", replicas.Use{}, true); err != nil {
		t.Fatal(err)
	}
	if err := before.Report(t.Context(), "a", seq+1, 0); err != nil {
		t.Fatal(err)
	}
	if v, _ := view(t, now); v.Replicas[0].Wants != 7 || v.Replicas[0].Draining || v.Replicas[0].Promised != 5 {
		t.Errorf("%+v", v.Replicas[0])
	}
}

// A decision that waits for the row while a report is written into it takes in the report:
// it gives nothing back that was reported, unless it raises.
func TestADecisionThatWaitsForAReportTakesItIn(t *testing.T) {
	for _, test := range []struct {
		name                  string
		granted, promised     int // as decided
		raised                int64
		isGranted, isPromised int
	}{
		{"it asks for more", 2, 5, 0, 2, 3},
		{"it raises", 6, 6, 1, 6, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			pg := server(t)
			watch := connect(t, pg, "watch")
			if _, err := store(t, pg).Found(t.Context(), 20, 1); err != nil {
				t.Fatal(err)
			}
			s, seq := registered(t, pg)
			if _, err := watch.Exec(t.Context(), `UPDATE tenantpool_replicas SET granted = 3, promised = 5`); err != nil {
				t.Fatal(err)
			}
			v, version := view(t, s)
			decided := v.Replicas[0]
			decided.Granted, decided.Promised, decided.Seq = test.granted, test.promised, seq+test.raised

			reporting := store(t, pg)
			if _, err := reporting.Conn.Exec(t.Context(), "BEGIN"); err != nil {
				t.Fatal(err)
			}
			if _, err := reporting.Conn.Exec(t.Context(), `UPDATE tenantpool_replicas SET promised = least(promised, 3) WHERE seq = $1`, seq); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.Decide(t.Context(), version, []replicas.Replica{decided}) }()
			eventually(t, "the decision waits for the report", func() bool {
				var waits bool
				err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE NOT granted)`).Scan(&waits)
				return err == nil && waits
			})
			if _, err := reporting.Conn.Exec(t.Context(), "COMMIT"); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			v, _ = view(t, store(t, pg))
			if r := v.Replicas[0]; r.Granted != test.isGranted || r.Promised != test.isPromised {
				t.Errorf("it is %+v, want granted %d and promised %d", r, test.isGranted, test.isPromised)
			}
		})
	}
}

// Whoever decides may be configured otherwise than the one that is gone.
func TestOfTheGoneAsManyDialsCountAsItMayHave(t *testing.T) {
	pg := server(t)
	gone, decider := store(t, pg), store(t, pg)
	gone.MaxDialing, decider.MaxDialing = 5, 1
	if _, err := decider.Found(t.Context(), 20, 1); err != nil {
		t.Fatal(err)
	}
	_, version := view(t, gone)
	if _, _, err := gone.Register(t.Context(), version, "a", "web", "app/a"); err != nil {
		t.Fatal(err)
	}
	if err := gone.Say(t.Context(), "a", replicas.Use{Wants: 8}, false); err != nil {
		t.Fatal(err)
	}
	v, version := view(t, gone)
	if err := gone.Decide(t.Context(), version, replicas.Step(time.Unix(1, 0), v)); err != nil {
		t.Fatal(err)
	}
	_ = gone.Conn.Close(t.Context())
	eventually(t, "it is missed", func() bool {
		v, version = view(t, decider)
		return !v.Replicas[0].Present
	})
	for range 2 { // the second look takes back
		now := time.Unix(2, 0)
		if err := decider.Decide(t.Context(), version, replicas.Step(now, v)); err != nil {
			t.Fatal(err)
		}
		v, version = view(t, decider)
	}
	if r := v.Replicas[0]; r.Promised != 5 {
		t.Errorf("it is promised %d, and five dials may be on their way: %+v", r.Promised, r)
	}
}
