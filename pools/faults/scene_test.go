package faults

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// fault is something that goes wrong, and comes to an end.
type fault struct {
	name string
	// begin makes it happen, and heal ends it; each returns when that is so. during,
	// if there is one, goes on until its context ends.
	begin, heal func(t *testing.T)
	during      func(ctx context.Context, t *testing.T)
	// shows is what some requests must have failed with, or the fault did not happen.
	// More than one: any of them. The fault lasts until one has.
	shows []cause
	// config changes what the manager is given, work what the requests do.
	config func(*model.Config)
	work   func(context.Context, *pools.Conn) error
	// backWithin is mustBeBack, if not as for all others; say why.
	backWithin time.Duration
	// variant faults are left to the long form: the short one has another of their kind.
	variant bool
}

// lasts is how long a fault lasts at least.
func lasts() time.Duration {
	if long {
		return 5 * time.Second
	}
	return 400 * time.Millisecond
}

// What must hold; see the package comment.
const (
	mayOverrun  = time.Second
	mustBeBack  = 5 * time.Second
	mayGrow     = 4 << 20 // bytes of heap, for what the runtime and others keep
	mustBeQuiet = 10 * time.Second
)

// mustHappen is how long a test waits for what must happen some time, on the
// slowest of machines.
const mustHappen = time.Minute

// slack is what a slow machine may take longer: filling the budget is many dials.
// Beside the short form other packages' tests have the processors, too.
func slack() time.Duration {
	if long {
		return 20 * dialTakes
	}
	return 5*time.Second + 20*dialTakes
}

// run is one scene.
func (f fault) run(t *testing.T) {
	t.Helper()
	t.Run(f.name, func(t *testing.T) {
		if f.variant && !long {
			t.Skip("only with TENANTPOOL_TEST_LONG=1")
		}
		row := f.play(t)
		rows = append(rows, row)
		t.Log(row)
	})
}

func (f fault) play(t *testing.T) row {
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	var log bytes.Buffer
	m := f.open(t, &log)
	work := ordinary
	if f.work != nil {
		work = f.work
	}
	view := watchServer()
	tr := startTraffic(m, work)
	if !eventually(mustHappen, func() bool { return tr.succeeded.Load() > 4*workers }) {
		t.Fatalf("there is no traffic: %+v", tr.counted)
	}

	noteDials(t, m)
	tr.restartTally()
	if f.begin != nil {
		f.begin(t)
	}
	began := time.Now()
	f.last(t, tr)
	lasted := time.Since(began)
	if f.heal != nil {
		f.heal(t)
	}
	healed := time.Now()
	backendsNow := 0
	full := make(chan filled)
	go func() {
		full <- fill(m, healed, func() { backendsNow = backends(t) })
	}()
	during := tr.stop(t)
	all := <-full
	after := startTraffic(m, ordinary)
	after.untilNoneFails(lasts() / 2)
	afterwards := after.stop(t)
	peak := view.stop()
	back := max(all.took, afterwards.lastFailure.Sub(healed)) // never failed: long before

	r := row{
		Fault: f.name, Lasted: lasted, Requests: during.requests, Failed: during.failed, Causes: during.causes,
		LongestStall: during.longest, FullService: back, Peak: peak, Budget: connections,
		SlotsLost: lendable() - all.lease, WrongAnswers: during.wrong + afterwards.wrong + all.wrong,
	}
	f.judge(t, r, during, afterwards)
	if back > cmp.Or(f.backWithin, mustBeBack)+slack() {
		t.Errorf("all was well only %v after the fault; the whole budget was lent after %v (on the way: %v), and of the requests after that failed %v",
			back, all.took, all.why, afterwards.causes)
	}
	if backendsNow < all.lease || backendsNow > connections {
		t.Errorf("%d connections were lent, the server counted %d backends", all.lease, backendsNow)
	}
	f.leaveNothing(t, m, goroutines, heap)
	if said := log.String(); strings.Contains(said, server.Password) {
		t.Errorf("the log holds the password")
	}
	return r
}

func (f fault) open(t *testing.T, log *bytes.Buffer) *pools.Manager {
	t.Helper()
	cfg := config()
	if f.config != nil {
		f.config(&cfg)
	}
	logger := slog.New(slog.NewJSONHandler(log, nil)) // it has a lock
	m, err := pools.Open(t.Context(), cfg, pools.WithLogger(logger))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// last lets the fault last, at least until it has shown.
func (f fault) last(t *testing.T, tr *traffic) {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		<-time.After(lasts())
		eventually(mustHappen, func() bool { return tr.hasShown(f.shows) })
	}()
	if f.during != nil {
		f.during(ctx, t)
	}
	<-ctx.Done()
}

// judge checks what must hold while the fault lasts.
func (f fault) judge(t *testing.T, r row, during, afterwards tally) {
	t.Helper()
	bad := slices.Concat(during.bad, afterwards.bad)
	for _, err := range bad[:min(3, len(bad))] {
		t.Errorf("an error that says too little or too much: %v", err)
	}
	if late := max(during.overrun, afterwards.overrun); late > mayOverrun+slack() {
		t.Errorf("a request took %v longer than its deadline", late)
	}
	if r.Peak > r.Budget {
		t.Errorf("the server had %d backends, the budget is %d", r.Peak, r.Budget)
	}
	if r.SlotsLost != 0 {
		t.Errorf("%d slots are lost", r.SlotsLost)
	}
	if r.WrongAnswers != 0 {
		t.Errorf("%d wrong answers", r.WrongAnswers)
	}
	if !during.shows(f.shows) {
		t.Errorf("no request failed because of %q, so the fault did not happen: %v", f.shows, during.causes)
	}
}

// leaveNothing closes the manager, and looks for what is left.
func (f fault) leaveNothing(t *testing.T, m *pools.Manager, goroutines int, heap uint64) {
	t.Helper()
	if !eventually(mustBeBack+slack(), func() bool { return nothingLent(t, m) }) {
		st, _ := m.Stats(context.Background())
		t.Errorf("not every acquire was answered, or a lease is left: %+v, system %+v", st.Workspaces, st.System)
	}
	closeManager(t, m)
	if !eventually(mustBeBack+slack(), func() bool { return runtime.NumGoroutine() <= goroutines }) {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines were there before, %d are there now:\n%s", goroutines, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
	}
	if now := heapInUse(); now > heap+mayGrow {
		t.Errorf("%d bytes of heap were in use before, %d are now", heap, now)
	}
}

// closeManager closes it soon, and the server has nothing of it any more.
func closeManager(t *testing.T, m *pools.Manager) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), mustBeQuiet+slack())
	defer stop()
	if err := m.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := backends(t); n != 0 {
		t.Errorf("%d backends are left on the server", n)
	}
}

func nothingLent(t *testing.T, m *pools.Manager) bool {
	st, err := m.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return answeredOnce(st.Workspaces) && answeredOnce(st.System)
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool holds survives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
