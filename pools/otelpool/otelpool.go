// Package otelpool has OpenTelemetry see what a pools.Manager does: a span for each
// acquire, dial and eviction, and the metrics db.client.connection.* of the semantic
// conventions. It is a module of its own, so that who imports pools alone compiles none
// of it. Spans for queries are the affair of pgx's tracers, which a BeforeConnect hook
// sets.
package otelpool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

const scope = "github.com/tenantpool/tenantpool/pools/otelpool"

// What the conventions have no name for.
const (
	workspaceKey    = attribute.Key("tenantpool.workspace")
	forWorkspaceKey = attribute.Key("tenantpool.for_workspace")
	reasonKey       = attribute.Key("tenantpool.reason")
	attemptKey      = attribute.Key("tenantpool.attempt")
	waitedKey       = attribute.Key("tenantpool.waited_seconds")
	idleForKey      = attribute.Key("tenantpool.idle_for_seconds")
)

// Option changes what New makes.
type Option func(*options)

type options struct {
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	name      string
	workspace func(model.WorkspaceID) []attribute.KeyValue
}

// WithTracerProvider sets who makes the spans, in place of the global provider.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(o *options) { o.tracers = p }
}

// WithMeterProvider sets who makes the metrics, in place of the global provider.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(o *options) { o.meters = p }
}

// WithPoolName sets the attribute db.client.connection.pool.name, in place of
// "tenantpool". The system database's share has the name with ".system" behind it.
func WithPoolName(name string) Option {
	return func(o *options) { o.name = name }
}

// WithWorkspaceAttributes adds attributes to the times and the time-outs that are
// measured. Without it no metric knows of workspaces: each set of attributes that there
// ever was costs memory for as long as the process lives, so a function of the id that
// has few results, as the workspace's plan or region, is better than the id. It is
// called for each acquire, release and dial of a workspace.
func WithWorkspaceAttributes(of func(model.WorkspaceID) []attribute.KeyValue) Option {
	return func(o *options) { o.workspace = of }
}

// Tracer is what [pools.WithTracer] takes. Its methods may be called from any goroutine.
type Tracer struct {
	options
	spans trace.Tracer
	meter metric.Meter

	waits, uses, creates metric.Float64Histogram
	timeouts             metric.Int64Counter
	evictions            metric.Int64Counter
}

var _ interface {
	pools.AcquireTracer
	pools.ReleaseTracer
	pools.DialTracer
	pools.EvictTracer
} = (*Tracer)(nil)

// New returns a Tracer. Its error is the meter's, about an instrument.
func New(opts ...Option) (*Tracer, error) {
	t := &Tracer{options: options{tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider(), name: "tenantpool"}}
	for _, opt := range opts {
		opt(&t.options)
	}
	t.spans = t.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	t.meter = t.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	waits, err1 := dbconv.NewClientConnectionWaitTime(t.meter, seconds)
	uses, err2 := dbconv.NewClientConnectionUseTime(t.meter, seconds)
	creates, err3 := dbconv.NewClientConnectionCreateTime(t.meter, seconds)
	timeouts, err4 := dbconv.NewClientConnectionTimeouts(t.meter)
	evictions, err5 := t.meter.Int64Counter("tenantpool.evictions", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections closed for another workspace's sake, or because somebody asked for it."))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, fmt.Errorf("otelpool: %w", err)
	}
	t.waits, t.uses, t.creates, t.timeouts, t.evictions = waits.Inst(), uses.Inst(), creates.Inst(), timeouts.Inst(), evictions
	return t, nil
}

// seconds are bounds for what takes from microseconds to seconds; OpenTelemetry's own are
// for milliseconds.
var seconds = metric.WithExplicitBucketBoundaries(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

// pool is the name of the workspace's pool; "" is the system database.
func (t *Tracer) pool(id model.WorkspaceID) attribute.KeyValue {
	if id == "" {
		return semconv.DBClientConnectionPoolName(t.name + ".system")
	}
	return semconv.DBClientConnectionPoolName(t.name)
}

// measured are the attributes of what is measured about the workspace.
func (t *Tracer) measured(id model.WorkspaceID) metric.MeasurementOption {
	attributes := []attribute.KeyValue{t.pool(id)}
	if t.workspace != nil && id != "" {
		attributes = append(attributes, t.workspace(id)...)
	}
	return metric.WithAttributes(attributes...)
}

// about are the attributes of a span, of which each workspace may have its own.
func (t *Tracer) about(id model.WorkspaceID, more ...attribute.KeyValue) trace.SpanStartEventOption {
	attributes := append([]attribute.KeyValue{semconv.DBSystemNamePostgreSQL, t.pool(id)}, more...)
	if id != "" {
		attributes = append(attributes, workspaceKey.String(string(id)))
	}
	return trace.WithAttributes(attributes...)
}

// began is the key of when an acquire began, in its context.
type began struct{}

// TraceAcquireStart begins the acquire's span, a child of the caller's.
func (t *Tracer) TraceAcquireStart(ctx context.Context, data pools.TraceAcquireStartData) context.Context {
	ctx, _ = t.spans.Start(ctx, "tenantpool.acquire", t.about(data.Workspace))
	return context.WithValue(ctx, began{}, time.Now())
}

// TraceAcquireEnd ends it.
func (t *Tracer) TraceAcquireEnd(ctx context.Context, data pools.TraceAcquireEndData) {
	span := trace.SpanFromContext(ctx)
	span.SetAttributes(waitedKey.Float64(data.Waited.Seconds()))
	end(span, data.Err)
	switch {
	case data.Err == nil:
		if at, ok := ctx.Value(began{}).(time.Time); ok {
			t.waits.Record(ctx, time.Since(at).Seconds(), t.measured(data.Workspace))
		}
	case errors.Is(data.Err, model.ErrAcquireTimeout), errors.Is(data.Err, context.DeadlineExceeded):
		t.timeouts.Add(ctx, 1, t.measured(data.Workspace))
	}
}

// TraceRelease measures how long the connection was lent.
func (t *Tracer) TraceRelease(data pools.TraceReleaseData) {
	t.uses.Record(context.Background(), data.Held.Seconds(), t.measured(data.Workspace))
}

// TraceDialStart begins the dial's span, which has no parent: a dial is for whoever
// waits when it ends.
func (t *Tracer) TraceDialStart(ctx context.Context, data pools.TraceDialStartData) context.Context {
	ctx, _ = t.spans.Start(ctx, "tenantpool.dial", trace.WithSpanKind(trace.SpanKindClient),
		t.about(data.Workspace, attemptKey.Int(data.Attempt)))
	return ctx
}

// TraceDialEnd ends it.
func (t *Tracer) TraceDialEnd(ctx context.Context, data pools.TraceDialEndData) {
	end(trace.SpanFromContext(ctx), data.Err)
	if data.Err == nil {
		t.creates.Record(ctx, data.Took.Seconds(), t.measured(data.Workspace))
	}
}

// TraceEvict is a span without a length, and a counter.
func (t *Tracer) TraceEvict(data pools.TraceEvictData) {
	more := []attribute.KeyValue{reasonKey.String(data.Reason.String()), idleForKey.Float64(data.IdleFor.Seconds())}
	if data.For != "" {
		more = append(more, forWorkspaceKey.String(string(data.For)))
	}
	ctx, span := t.spans.Start(context.Background(), "tenantpool.evict", trace.WithTimestamp(data.At), t.about(data.Workspace, more...))
	span.End(trace.WithTimestamp(data.At))
	t.evictions.Add(ctx, 1, metric.WithAttributes(t.pool(data.Workspace), reasonKey.String(data.Reason.String())))
}

func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Observe adds what the manager's Stats say to each collection of the metrics: how many
// connections there are, may be and are waited for. There is no bound of idle
// connections of its own, and so neither idle.max nor idle.min. The caller ends it with
// the Registration, before or after the manager's Close: one that is closed gives no
// numbers. The error is the meter's.
func (t *Tracer) Observe(manager *pools.Manager) (metric.Registration, error) {
	counts, err1 := dbconv.NewClientConnectionCountObservable(t.meter)
	limits, err2 := dbconv.NewClientConnectionMaxObservable(t.meter)
	pending, err3 := dbconv.NewClientConnectionPendingRequestsObservable(t.meter)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("otelpool: %w", err)
	}
	observe := func(ctx context.Context, o metric.Observer) error {
		st, err := manager.Stats(ctx)
		if errors.Is(err, model.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("otelpool: %w", err)
		}
		share := func(b model.BudgetStats, pool attribute.KeyValue) {
			state := func(s dbconv.ClientConnectionStateAttr, n int) {
				o.ObserveInt64(counts.Inst(), int64(n), metric.WithAttributes(pool, semconv.DBClientConnectionStateKey.String(string(s))))
			}
			state(dbconv.ClientConnectionStateIdle, b.Idle)
			state(dbconv.ClientConnectionStateUsed, b.InUse)
			o.ObserveInt64(limits.Inst(), int64(b.Budget), metric.WithAttributes(pool))
			o.ObserveInt64(pending.Inst(), int64(b.Waiting), metric.WithAttributes(pool))
		}
		share(st.Workspaces, semconv.DBClientConnectionPoolName(t.name))
		share(st.System, t.pool(""))
		return nil
	}
	registration, err := t.meter.RegisterCallback(observe, counts.Inst(), limits.Inst(), pending.Inst())
	if err != nil {
		return nil, fmt.Errorf("otelpool: %w", err)
	}
	return registration, nil
}
