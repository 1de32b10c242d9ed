package work

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/pools"
)

// A migration of all workspaces in the manager that serves them: all are migrated, no
// request fails, nobody is refused. What it costs those who wait is measured in turns, with
// it and without, and logged: in the long form with 500 workspaces on a budget of 40.
func TestAMigrationBesideTraffic(t *testing.T) {
	workspaces, rounds := 40, 1
	if os.Getenv("TENANTPOOL_TEST_LONG") == "1" {
		workspaces, rounds = 500, 3
	}
	const workers = 8
	con := stage.StartConsole(os.Stderr)
	defer con.Stop()
	s, err := stage.Set(t.Context(), stage.Options{Workspaces: workspaces, Budget: 40, Workers: workers, Tables: stage.Shop}, con)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(con); err != nil {
			t.Error(err)
		}
	}()
	m, err := pools.Open(t.Context(), s.Config, pools.WithLogger(con.Logger()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	// turn is traffic while f runs.
	turn := func(f func(context.Context)) stage.Tally {
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			defer stop()
			f(ctx)
		}()
		tally := stage.NewTraffic(m, s, 1.2).Run(ctx, workers)
		if tally.Failed() != 0 || tally.OK == 0 {
			t.Errorf("%d of %d requests failed: %v", tally.Failed(), tally.Requests, tally.Failures)
		}
		return tally
	}
	turn(func(ctx context.Context) { stage.Pause(ctx, time.Second) }) // the first connections are dialed
	var with, without, acquireWith, acquireWithout []float64
	for round := range rounds {
		var took time.Duration
		tally := turn(func(ctx context.Context) {
			began := time.Now()
			summary, err := Run(ctx, m, Options{
				Workspaces: s.Workspaces, Timeout: patience,
				Task: Transaction{fmt.Sprintf("ALTER TABLE orders ADD COLUMN note_%d text", round)},
				Done: func(r Result) {
					if r.State != Done {
						t.Errorf("%+v", r)
					}
				},
			})
			if took = time.Since(began); err != nil || !summary.All() {
				t.Errorf("%v: %+v", err, summary)
			}
		})
		with, acquireWith = append(with, tally.Request.Milliseconds(99)), append(acquireWith, tally.Acquire.Milliseconds(99))
		alone := turn(func(ctx context.Context) { stage.Pause(ctx, took) })
		without, acquireWithout = append(without, alone.Request.Milliseconds(99)), append(acquireWithout, alone.Acquire.Milliseconds(99))
		t.Logf("round %d, %.1f s: with the migration %d requests, p99 %.1f ms (acquire %.1f, at most %.1f); without %d, p99 %.1f ms (acquire %.1f, at most %.1f)",
			round, took.Seconds(), tally.Requests, tally.Request.Milliseconds(99), tally.Acquire.Milliseconds(99), tally.Acquire.Milliseconds(100),
			alone.Requests, alone.Request.Milliseconds(99), alone.Acquire.Milliseconds(99), alone.Acquire.Milliseconds(100))
	}
	t.Logf("medians of p99: %.1f ms with the migration, %.1f without: %.2f times as long (acquires: %.1f and %.1f)",
		median(with), median(without), median(with)/median(without), median(acquireWith), median(acquireWithout))
	for i, id := range s.Workspaces {
		columns := 0
		const ask = `SELECT count(*) FROM information_schema.columns WHERE table_name = 'orders' AND column_name LIKE 'note%'`
		if err := m.Workspace(id).QueryRow(t.Context(), ask).Scan(&columns); err != nil || columns != rounds {
			t.Errorf("%s (%s) has %d of %d columns: %v", id, s.Databases[i], columns, rounds, err)
		}
	}
	if n := s.Refusals(); n != 0 {
		t.Errorf("the server refused %d connections", n)
	}
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
