package pools_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// told is a tracer that writes down what it is told. It may wait, or panic, after that.
type told struct {
	lock sync.Mutex
	all  []string
	then func(method string)

	evictions []pools.TraceEvictData
}

type tracedBy struct{}

func (r *told) note(method, format string, args ...any) {
	r.lock.Lock()
	r.all = append(r.all, strings.TrimSpace(method+" "+fmt.Sprintf(format, args...)))
	r.lock.Unlock()
	if r.then != nil {
		r.then(method)
	}
}

func (r *told) TraceAcquireStart(ctx context.Context, data pools.TraceAcquireStartData) context.Context {
	r.note("acquire", "%s", data.Workspace)
	return context.WithValue(context.WithoutCancel(ctx), tracedBy{}, data.Workspace)
}

func (r *told) TraceAcquireEnd(ctx context.Context, data pools.TraceAcquireEndData) {
	r.note("acquired", "%s of %v, conn %t, error %t", data.Workspace, ctx.Value(tracedBy{}), data.Conn != nil, data.Err != nil)
}

func (r *told) TraceRelease(data pools.TraceReleaseData) {
	r.note("release", "%s, held %t, open %t", data.Workspace, data.Held > 0, !data.Conn.IsClosed())
}

func (r *told) TraceDialStart(ctx context.Context, data pools.TraceDialStartData) context.Context {
	if data.Workspace != "" { // how many there are of the system database is the manager's affair
		r.note("dial", "%s, attempt %d", data.Workspace, data.Attempt)
	}
	return context.WithValue(ctx, tracedBy{}, data.Workspace)
}

func (r *told) TraceDialEnd(ctx context.Context, data pools.TraceDialEndData) {
	if data.Workspace == "" {
		return
	}
	r.note("dialed", "%s of %v, took %t, error %t", data.Workspace, ctx.Value(tracedBy{}), data.Took > 0, data.Err != nil)
}

func (r *told) TraceEvict(data pools.TraceEvictData) {
	r.lock.Lock()
	r.evictions = append(r.evictions, data)
	r.lock.Unlock()
	r.note("evict", "%s", data.Workspace)
}

func (r *told) evicted() []pools.TraceEvictData {
	r.lock.Lock()
	defer r.lock.Unlock()
	return append([]pools.TraceEvictData(nil), r.evictions...)
}

func (r *told) says() string {
	r.lock.Lock()
	defer r.lock.Unlock()
	defer func() { r.all = nil }()
	return strings.Join(r.all, "\n")
}

func TestATracerIsToldOfEachAcquireReleaseAndDial(t *testing.T) {
	tracer := &told{}
	m := open(t, config(20), pools.WithTracer(tracer))
	is := func(what, want string) {
		t.Helper()
		if got := tracer.says(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
	}
	is("Open", "")
	if err := m.Workspace("w1").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	is("a fresh connection", `acquire w1
dial w1, attempt 1
dialed w1 of w1, took true, error false
acquired w1 of w1, conn true, error false
release w1, held true, open true`)
	conn, err := m.Acquire(t.Context(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	conn.Release()
	conn.Release()
	is("a seat, and a second Release", `acquire w1
acquired w1 of w1, conn true, error false
release w1, held true, open true`)
	if _, err := m.Acquire(t.Context(), "no id"); err == nil {
		t.Error("an id with a space")
	}
	is("a bad id", `acquire no id
acquired no id of no id, conn false, error true`)
	if err := m.System().Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	is("the system database", "acquire\nacquired  of , conn true, error false\nrelease , held true, open true")
	if err := m.Exclusive(t.Context(), "w1", func(*pools.Conn) error { return nil }); err != nil {
		t.Fatal(err)
	}
	is("Exclusive", `acquire w1
dial w1, attempt 1
dialed w1 of w1, took true, error false
acquired w1 of w1, conn true, error false
release w1, held true, open true`)
	// The tracer's context has no end, and the acquire has one.
	short, stop := context.WithCancel(t.Context())
	stop()
	if _, err := m.Acquire(short, "w1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
}

func TestATracerIsToldWhoWasEvictedForWhom(t *testing.T) {
	tracer := &told{}
	m := open(t, config(20), pools.WithTracer(tracer))
	budget := stats(t, m).Workspaces.Budget
	for i := range budget + 1 {
		if err := m.Workspace(model.WorkspaceID(fmt.Sprintf("w%d", i))).Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is told", func() bool { return len(tracer.evicted()) > 0 })
	e := tracer.evicted()[0]
	if want := model.WorkspaceID(fmt.Sprintf("w%d", budget)); e.Workspace != "w0" || e.For != want || e.Reason != model.MakeRoom || e.IdleFor <= 0 || e.At.IsZero() || e.Lost != 0 {
		t.Errorf("%+v", e)
	}
}

func TestATracerOfEvictionsThatIsSlowIsToldWhatItMissed(t *testing.T) {
	goOn := make(chan struct{})
	tracer := &told{then: func(method string) {
		if method == "evict" {
			<-goOn
		}
	}}
	m := open(t, config(20), pools.WithTracer(tracer))
	evict := func() {
		t.Helper()
		if err := m.Workspace("w1").Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := m.Evict(t.Context(), "w1"); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
	evict()
	eventually(t, "it is told of the first", func() bool { return len(tracer.evicted()) == 1 })
	for range 600 { // two events each, more than are kept
		if _, err := m.Pause(t.Context(), "w2"); err != nil {
			t.Fatal(err)
		}
		if err := m.Resume(t.Context(), "w2"); err != nil {
			t.Fatal(err)
		}
	}
	evict()
	close(goOn)
	// What comes next finds room, once the tracer has read on.
	eventually(t, "it is told that it missed some", func() bool {
		evict()
		all := tracer.evicted()
		return all[len(all)-1].Lost >= 1200-1024
	})
}

func TestATracerThatPanicsLosesNothing(t *testing.T) {
	tracer := &told{then: func(method string) { panic("of the tracer, in " + method) }}
	m := open(t, config(20), pools.WithTracer(tracer))
	for range 2 * stats(t, m).Workspaces.Budget {
		if err := m.Workspace("w1").Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Evict(t.Context(), "w1"); err != nil {
			t.Fatal(err)
		}
	}
	if st := stats(t, m).Workspaces; st.Open() != 0 || st.Waiting != 0 {
		t.Errorf("%+v", st.Counts)
	}
	for _, method := range []string{"TraceAcquireStart", "TraceAcquireEnd", "TraceRelease", "TraceDialStart", "TraceDialEnd"} {
		m.log.line(t, `"level":"WARN"`, "A tracer panicked", `"method":"`+method+`"`, "of the tracer")
	}
}

func TestWhatTracesNothingIsNoTracer(t *testing.T) {
	for _, tracer := range []any{nil, "tracer", struct{}{}} {
		if _, err := pools.Open(t.Context(), config(20), pools.WithTracer(tracer), pools.WithLogger(nil)); err == nil || !strings.Contains(err.Error(), "AcquireTracer") {
			t.Errorf("%T: %v", tracer, err)
		}
	}
}
