package pools_test

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools"
)

// benchConnections is how many connections the goroutines of a benchmark share.
const benchConnections = 10

// BenchmarkAcquireRelease compares what it costs to borrow a connection and give
// it back, with nothing done in between: by the supervisor alone, by the manager
// on a PostgreSQL, with and without a flight recorder, with a part of a shared budget, and
// by pgxpool on the same one. All have benchConnections connections to one database, and
// open them before the clock runs.
//
//	go test ./pools -run '^$' -bench AcquireRelease -count 5
func BenchmarkAcquireRelease(b *testing.B) {
	for _, pool := range []struct {
		name string
		open func(*testing.B) (borrow func() error)
	}{
		{"actor-fake-dialer", openActor},
		{"manager", func(b *testing.B) func() error { return openManager(b) }},
		{"manager-with-dumps", func(b *testing.B) func() error {
			return openManager(b, pools.WithDumps(b.TempDir(), time.Second))
		}},
		{"manager-of-a-shared-budget", func(b *testing.B) func() error {
			return openManager(b, pools.WithSharedBudget("bench"))
		}},
		{"pgxpool", openPgxpool},
	} {
		b.Run(pool.name+"/goroutines=1", func(b *testing.B) {
			borrow := pool.open(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := borrow(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(pool.name+"/goroutines=64", func(b *testing.B) {
			borrow := pool.open(b)
			b.ReportAllocs()
			b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := borrow(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// fill makes the pool open all its connections.
func fill(b *testing.B, acquire func() (release func(), err error)) {
	b.Helper()
	for range benchConnections {
		release, err := acquire()
		if err != nil {
			b.Fatal(err)
		}
		defer release()
	}
}

// parked is a connection that costs nothing, and its dialer.
type parked struct{}

func (parked) Close(model.CloseReason) {}

func (parked) Dial(context.Context, model.WorkspaceID) (actor.Conn, error) { return parked{}, nil }

func openActor(b *testing.B) func() error {
	limits := benchConfig().WorkspaceLimits()
	limits.Budget = benchConnections
	s := actor.Start(actor.Share{Limits: limits, Dialer: parked{}})
	b.Cleanup(func() {
		if err := s.Drain(context.Background()); err != nil {
			b.Error(err)
		}
	})
	wait := actor.Wait{AtMost: benchConfig().AcquireTimeout}
	fill(b, func() (func(), error) {
		lease, err := s.Acquire(context.Background(), 0, "w0", wait)
		return func() { lease.Release(core.Clean) }, err
	})
	return func() error {
		lease, err := s.Acquire(context.Background(), 0, "w0", wait)
		if err == nil {
			lease.Release(core.Clean)
		}
		return err
	}
}

func openManager(b *testing.B, opts ...pools.Option) func() error {
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	m, err := pools.Open(b.Context(), benchConfig(), append(opts, pools.WithLogger(log))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
		defer stop()
		if err := m.Close(ctx); err != nil {
			b.Error(err)
		}
	})
	fill(b, func() (func(), error) {
		conn, err := m.Acquire(context.Background(), "w0")
		return conn.Release, err
	})
	return func() error {
		conn, err := m.Acquire(context.Background(), "w0")
		if err == nil {
			conn.Release()
		}
		return err
	}
}

// benchConfig allows one workspace benchConnections connections.
func benchConfig() model.Config {
	cfg := config(40)
	cfg.MaxConnectionsPerDB = benchConnections
	cfg.AcquireTimeout = time.Minute
	return cfg
}

func openPgxpool(b *testing.B) func() error {
	cfg, err := pgxpool.ParseConfig("")
	if err != nil {
		b.Fatal(err)
	}
	conn := cfg.ConnConfig
	conn.Host, conn.Port = server.Host, uint16(server.Port)
	conn.User, conn.Password = server.User, server.Password
	conn.Database = databaseNames(1)[0]
	conn.TLSConfig, conn.Fallbacks = nil, nil // the server has no certificate
	cfg.MaxConns = benchConnections
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	fill(b, func() (func(), error) {
		conn, err := pool.Acquire(context.Background())
		return conn.Release, err
	})
	return func() error {
		conn, err := pool.Acquire(context.Background())
		if err == nil {
			conn.Release()
		}
		return err
	}
}
