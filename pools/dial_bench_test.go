package pools_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools"
)

// openForBenchmark opens a manager that paces no dials.
func openForBenchmark(b *testing.B) *pools.Manager {
	b.Helper()
	cfg := config(40)
	cfg.MaxDialing = 16
	m, err := pools.Open(context.Background(), cfg, pools.WithLogger((&logBuffer{}).logger()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

// plainPgx is how pgx alone connects to the workspace.
func plainPgx(b *testing.B, workspace int) *pgx.ConnConfig {
	b.Helper()
	plain, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=test_ws_w%d sslmode=disable",
		server.Host, server.Port, server.User, server.Password, workspace))
	if err != nil {
		b.Fatal(err)
	}
	return plain
}

// BenchmarkSwap compares what it costs to move a slot (our close waits until the
// server has let go, our dial ends with a query) with pgx's own connect and
// close, which do neither. The two take turns; the figures are medians.
func BenchmarkSwap(b *testing.B) {
	m, plain := openForBenchmark(b), plainPgx(b, 0)
	ctx := context.Background()
	took := map[string][]time.Duration{}
	measure := func(what string, f func() error) {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took[what] = append(took[what], time.Since(began))
	}
	for b.Loop() {
		measure("our-dial-ns", func() error {
			conn, err := m.Acquire(ctx, "w0")
			if err == nil {
				conn.Release()
			}
			return err
		})
		measure("our-close-ns", func() error { return second(m.Evict(ctx, "w0")) })
		var conn *pgx.Conn
		measure("pgx-connect-ns", func() (err error) {
			conn, err = pgx.ConnectConfig(ctx, plain)
			return err
		})
		measure("pgx-select1-ns", func() error {
			return second(conn.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol))
		})
		measure("pgx-close-ns", func() error { return conn.Close(ctx) })
	}
	for what, times := range took {
		b.ReportMetric(float64(median(times)), what)
	}
}

// BenchmarkDials is how many connections a second can be opened, tested and
// closed, by so many at once: ours, and pgx's for comparison. One operation is a
// turn of 100 dials for each; the figures are medians over the turns, the ratio
// that of two turns in a row.
func BenchmarkDials(b *testing.B) {
	const turn = 100
	for _, atOnce := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("at-once=%d", atOnce), func(b *testing.B) {
			m := openForBenchmark(b)
			ctx := context.Background()
			dials := func(dial func(worker int) error) (perSecond float64) {
				began := time.Now()
				var wg sync.WaitGroup
				for worker := range atOnce {
					wg.Go(func() {
						for range turn / atOnce {
							if err := dial(worker); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				return float64(turn/atOnce*atOnce) / time.Since(began).Seconds()
			}
			plain := make([]*pgx.ConnConfig, atOnce)
			for worker := range plain {
				plain[worker] = plainPgx(b, worker)
			}
			var ours, theirs, ratio []float64
			for b.Loop() {
				ours = append(ours, dials(func(worker int) error {
					conn, err := m.Acquire(ctx, workspaceID(worker))
					if err != nil {
						return err
					}
					conn.Release()
					return second(m.Evict(ctx, workspaceID(worker)))
				}))
				theirs = append(theirs, dials(func(worker int) error {
					conn, err := pgx.ConnectConfig(ctx, plain[worker])
					if err != nil {
						return err
					}
					if _, err := conn.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
						return err
					}
					return conn.Close(ctx)
				}))
				ratio = append(ratio, ours[len(ours)-1]/theirs[len(theirs)-1])
			}
			b.ReportMetric(median(ours), "our-dials/s")
			b.ReportMetric(median(theirs), "pgx-dials/s")
			b.ReportMetric(median(ratio), "ours/pgx")
		})
	}
}

func median[T int | float64 | time.Duration](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
