package pools_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// BenchmarkStatementCache says what pgx's ways to run a statement cost: a program has 700
// statements over 40 tables, and a workspace's connection gets to see them all.
//
//	go test ./pools -run '^$' -bench StatementCache -benchtime 3000x
//
// ns/op is of one statement again and again. Beside it: µs and round trips of a statement
// that is drawn by popularity (zipf 1.2 over 700), and of each of 20 that a new connection
// runs first, and what the server process has allocated after all that.
func BenchmarkStatementCache(b *testing.B) {
	for _, parameters := range []string{
		"", // tenantpool's default
		"default_query_exec_mode=cache_statement statement_cache_capacity=512",
		"default_query_exec_mode=cache_statement statement_cache_capacity=128",
		"default_query_exec_mode=cache_statement statement_cache_capacity=64",
		"default_query_exec_mode=cache_statement statement_cache_capacity=32",
		"default_query_exec_mode=cache_describe",
		"default_query_exec_mode=exec",
	} {
		name := strings.NewReplacer("default_query_exec_mode=", "", " statement_cache_capacity=", "/").Replace(parameters)
		if name == "" {
			name = "default"
		}
		b.Run(name, func(b *testing.B) { benchStatementCache(b, parameters) })
	}
}

func benchStatementCache(b *testing.B, parameters string) {
	cfg, err := pools.ParseConfig(server.SuperuserDSN()) // who may look at a process's memory
	if err != nil {
		b.Fatal(err)
	}
	cfg.Prefix, cfg.MaxConnectionsPerDB, cfg.Parameters = "test", 1, parameters
	cfg.AcquireTimeout, cfg.DialTimeout = patience, patience
	var trips int
	m, err := pools.Open(b.Context(), cfg, pools.WithLogger(slog.New(slog.NewJSONHandler(io.Discard, nil))), pools.WithHooks(pools.Hooks{
		BeforeConnect: func(_ context.Context, id model.WorkspaceID, config *pgx.ConnConfig) error {
			dial := config.DialFunc
			config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				if err != nil || id == "" {
					return conn, err
				}
				return countTrips{conn, &trips}, nil
			}
			return nil
		},
	}))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = m.Close(context.Background()) }()
	w := m.Workspace("w9")
	makeTables(b, w)
	statement := func(i int) {
		var n int64
		if err := w.QueryRow(b.Context(), statementOf(i), i).Scan(&n); err != nil {
			b.Fatal(err)
		}
	}
	measure := func(times int, what func(i int)) (micros, tripsEach float64) {
		before, began := trips, time.Now()
		for i := range times {
			what(i)
		}
		return float64(time.Since(began).Microseconds()) / float64(times), float64(trips-before) / float64(times)
	}
	const again = 3
	var newMicros, newTrips float64
	for range again {
		if _, err := m.Evict(b.Context(), "w9"); err != nil {
			b.Fatal(err)
		}
		if err := w.Ping(b.Context()); err != nil { // the dial
			b.Fatal(err)
		}
		micros, each := measure(20, statement)
		newMicros, newTrips = newMicros+micros/again, newTrips+each/again
	}
	for i := range 700 * 7 { // from the sixth time on the server may keep a plan
		statement(i / 7)
	}
	random := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 1, 699)
	zipfMicros, zipfTrips := measure(3000, func(int) { statement(int(random.Uint64())) })
	var allocated int64
	if err := w.QueryRow(b.Context(), `SELECT sum(total_bytes)::int8 FROM pg_backend_memory_contexts`, pgx.QueryExecModeExec).Scan(&allocated); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		statement(7)
	}
	b.ReportMetric(zipfMicros, "zipf-µs")
	b.ReportMetric(zipfTrips, "zipf-trips")
	b.ReportMetric(newMicros, "new-µs")
	b.ReportMetric(newTrips, "new-trips")
	b.ReportMetric(float64(allocated)/1e6, "backend-MB")
}

const benchTables = 40

func makeTables(b *testing.B, w *pools.Workspace) {
	for i := range benchTables {
		if _, err := w.Exec(b.Context(), fmt.Sprintf(`CREATE TABLE IF NOT EXISTS cached_%d (id int8 PRIMARY KEY, parent int8, name text, created timestamptz,
			amount numeric, state text, note text, flags int4, owner int8, updated timestamptz)`, i), pgx.QueryExecModeSimpleProtocol); err != nil {
			b.Fatal(err)
		}
	}
}

// statementOf is one of a program's: it joins three tables.
func statementOf(i int) string {
	t := func(n int) int { return (i*7 + n) % benchTables }
	return fmt.Sprintf(`SELECT count(a.name) FROM cached_%d a JOIN cached_%d b ON b.parent = a.id LEFT JOIN cached_%d c ON c.id = b.owner
		WHERE a.id = $1 AND b.state = 'open' AND (c.flags IS NULL OR c.flags <> %d)`, t(0), t(1), t(3), i)
}

// countTrips counts what is sent, each time one packet that is waited for.
type countTrips struct {
	net.Conn
	n *int
}

func (c countTrips) Write(p []byte) (int, error) { *c.n++; return c.Conn.Write(p) }
func (c countTrips) CloseWrite() error           { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }
