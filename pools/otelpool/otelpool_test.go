package otelpool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/localpg"
	"github.com/tenantpool/tenantpool/pools/otelpool"
)

var server *localpg.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if server, err = localpg.Start(context.Background(), localpg.Options{MaxConnections: 40, InMemory: true}); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need a PostgreSQL:", err)
		return 1
	}
	defer server.Stop()
	return m.Run()
}

// patience bounds every wait; the machine may be busy.
const patience = time.Minute

func config() model.Config {
	cfg := model.DefaultConfig()
	cfg.Host, cfg.Port, cfg.User, cfg.Password = server.Host, server.Port, server.User, server.Password
	cfg.SSLMode, cfg.SystemDatabase, cfg.MaxConnections, cfg.MaxConnectionsPerDB = "disable", server.Database, 20, 1
	cfg.AcquireTimeout, cfg.DialTimeout = patience, patience
	return cfg
}

// rig is a manager whose workspaces are all one database.
type rig struct {
	*pools.Manager
	t       *testing.T
	spans   *tracetest.InMemoryExporter
	tracers *sdktrace.TracerProvider
	reader  *sdkmetric.ManualReader
}

func open(t *testing.T, hooks pools.Hooks) *rig {
	t.Helper()
	r := &rig{t: t, spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	r.tracers = sdktrace.NewTracerProvider(sdktrace.WithSyncer(r.spans))
	tracer, err := otelpool.New(
		otelpool.WithTracerProvider(r.tracers),
		otelpool.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))),
		otelpool.WithPoolName("shop"),
		otelpool.WithWorkspaceAttributes(func(id model.WorkspaceID) []attribute.KeyValue {
			plan, _, _ := strings.Cut(string(id), "-")
			return []attribute.KeyValue{attribute.String("plan", plan)}
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	one := func(model.WorkspaceID) (string, error) { return server.Database + "_tenant", nil }
	r.Manager, err = pools.Open(t.Context(), config(), pools.WithLogger(nil), pools.WithTracer(tracer), pools.WithNaming(one), pools.WithHooks(hooks))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CreateWorkspace(t.Context(), "any"); err != nil && !errors.Is(err, model.ErrWorkspaceExists) {
		t.Fatal(err)
	}
	registration, err := tracer.Observe(r.Manager)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		r.metrics() // of a manager that is closed
		if err := registration.Unregister(); err != nil {
			t.Error(err)
		}
	})
	r.spans.Reset()
	return r
}

// called returns the spans of that name, when there are n.
func (r *rig) called(name string, n int) (found []tracetest.SpanStub) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("there are %d spans %s", n, name), func() bool {
		found = slices.DeleteFunc(r.spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != name })
		return len(found) == n
	})
	return found
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not so: %s", what)
		}
	}
}

func has(s tracetest.SpanStub, want ...string) bool {
	var all []string
	for _, a := range s.Attributes {
		all = append(all, string(a.Key)+"="+a.Value.String())
	}
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(all, w) })
}

// metrics are all points, as "name attributes", and their values or how many were
// measured.
func (r *rig) metrics() map[string]int64 {
	r.t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		r.t.Fatal(err)
	}
	points := map[string]int64{}
	add := func(name string, attributes attribute.Set, n int64) {
		points[name+" "+attributes.Encoded(attribute.DefaultEncoder())] = n
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				if m.Unit != "s" {
					r.t.Errorf("%s is in %s", m.Name, m.Unit)
				}
				for _, p := range data.DataPoints {
					add(m.Name, p.Attributes, int64(p.Count))
				}
			default:
				r.t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return points
}

func TestSpansOfAcquireAndQueryAreChildrenOfTheCallers(t *testing.T) {
	var parents []trace.SpanContext
	r := open(t, pools.Hooks{BeforeConnect: func(_ context.Context, id model.WorkspaceID, c *pgx.ConnConfig) error {
		if id != "" {
			c.Tracer = &queryTracer{seen: &parents}
		}
		return nil
	}})
	ctx, caller := r.tracers.Tracer("test").Start(t.Context(), "request")
	var n int
	if err := r.Workspace("gold-1").QueryRow(ctx, "SELECT 1").Scan(&n); err != nil {
		t.Fatal(err)
	}
	caller.End()
	acquire, dial := r.called("tenantpool.acquire", 1)[0], r.called("tenantpool.dial", 1)[0]
	if acquire.Parent.SpanID() != caller.SpanContext().SpanID() || !has(acquire, "tenantpool.workspace=gold-1", "db.client.connection.pool.name=shop") {
		t.Errorf("acquire: %+v", acquire)
	}
	if dial.Parent.IsValid() || dial.SpanKind != trace.SpanKindClient || !has(dial, "tenantpool.workspace=gold-1", "tenantpool.attempt=1", "db.system.name=postgresql") {
		t.Errorf("dial: %+v", dial)
	}
	if len(parents) == 0 || parents[len(parents)-1].SpanID() != caller.SpanContext().SpanID() {
		t.Errorf("the query's parents: %v", parents)
	}
}

// queryTracer notes whose span a query's is to be a child of.
type queryTracer struct{ seen *[]trace.SpanContext }

func (q *queryTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	*q.seen = append(*q.seen, trace.SpanContextFromContext(ctx))
	return ctx
}

func (*queryTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestMetricsAreTheConventions(t *testing.T) {
	r := open(t, pools.Hooks{})
	conn, err := r.Acquire(t.Context(), "gold-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Workspace("free-1").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if _, err := r.Acquire(short, "gold-1"); err == nil { // whose cap is 1
		t.Fatal("a second connection")
	}
	failed := r.called("tenantpool.acquire", 3)[2]
	if failed.Status.Code != codes.Error || failed.Status.Description == "" {
		t.Errorf("%+v", failed.Status)
	}
	got := r.metrics()
	for name, want := range map[string]int64{
		"db.client.connection.count db.client.connection.pool.name=shop,db.client.connection.state=used": 1,
		"db.client.connection.count db.client.connection.pool.name=shop,db.client.connection.state=idle": 1,
		"db.client.connection.max db.client.connection.pool.name=shop":                                   15,
		"db.client.connection.max db.client.connection.pool.name=shop.system":                            5,
		"db.client.connection.pending_requests db.client.connection.pool.name=shop":                      0,
		"db.client.connection.timeouts db.client.connection.pool.name=shop,plan=gold":                    1,
		"db.client.connection.wait_time db.client.connection.pool.name=shop,plan=gold":                   1,
		"db.client.connection.wait_time db.client.connection.pool.name=shop,plan=free":                   1,
		"db.client.connection.create_time db.client.connection.pool.name=shop,plan=gold":                 1,
		"db.client.connection.use_time db.client.connection.pool.name=shop,plan=free":                    1,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %d (%t), want %d", name, n, ok, want)
		}
	}
	conn.Release()
	if n, err := r.Evict(t.Context(), "free-1"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if e := r.called("tenantpool.evict", 1)[0]; !has(e, "tenantpool.workspace=free-1", "tenantpool.reason=evict_asked") {
		t.Errorf("%+v", e)
	}
	evicted := "tenantpool.evictions db.client.connection.pool.name=shop,tenantpool.reason=evict_asked"
	eventually(t, "the eviction is counted", func() bool { return r.metrics()[evicted] == 1 })
}
