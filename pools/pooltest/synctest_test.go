package pooltest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/pooltest"
)

// Hours pass at once in a bubble.
func TestTheFakeInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := pooltest.NewFake(t, func(_ context.Context, q pooltest.Query) (*pooltest.Result, error) {
			return pooltest.Rows("n").Row(len(q.SQL)), nil
		})
		fake.CreateDatabase("shop")
		config, err := pgx.ParseConfig("host=fake user=x dbname=shop sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		config.DialFunc = fake.Dial
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		fake.SetLatency(3 * time.Hour)
		long := "SELECT '" + strings.Repeat("x", 1<<20) + "'"
		var n int
		if err := conn.QueryRow(t.Context(), long).Scan(&n); err != nil || n != len(long) {
			t.Error(n, err)
		}
		if took := time.Since(began); took != 3*time.Hour {
			t.Errorf("it took %v", took)
		}
		// A pipeline of more than the pipe holds, with answers on the way.
		fake.SetLatency(0)
		batch := &pgx.Batch{}
		for range 50 {
			batch.Queue(long[:1<<16])
		}
		if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
			t.Error(err)
		}
		fake.SetLatency(time.Hour)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if _, err := conn.Exec(ctx, "SELECT late"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		_ = conn.Close(t.Context())
	})
}
