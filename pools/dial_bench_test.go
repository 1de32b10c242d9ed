package pools_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools"
)

// BenchmarkSwap compares what it costs to move a slot (our close waits until the
// server has let go, our dial ends with a query) with pgx's own connect and
// close, which do neither. The two take turns; the figures are medians.
func BenchmarkSwap(b *testing.B) {
	m, err := pools.Open(context.Background(), config(20), pools.WithLogger((&logBuffer{}).logger()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = m.Close(context.Background()) }()
	plain, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=test_ws_w0 sslmode=disable",
		server.Host, server.Port, server.User, server.Password))
	if err != nil {
		b.Fatal(err)
	}
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
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2]), what)
	}
}
