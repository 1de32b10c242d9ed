package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/pools/localpg"
)

const shortTurn = 150 * time.Millisecond

// servingTurn is long enough for every strategy to serve requests: their first ones
// wait for dials, of which this measures one.
func servingTurn(t *testing.T) time.Duration {
	t.Helper()
	dsn := dsnOf(shared.Server(t))
	began := time.Now()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return max(shortTurn, 20*took)
}

func strategyOf(t *testing.T, w Report, name string) StrategyReport {
	t.Helper()
	i := slices.IndexFunc(w.Strategies, func(s StrategyReport) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("the report lacks %s", name)
	}
	return w.Strategies[i]
}

// 12 workspaces with up to 3 connections share 15, or 20 where the strategy may
// have all: only the server holds back what has no bound of its own.
func TestEachStrategyServesRequestsOnARealServer(t *testing.T) {
	temp := openTemp(t)
	o := small()
	o.For = servingTurn(t)
	o.Workloads = named("uniform", "noisy")
	result, err := Run(t.Context(), o, silent(t))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := result.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	for _, w := range result.Workloads {
		if w.Workspaces != 12 || w.DialsPerSecond.Median <= 0 {
			t.Errorf("%s: %d workspaces, %v dials/s", w.Workload, w.Workspaces, w.DialsPerSecond)
		}
		for _, s := range w.Strategies {
			t.Run(w.Workload+" "+s.Name, func(t *testing.T) {
				needProgramOf(t, s.Name)
				judgeOnARealServer(t, w.Workload, s, o.Budget)
			})
		}
	}
	uniform := result.Workloads[0]
	own := strategyOf(t, uniform, "tenantpool")
	if own.RequestsPerSecond.Median <= 0 || own.P50Ms.Median <= 0 || own.AcquireP50Ms.Median > own.P50Ms.Median {
		t.Errorf("tenantpool: %+v/s, p50 %v, of which the acquire %v", own.RequestsPerSecond, own.P50Ms, own.AcquireP50Ms)
	}
	if own.BeladyHitRatio.Median < own.LRUHitRatio.Median { // its trace keeps to the limits
		t.Errorf("tenantpool: LRU %v, Belady %v", own.LRUHitRatio, own.BeladyHitRatio)
	}
	if own.Failed != 0 || own.PeakBackends > result.WorkspaceBudget+5 {
		t.Errorf("tenantpool: %d failed, %d connections at once", own.Failed, own.PeakBackends)
	}
	if connect := strategyOf(t, uniform, "connect"); connect.HitRatio.Median != 0 || connect.ConnectionsMade.Median < float64(connect.Requests) {
		t.Errorf("a connection per request: hit ratio %v, %v connections for %d requests", connect.HitRatio, connect.ConnectionsMade, connect.Requests)
	}
	if files, _ := os.ReadDir(temp); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

// judgeOnARealServer checks what holds for every strategy, however busy the machine is.
func judgeOnARealServer(t *testing.T, workload string, s StrategyReport, budget int) {
	if s.Skipped != "" {
		t.Fatalf("it had no turn: %s", s.Skipped)
	}
	// On a busy machine no request may end in the measured part.
	if s.Requests == 0 || s.P99Ms.Median < s.P50Ms.Median || s.P999Ms.Median < s.P99Ms.Median {
		t.Errorf("%d requests, %+v/s, p50 %v, p99 %v, p99.9 %v", s.Requests, s.RequestsPerSecond, s.P50Ms, s.P99Ms, s.P999Ms)
	}
	if s.WrongAnswers != 0 {
		t.Errorf("%d wrong answers", s.WrongAnswers)
	}
	if s.PeakBackends == 0 || s.PeakBackends > budget {
		t.Errorf("%d connections at once on a server that grants %d", s.PeakBackends, budget)
	}
	for _, ratio := range []float64{s.HitRatio.Median, s.LRUHitRatio.Median, s.BeladyHitRatio.Median} {
		if ratio < 0 || ratio > 1 {
			t.Errorf("hit ratio %v, LRU %v, Belady %v", s.HitRatio, s.LRUHitRatio, s.BeladyHitRatio)
		}
	}
	if (s.LimitShare != nil) != (workload == "uniform" && s.Failed == 0) || (s.Quiet != nil) != (workload == "noisy") {
		t.Errorf("share of the limit %v, quiet %v", s.LimitShare, s.Quiet)
	}
}

// The server here stands for a user's.
func TestAUsersServerGetsDatabasesThatAreDroppedAgain(t *testing.T) {
	server := shared.Server(t) // before TMPDIR is this test's
	openTemp(t)
	const theirs = "tenantpool_bench_of_somebody_else"
	if err := server.CreateDatabases(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, server.SuperuserDSN())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "DROP DATABASE "+theirs); err != nil {
			t.Error(err)
		}
	}()
	before := databasesOf(t, server)
	o := small()
	o.Workloads, o.Strategies = named("zipf"), []string{"tenantpool", "pgbouncer", "pgpool"}
	o.DSN = dsnOf(server)
	during := 0
	term := stage.StartConsole(onLine(func() { during = max(during, len(databasesOf(t, server))) })) // the last line may come when one is dropped already
	result, err := Run(t.Context(), o, term)
	term.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range result.Workloads[0].Strategies {
		t.Run(s.Name, func(t *testing.T) {
			needProgramOf(t, s.Name)
			if s.Skipped != "" || s.Requests == 0 || s.WrongAnswers != 0 {
				t.Errorf("%d requests, %d wrong answers, %s", s.Requests, s.WrongAnswers, s.Skipped)
			}
		})
	}
	if during != len(before)+12 {
		t.Errorf("%d databases in the middle of the run, %d before", during, len(before))
	}
	if after := databasesOf(t, server); !slices.Equal(after, before) {
		t.Errorf("databases before: %q, after: %q", before, after)
	}

	o.Budget = 28
	if _, err := Run(t.Context(), o, silent(t)); err == nil || !strings.Contains(err.Error(), "grants 27 connections") || strings.Contains(err.Error(), server.Password) {
		t.Errorf("a budget that the server has no room for: %v", err)
	}
}

// onLine is called for each line that is printed.
type onLine func()

func (f onLine) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func databasesOf(t *testing.T, server *localpg.Server) (names []string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAnInterruptEndsTheRunAndLeavesNothing(t *testing.T) {
	needProgramOf(t, "pgbouncer")
	temp := openTemp(t)
	o := small()
	o.Workloads, o.Strategies = named("zipf"), []string{"pgbouncer"}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go func() { // when PgBouncer has its files
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(temp, "tenantpool-pgbouncer-*", "users")); len(found) > 0 {
				interrupt()
			}
			stage.Pause(ctx, time.Millisecond)
		}
	}()
	if _, err := Run(ctx, o, silent(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if files, _ := os.ReadDir(temp); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}
