package bench

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// newTestContest is on the shared server, ownContest on one that grants the budget and no more.
func newTestContest(t *testing.T, databases int) *contest {
	t.Helper()
	o := small()
	o.DSN = dsnOf(shared.Server(t))
	return startContest(t, o, databases)
}

func ownContest(t *testing.T, databases int) *contest { return startContest(t, small(), databases) }

func startContest(t *testing.T, o Options, databases int) *contest {
	t.Helper()
	openTemp(t)
	con := silent(t)
	r, err := newContest(t.Context(), o, databases, con)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(con); err != nil {
			t.Error(err)
		}
	})
	return r
}

// A pool whose connections lead elsewhere: the stage's databases change places
// after it was opened.
func TestAConnectionToAnotherDatabaseIsNoticed(t *testing.T) {
	s := newTestContest(t, 2)
	for _, how := range []strategy{strategies()[0], strategies()[3]} {
		p, err := how.open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		s.Databases[0], s.Databases[1] = s.Databases[1], s.Databases[0]
		lease, err := p.acquire(t.Context(), 0)
		if err == nil {
			lease.Release()
		}
		if !errors.Is(err, stage.ErrWrongWorkspace) || stage.KindOf(err) != stage.WrongWorkspace {
			t.Errorf("%s: %v", how.name, err)
		}
		s.Databases[0], s.Databases[1] = s.Databases[1], s.Databases[0]
		if err := p.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The server's own count of the sessions is the judge. It adds up when they have
// ended.
func TestEachStrategyCountsTheConnectionsThatItMakes(t *testing.T) {
	s := newTestContest(t, 8)
	conn, err := pgx.Connect(t.Context(), s.Observer)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	sessions := func() (n uint64) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT sum(sessions) FROM pg_stat_database WHERE datname = ANY($1)", s.Databases).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, how := range strategies() {
		t.Run(how.name, func(t *testing.T) {
			needProgramOf(t, how.name)
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
				if _, err := lease.Exec(t.Context(), "select 1"); err != nil {
					t.Error(err)
				}
				lease.Release()
			}
			made := p.made()
			if err := p.close(t.Context()); err != nil {
				t.Error(err)
			}
			var open int
			for open = -1; open != 0; { // bounded by the test's own deadline
				if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY($1)", s.Databases).Scan(&open); err != nil {
					t.Fatal(err)
				}
			}
			if counted := sessions() - before; made == 0 || made != counted {
				t.Errorf("it made %d connections, the server counted %d", made, counted)
			}
		})
	}
}

func TestAPoolerWithoutItsProgramHasNoTurn(t *testing.T) {
	s := newTestContest(t, 2)
	s.Options.Workspaces = 2
	s.Strategies = []string{ours, pgBouncer, pgpoolII}
	bouncer, pgpool := pgBouncerProgram.paths, pgpoolProgram.paths
	defer func() { pgBouncerProgram.paths, pgpoolProgram.paths = bouncer, pgpool }()
	pgBouncerProgram.paths, pgpoolProgram.paths = []string{"/nowhere/pgbouncer"}, nil
	m, err := s.measure(t.Context(), Workload{Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.skipped[pgBouncer]; got != "PgBouncer is not installed: apt-get install pgbouncer, or the like" {
		t.Errorf("%q", got)
	}
	if got := m.skipped[pgpoolII]; got != "pgpool-II is not installed: apt-get install pgpool2, or the like" {
		t.Errorf("%q", got)
	}
	if len(m.turns[ours]) != 1 {
		t.Error("the others did not go on")
	}
}

func TestPgpoolKeepsConnectionsWithinTheBudget(t *testing.T) {
	needProgramOf(t, pgpoolII)
	s := ownContest(t, 24)
	watch, _, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	p, err := openPgpool(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		workspace := i % 3
		if i >= 100 {
			workspace = i % 24 // more than it can keep
		}
		lease, err := p.acquire(t.Context(), workspace)
		if err != nil {
			t.Fatal(err)
		}
		lease.Release()
	}
	if p.made() > 150 {
		t.Errorf("%d connections for 200 sessions: those of the first 100 were not kept", p.made())
	}
	// It opens a connection before the server has let go of the one that it replaces.
	if err := stage.UntilGone(t.Context(), watch, s.workspaceBudget()); err != nil {
		t.Error(err)
	}
	if n, err := watch.Count(t.Context()); err != nil || n == 0 {
		t.Errorf("%d connections are kept, %v", n, err)
	}
	if err := p.close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stage.UntilGone(t.Context(), watch, 0); err != nil {
		t.Error(err)
	}
}

// Each of 22 pools keeps a connection, and the server has 20.
func TestPoolsThatKnowNothingOfEachOtherAreRefusedAndCounted(t *testing.T) {
	s := ownContest(t, 22)
	observer, err := pgx.Connect(t.Context(), s.Observer) // it has its place, as in a turn
	if err != nil {
		t.Fatal(err)
	}
	defer observer.Close(context.Background())
	p, err := openPgxpools(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	recorder := NewRecorder(1)
	one := &worker{pool: p, trace: recorder.Worker(0), query: "select 1", Failures: stage.NewFailures()}
	for workspace := range 22 {
		if _, err := one.request(t.Context(), workspace); err != nil {
			one.Note(stage.KindOf(err), err)
		} else {
			one.ok++
		}
	}
	f := s.figures([]driven{{workers: []*worker{one}}}, recorder.Events(), p.made())
	var report StrategyReport
	report.fill([]*turn{f})
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
