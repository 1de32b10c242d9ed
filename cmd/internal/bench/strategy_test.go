package bench

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// newStage is on the shared server, ownStage on one that grants the budget and no more.
func newStage(t *testing.T, databases int) *setting {
	t.Helper()
	o := small()
	o.DSN = dsnOf(sharedServer(t))
	return setUpStage(t, o, databases)
}

func ownStage(t *testing.T, databases int) *setting { return setUpStage(t, small(), databases) }

func setUpStage(t *testing.T, o Options, databases int) *setting {
	t.Helper()
	openTemp(t)
	s, err := setUp(t.Context(), o, databases, quietLog(), silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.tearDown(silent); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A pool whose connections lead elsewhere: the stage's databases change places
// after it was opened.
func TestAConnectionToAnotherDatabaseIsNoticed(t *testing.T) {
	s := newStage(t, 2)
	for _, how := range []strategy{ours{}, poolPerWorkspace{}} {
		p, err := how.open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		s.databases[0], s.databases[1] = s.databases[1], s.databases[0]
		lease, err := p.acquire(t.Context(), 0)
		if err == nil {
			lease.release()
		}
		if !errors.Is(err, errWrongWorkspace) || kindOf(err) != wrongWorkspace {
			t.Errorf("%s: %v", how.label(), err)
		}
		s.databases[0], s.databases[1] = s.databases[1], s.databases[0]
		if err := p.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The server's own count of the sessions is the judge. It adds up when they have
// ended.
func TestEachStrategyCountsTheConnectionsThatItMakes(t *testing.T) {
	s := newStage(t, 8)
	conn, err := pgx.Connect(t.Context(), s.watcher)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	sessions := func() (n uint64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT sum(sessions) FROM pg_stat_database WHERE datname = ANY($1)", s.databases).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, how := range strategies() {
		t.Run(how.label(), func(t *testing.T) {
			needProgramOf(t, how.label())
			before := sessions()
			p, err := how.open(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 24 { // more workspaces than the LRU of pools keeps
				lease, err := p.acquire(t.Context(), i%8)
				if err != nil {
					t.Fatal(err)
				}
				if err := lease.query(t.Context(), "select 1"); err != nil {
					t.Error(err)
				}
				lease.release()
			}
			made := p.made()
			if err := p.close(t.Context()); err != nil {
				t.Error(err)
			}
			var open int
			for open = -1; open != 0; { // bounded by the test's own deadline
				if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY($1)", s.databases).Scan(&open); err != nil {
					t.Fatal(err)
				}
			}
			if counted := sessions() - before; made == 0 || made != counted {
				t.Errorf("it made %d connections, the server counted %d", made, counted)
			}
		})
	}
}

func TestPgBouncerWithoutItsProgramHasNoTurn(t *testing.T) {
	s := newStage(t, 2)
	s.options.Workspaces = 2
	s.options.Strategies = []string{"tenantpool", "pgbouncer"}
	found := bouncerPrograms
	defer func() { bouncerPrograms = found }()
	bouncerPrograms = []string{"/nowhere/pgbouncer"}
	m, err := measure(t.Context(), s, workload{name: "one"}, silent)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.skipped["pgbouncer"]; got != "PgBouncer is not installed: apt-get install pgbouncer, or the like" {
		t.Errorf("%q", got)
	}
	if len(m.turns["tenantpool"]) != 1 {
		t.Error("the others did not go on")
	}
}

// Each of 22 pools keeps a connection, and the server has 20.
func TestPoolsThatKnowNothingOfEachOtherAreRefusedAndCounted(t *testing.T) {
	s := ownStage(t, 22)
	observer, err := pgx.Connect(t.Context(), s.watcher) // it has its place, as in a turn
	if err != nil {
		t.Fatal(err)
	}
	defer observer.Close(context.Background())
	p, err := poolPerWorkspace{}.open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	recorder := NewRecorder(1)
	one := &worker{pool: p, trace: recorder.Worker(0), query: "select 1", errors: map[string]uint64{}, examples: map[string]string{}}
	for workspace := range 22 {
		if _, err := one.request(t.Context(), workspace); err != nil {
			one.note(err)
		} else {
			one.ok++
		}
	}
	f := newTurnFigures(s, []driven{{quiet: []*worker{one}}}, recorder.Events(), p.made())
	var report StrategyReport
	report.fill([]*turnFigures{f})
	if report.Requests != 20 || report.Failed != 2 || report.Refused != 2 || report.Errors["53300"] != 2 || !strings.Contains(report.ErrorExamples["53300"], "53300") {
		t.Errorf("%d requests went well, %d were refused, errors %v, such as %v", report.Requests, report.Refused, report.Errors, report.ErrorExamples)
	}
	if report.HitRatio.Median != 0 || report.ConnectionsMade.Median != 20 {
		t.Errorf("hit ratio %v, %v connections made", report.HitRatio, report.ConnectionsMade)
	}
	if err := p.close(t.Context()); err != nil {
		t.Error(err)
	}
}
