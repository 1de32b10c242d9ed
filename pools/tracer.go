package pools

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// AcquireTracer is told of each acquire. Both calls come on the goroutine that acquires.
type AcquireTracer interface {
	// TraceAcquireStart returns the context for the rest of the acquire. It has ctx's
	// deadline, whatever is returned.
	TraceAcquireStart(ctx context.Context, data TraceAcquireStartData) context.Context
	TraceAcquireEnd(ctx context.Context, data TraceAcquireEndData)
}

// TraceAcquireStartData says what is acquired.
type TraceAcquireStartData struct {
	Workspace model.WorkspaceID
}

// TraceAcquireEndData says what became of it: Conn, or Err.
type TraceAcquireEndData struct {
	Workspace model.WorkspaceID
	// Conn is what was lent; it is not the tracer's to use.
	Conn *pgx.Conn
	// Waited is how long the acquire waited for its turn; 0 if Err is not nil.
	Waited time.Duration
	Err    error
}

// ReleaseTracer is told of each release, before another one may get the connection.
type ReleaseTracer interface {
	TraceRelease(data TraceReleaseData)
}

// TraceReleaseData says what is given back.
type TraceReleaseData struct {
	Workspace model.WorkspaceID
	Conn      *pgx.Conn
	// Held is how long it was lent.
	Held time.Duration
}

// DialTracer is told of each dial. Its context is not that of an acquire: a dial is for
// whoever waits when it ends. Both calls come on the dial's goroutine, and the dial's
// slot is taken until the second has returned.
type DialTracer interface {
	// TraceDialStart returns the context in which pgx connects, so that a
	// pgx.ConnectTracer sees its values. It ends when the dial is called off, whatever is
	// returned.
	TraceDialStart(ctx context.Context, data TraceDialStartData) context.Context
	TraceDialEnd(ctx context.Context, data TraceDialEndData)
}

// TraceDialStartData says what is dialed.
type TraceDialStartData struct {
	Workspace model.WorkspaceID
	// Attempt is 1, and one more for each dial of the workspace that has just failed
	// before.
	Attempt int
}

// TraceDialEndData says what became of it.
type TraceDialEndData struct {
	Workspace model.WorkspaceID
	Attempt   int
	Took      time.Duration
	Err       error
}

// EvictTracer is told of each connection that was closed for another workspace's sake,
// or because Evict asked for it. It is told a little later, one after another, on a
// goroutine of its own.
type EvictTracer interface {
	TraceEvict(data TraceEvictData)
}

// TraceEvictData says what was closed, when and why.
type TraceEvictData struct {
	At        time.Time
	Workspace model.WorkspaceID
	Reason    model.CloseReason
	// IdleFor is how long it had been idle, and For whose waiter gets its slot ("": nobody's).
	IdleFor time.Duration
	For     model.WorkspaceID
	// Lost is how many events (see Manager.Events) the tracer was too slow for since the
	// last eviction that it was told of.
	Lost uint64
}

// WithTracer has the tracer told what happens: it implements any of AcquireTracer,
// ReleaseTracer, DialTracer and EvictTracer, or Open fails. The last WithTracer counts.
//
// The Workspace that it is told is "" for the system database; what the manager asks the
// server for itself is not told. The methods are called from many goroutines at once, never
// from the supervisor's. One that is slow delays what it is told of, and nothing else; one
// that panics is logged.
//
// What pgx's own tracers (pgx.QueryTracer and the like) are told is not the manager's
// affair: they are set in the connection's configuration.
func WithTracer(tracer any) Option {
	return func(o *options) { o.tracer, o.traced = tracer, true }
}

// tracing is who is told; those that are nil are not.
type tracing struct {
	acquire AcquireTracer
	release ReleaseTracer
	dial    DialTracer
	evict   EvictTracer
	log     *sparseLog
}

func newTracing(o options) (*tracing, error) {
	t := &tracing{log: newSparseLog(o.log)}
	if !o.traced {
		return t, nil
	}
	t.acquire, _ = o.tracer.(AcquireTracer)
	t.release, _ = o.tracer.(ReleaseTracer)
	t.dial, _ = o.tracer.(DialTracer)
	t.evict, _ = o.tracer.(EvictTracer)
	if t.acquire == nil && t.release == nil && t.dial == nil && t.evict == nil {
		return nil, fmt.Errorf("WithTracer: a %T is no tracer: it must have the methods of AcquireTracer, ReleaseTracer, DialTracer or EvictTracer", o.tracer)
	}
	return t, nil
}

// survive keeps a tracer's panic from whoever it traces.
func (t *tracing) survive(method string) {
	if reason := recover(); reason != nil {
		stack := debug.Stack()
		t.log.warn("A tracer panicked", func() []any {
			return []any{"method", method, "panic", fmt.Sprint(reason), "stack", string(stack)}
		})
	}
}

// valuesOf is a context with the values of another one.
type valuesOf struct {
	context.Context
	values context.Context
}

func (c valuesOf) Value(key any) any { return c.values.Value(key) }

// with is ctx with what a tracer has put into it.
func with(ctx, traced context.Context) context.Context {
	if traced == nil || traced == ctx {
		return ctx
	}
	return valuesOf{ctx, traced}
}

// ofLeases tells whether acquires or releases are traced.
func (t *tracing) ofLeases() bool { return t.acquire != nil || t.release != nil }

// acquired is acquire as the tracer sees it.
func (t *tracing) acquired(ctx context.Context, id model.WorkspaceID, acquire func(context.Context) (*Conn, error)) (*Conn, error) {
	if !t.ofLeases() {
		return acquire(ctx)
	}
	if t.acquire != nil {
		ctx = t.acquireStarts(ctx, id)
	}
	conn, err := acquire(ctx)
	if err == nil && t.release != nil {
		conn.end().traced = func() { t.releases(conn, id) }
	}
	if t.acquire != nil {
		t.acquireEnds(ctx, id, conn, err)
	}
	return conn, err
}

func (t *tracing) acquireStarts(ctx context.Context, id model.WorkspaceID) (traced context.Context) {
	traced = ctx
	defer t.survive("TraceAcquireStart")
	return with(ctx, t.acquire.TraceAcquireStart(ctx, TraceAcquireStartData{id}))
}

func (t *tracing) acquireEnds(ctx context.Context, id model.WorkspaceID, conn *Conn, err error) {
	defer t.survive("TraceAcquireEnd")
	data := TraceAcquireEndData{Workspace: id, Err: err}
	if err == nil {
		data.Conn, data.Waited = conn.backend.pgx, conn.lease.Waited()
	}
	t.acquire.TraceAcquireEnd(ctx, data)
}

func (t *tracing) releases(conn *Conn, id model.WorkspaceID) {
	defer t.survive("TraceRelease")
	t.release.TraceRelease(TraceReleaseData{id, conn.backend.pgx, conn.lease.Age()})
}

// tracedDialer is a dialer as the tracer sees it.
type tracedDialer struct {
	*dialer
	*tracing
}

func (t *tracing) dials(d *dialer) actor.Dialer {
	if t.dial == nil {
		return d
	}
	return tracedDialer{d, t}
}

// Dial is called with the id of the manager's own questions, too: it is a dial of the
// system database like any other.
func (d tracedDialer) Dial(ctx context.Context, id model.WorkspaceID) (actor.Conn, error) {
	if d.leftovers.Load().of(id) != nil {
		return d.dialer.Dial(ctx, id) // nothing is dialed
	}
	told, attempt := id, actor.DialAttempt(ctx)
	if d.closer.system {
		told = ""
	}
	began := time.Now()
	ctx = d.dialStarts(ctx, TraceDialStartData{told, attempt})
	conn, err := d.dialer.Dial(ctx, id)
	d.dialEnds(ctx, TraceDialEndData{told, attempt, time.Since(began), err})
	return conn, err
}

func (t *tracing) dialStarts(ctx context.Context, data TraceDialStartData) (traced context.Context) {
	traced = ctx
	defer t.survive("TraceDialStart")
	return with(ctx, t.dial.TraceDialStart(ctx, data))
}

func (t *tracing) dialEnds(ctx context.Context, data TraceDialEndData) {
	defer t.survive("TraceDialEnd")
	t.dial.TraceDialEnd(ctx, data)
}

// evictionsKept is how many events wait for a slow EvictTracer before some are lost.
const evictionsKept = 1024

// watchEvictions tells the tracer of evictions until the manager has closed. The
// supervisor waits for nobody: see Events.
func (t *tracing) watchEvictions(s *actor.Supervisor) {
	if t.evict == nil {
		return
	}
	events, err := s.Events(context.Background(), evictionsKept)
	if err != nil {
		return // it has ended
	}
	go func() {
		var lost uint64
		for e := range events {
			lost += e.Lost
			if e.Kind != model.EventEvicted {
				continue
			}
			data := TraceEvictData{At: e.At, Workspace: e.Workspace, Reason: e.Reason, IdleFor: e.IdleFor, For: e.For, Lost: lost}
			if e.System {
				data.Workspace, data.For = "", ""
			}
			lost = 0
			t.evicted(data)
		}
	}()
}

func (t *tracing) evicted(data TraceEvictData) {
	defer t.survive("TraceEvict")
	t.evict.TraceEvict(data)
}
