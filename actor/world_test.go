package actor_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// world is a supervisor over fake servers, one for each share, in a bubble of
// virtual time. At its end everything is released and drained; every connection
// must then have been closed once, and no goroutine may be left.
type world struct {
	*testing.T
	*actor.Supervisor
	server  *server // of the first share
	servers []*server
	leases  []actor.Lease // for the end
}

const (
	first  actor.ShareIndex = 0
	second actor.ShareIndex = 1
)

// few are the limits of most tests.
func few(budget, perWorkspace int, change ...func(*model.Limits)) model.Limits {
	limits := model.Limits{
		Budget:                 budget,
		PerWorkspace:           perWorkspace,
		MaxWaiters:             1000,
		MaxWaitersPerWorkspace: 1000,
		MaxDialing:             10,
		Patience:               20 * time.Millisecond,
		BackoffMin:             10 * time.Millisecond,
		BackoffMax:             time.Second,
		CloseGrace:             100 * time.Millisecond,
		ProbeAfter:             500 * time.Millisecond,
	}
	for _, c := range change {
		c(&limits)
	}
	return limits
}

func withIdleTime(d time.Duration) func(*model.Limits) {
	return func(l *model.Limits) { l.MaxIdleTime = d }
}

// test runs f in a bubble with one share.
func test(t *testing.T, limits model.Limits, f func(w *world)) {
	t.Helper()
	testShares(t, []model.Limits{limits}, f)
}

func testShares(t *testing.T, limits []model.Limits, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t}
		var shares []actor.Share
		for _, l := range limits {
			s := &server{dialTakes: 10 * time.Millisecond, closeTakes: 5 * time.Millisecond}
			w.servers = append(w.servers, s)
			shares = append(shares, actor.Share{Limits: l, Dialer: s})
		}
		w.server = w.servers[0]
		w.Supervisor = actor.Start(shares...)
		defer w.end()
		f(w)
	})
}

func (w *world) end() {
	w.Helper()
	for _, l := range w.leases {
		l.Release(core.Clean)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		w.Errorf("at the end: %v", err)
	}
	for i, s := range w.servers {
		if err := s.leaks(); err != nil {
			w.Errorf("at the end of share %d: %v", i, err)
		}
	}
}

// took runs f and says how much virtual time it took.
func took(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

// acquire gets a connection of the first share, or ends the test.
func (w *world) acquire(id model.WorkspaceID) actor.Lease {
	w.Helper()
	return w.acquireOf(first, id)
}

func (w *world) acquireOf(share actor.ShareIndex, id model.WorkspaceID) actor.Lease {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	l, err := w.Acquire(ctx, share, id, actor.Wait{})
	if err != nil {
		w.Fatalf("acquire %s: %v", id, err)
	}
	w.leases = append(w.leases, l)
	if c := l.Conn().(*connection); c.workspace != id {
		w.Fatalf("acquire %s: got a connection of %s", id, c.workspace)
	}
	return l
}

// idle makes the workspace have that many idle connections.
func (w *world) idle(id model.WorkspaceID, n int) {
	w.Helper()
	leases := make([]actor.Lease, n)
	for i := range leases {
		leases[i] = w.acquire(id)
	}
	for _, l := range leases {
		l.Release(core.Clean)
	}
	synctest.Wait()
}

// attempt is an Acquire on a goroutine of its own.
type attempt struct {
	w     *world
	done  chan struct{}
	lease actor.Lease
	err   error
	took  time.Duration
}

// try begins to acquire, and returns when nothing more happens without time.
func (w *world) try(ctx context.Context, id model.WorkspaceID, wait actor.Wait) *attempt {
	a := &attempt{w: w, done: make(chan struct{})}
	begin := time.Now()
	go func() {
		defer close(a.done)
		a.lease, a.err = w.Acquire(ctx, first, id, wait)
		a.took = time.Since(begin)
	}()
	synctest.Wait()
	return a
}

func (w *world) tryFor(atMost time.Duration, id model.WorkspaceID) *attempt {
	return w.try(context.Background(), id, actor.Wait{AtMost: atMost})
}

// waits tells whether it has no answer yet.
func (a *attempt) waits() bool {
	synctest.Wait()
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// granted waits for the answer, which must be a connection.
func (a *attempt) granted() *connection {
	a.w.Helper()
	<-a.done
	if a.err != nil {
		a.w.Fatalf("an acquire was refused after %v: %v", a.took, a.err)
	}
	a.w.leases = append(a.w.leases, a.lease)
	return a.lease.Conn().(*connection)
}

// refused waits for the answer, which must be an error and come that late.
func (a *attempt) refused(after time.Duration) error {
	a.w.Helper()
	<-a.done
	if a.err == nil {
		a.w.leases = append(a.w.leases, a.lease)
		a.w.Fatalf("an acquire got a connection after %v", a.took)
	}
	if a.took != after {
		a.w.Errorf("an acquire was refused after %v, want %v: %v", a.took, after, a.err)
	}
	return a.err
}

// limit says which limit an acquire met.
func (w *world) limit(err error) *model.ConnectionLimitError {
	w.Helper()
	var limit *model.ConnectionLimitError
	if !errors.As(err, &limit) {
		w.Fatalf("want a *model.ConnectionLimitError, got %v", err)
	}
	return limit
}

// wraps checks which of the well-known errors an error wraps: exactly those.
func (w *world) wraps(err error, want ...error) {
	w.Helper()
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, model.ErrAcquireTimeout,
		model.ErrClosed, model.ErrDialing, model.ErrPaused,
	} {
		if !slices.Contains(want, known) && errors.Is(err, known) {
			w.Errorf("%q wraps %q", err, known)
		}
	}
	for _, known := range want {
		if !errors.Is(err, known) {
			w.Errorf("%q does not wrap %q", err, known)
		}
	}
}

// stats are those of the first share, when nothing more happens without time.
func (w *world) stats() model.BudgetStats {
	w.Helper()
	synctest.Wait()
	st, err := w.Stats(context.Background())
	if err != nil {
		w.Fatalf("stats: %v", err)
	}
	return st.Shares[first]
}

func (w *world) counts(want model.Counts) {
	w.Helper()
	if got := w.stats().Counts; got != want {
		w.Errorf("counts are %+v, want %+v", got, want)
	}
}

// happened checks what the server saw since it was last asked.
func (w *world) happened(want ...string) {
	w.Helper()
	synctest.Wait()
	if got := w.server.since(); !slices.Equal(got, want) {
		w.Errorf("the server saw\n%q, want\n%q", got, want)
	}
}

// gather runs f on n goroutines and returns what each of them returned.
func gather[T any](n int, f func(i int) T) []T {
	results := make([]T, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { results[i] = f(i) })
	}
	all.Wait()
	return results
}
