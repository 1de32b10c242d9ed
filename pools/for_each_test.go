package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func workspaceIDs(n int) []model.WorkspaceID {
	ids := make([]model.WorkspaceID, n)
	for i := range ids {
		ids[i] = workspaceID(i)
	}
	return ids
}

// notAll is the *ForEachError that err must be.
func notAll(t *testing.T, err error) *pools.ForEachError {
	t.Helper()
	var e *pools.ForEachError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no ForEachError", err)
	}
	return e
}

var errOnPurpose = errors.New("on purpose")

// Whoever reads only the log must see whether one workspace is broken or all are, in one way
// or in several.
func TestForEachErrorNamesTheFirstFailures(t *testing.T) {
	failed := func(n int) (failed []pools.WorkspaceResult) {
		for i, id := range workspaceIDs(n) {
			failed = append(failed, pools.WorkspaceResult{ID: id, Err: fmt.Errorf("reason %d", i)})
		}
		return failed
	}
	for n, want := range map[int]string{
		0: "of 9 workspaces 0 failed and 0 were not begun",
		1: `of 9 workspaces 1 failed and 0 were not begun; workspace "w0": reason 0`,
		3: `of 9 workspaces 3 failed and 0 were not begun; workspace "w0": reason 0; workspace "w1": reason 1; workspace "w2": reason 2`,
		5: `of 9 workspaces 5 failed and 0 were not begun; workspace "w0": reason 0; workspace "w1": reason 1; workspace "w2": reason 2; and 2 more`,
	} {
		if is := (&pools.ForEachError{Workspaces: 9, Failed: failed(n)}).Error(); is != want {
			t.Errorf("%s\nwant %s", is, want)
		}
	}
}

func TestForEachReachesEachWorkspaceOnce(t *testing.T) {
	m := open(t, config(20))
	ids := workspaceIDs(serverWorkspaces)
	var under, most atomic.Int64
	var told []model.WorkspaceID
	databases := make(chan string, len(ids))
	err := m.ForEach(t.Context(), ids, func(ctx context.Context, w *pools.Workspace) error {
		defer under.Add(-1)
		if n := under.Add(1); n > most.Load() {
			most.Store(n) // a lower one may win the race; the test is for more than 3
		}
		var database string
		if err := w.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
			return err
		}
		if database != "test_ws_"+string(w.ID()) {
			return fmt.Errorf("%s is %s", w.ID(), database)
		}
		databases <- database
		return nil
	}, pools.ForEachOptions{Done: func(r pools.WorkspaceResult) { told = append(told, r.ID) }})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(told)
	if slices.Sort(ids); !slices.Equal(told, ids) || len(databases) != len(ids) {
		t.Errorf("told of %d, reached %d of %d", len(told), len(databases), len(ids))
	}
	if most.Load() > 3 { // a quarter of the 15 that 20 leave the workspaces
		t.Errorf("%d at once", most.Load())
	}
}

func TestForEachOfManyOrOfNone(t *testing.T) {
	m := open(t, config(20))
	if err := m.ForEach(t.Context(), nil, nil, pools.ForEachOptions{}); err != nil {
		t.Error(err)
	}
	const many = 100_000
	var called atomic.Int64
	err := m.ForEach(t.Context(), workspaceIDs(many), func(context.Context, *pools.Workspace) error {
		called.Add(1)
		return nil
	}, pools.ForEachOptions{Concurrency: 8, Canary: 2 * many, StopAfter: 1})
	if err != nil || called.Load() != many {
		t.Errorf("%d calls, %v", called.Load(), err)
	}
}

func TestForEachRefusesBadIDsBeforeItBegins(t *testing.T) {
	m := open(t, config(20))
	for _, bad := range [][]model.WorkspaceID{{"w0", "no/such"}, {"w0", "w1", "w0"}, {""}} {
		err := m.ForEach(t.Context(), bad, func(context.Context, *pools.Workspace) error {
			t.Errorf("%q: it began", bad)
			return nil
		}, pools.ForEachOptions{})
		var refused *model.WorkspaceIDError
		if !errors.As(err, &refused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := m.ForEach(t.Context(), nil, nil, pools.ForEachOptions{StopAfter: -1}); err == nil || !strings.Contains(err.Error(), "StopAfter") {
		t.Error(err)
	}
}

func TestForEachStopsAfterFailures(t *testing.T) {
	m := open(t, config(20))
	ids := workspaceIDs(30)
	err := m.ForEach(t.Context(), ids, func(_ context.Context, w *pools.Workspace) error {
		if w.ID() == "w3" || w.ID() == "w7" {
			return errOnPurpose
		}
		return nil
	}, pools.ForEachOptions{Concurrency: 1, StopAfter: 2})
	e := notAll(t, err)
	if !errors.Is(err, pools.ErrTooManyFailures) || !errors.Is(err, errOnPurpose) || len(e.Failed) != 2 || !slices.Equal(e.NotBegun, ids[8:]) {
		t.Errorf("%v: %+v", err, e)
	}
	// When the last ones fail, there is nothing that was not begun, and no other cause.
	err = m.ForEach(t.Context(), ids[:8], func(_ context.Context, w *pools.Workspace) error {
		if w.ID() == "w7" {
			return errOnPurpose
		}
		return nil
	}, pools.ForEachOptions{Concurrency: 1, StopAfter: 1})
	if e := notAll(t, err); e.Cause != nil || len(e.NotBegun) != 0 || len(e.Failed) != 1 {
		t.Errorf("%+v", e)
	}
}

func TestForEachLetsCanariesGoFirst(t *testing.T) {
	m := open(t, config(20))
	ids := workspaceIDs(20)
	release := make(chan struct{})
	var canaries atomic.Int64
	go func() {
		for canaries.Load() < 3 {
			runtime.Gosched()
		}
		close(release)
	}()
	err := m.ForEach(t.Context(), ids, func(_ context.Context, w *pools.Workspace) error {
		if slices.Index(ids, w.ID()) < 3 {
			canaries.Add(1)
			<-release // all three are under way, and had anything else begun it would find so
			canaries.Add(1)
		} else if canaries.Load() != 6 {
			t.Errorf("%s began when only %d canaries had ended", w.ID(), canaries.Load()-3)
		}
		return nil
	}, pools.ForEachOptions{Concurrency: 10, Canary: 3})
	if err != nil {
		t.Error(err)
	}

	err = m.ForEach(t.Context(), ids, func(_ context.Context, w *pools.Workspace) error {
		if w.ID() == "w2" {
			return errOnPurpose
		}
		return nil
	}, pools.ForEachOptions{Concurrency: 10, Canary: 3})
	if e := notAll(t, err); !errors.Is(err, pools.ErrCanaryFailed) || !slices.Equal(e.NotBegun, ids[3:]) || len(e.Failed) != 1 {
		t.Errorf("%v: %+v", err, e)
	}
}

// Each way of not giving a connection back, and of not returning, would lose a slot of
// the three.
func TestForEachLosesNoSlot(t *testing.T) {
	m := open(t, config(20))
	ids := workspaceIDs(40)
	err := m.ForEach(t.Context(), ids, func(ctx context.Context, w *pools.Workspace) error {
		i := slices.Index(ids, w.ID())
		switch i % 4 {
		case 0:
			if _, err := w.Acquire(ctx); err != nil {
				return err
			}
		case 1:
			if _, err := w.Begin(ctx); err != nil {
				return err
			}
		case 2:
			if _, err := w.DB().Conn(ctx); err != nil {
				return err
			}
		case 3:
			conn, err := w.Acquire(ctx)
			if err != nil {
				return err
			}
			for range 100 { // what has ended is not kept
				conn.Release()
				if conn, err = w.Acquire(ctx); err != nil {
					return err
				}
			}
		}
		switch i % 3 {
		case 1:
			panic(fmt.Errorf("%s: %w", w.ID(), errOnPurpose))
		case 2:
			runtime.Goexit()
		}
		return nil
	}, pools.ForEachOptions{})
	e := notAll(t, err)
	if len(e.Failed) != 26 || !errors.Is(err, errOnPurpose) {
		t.Errorf("%d failed: %v", len(e.Failed), err)
	}
	for _, r := range e.Failed {
		var p *pools.PanicError
		if panics := slices.Index(ids, r.ID)%3 == 1; errors.As(r.Err, &p) != panics || panics && !strings.Contains(string(p.Stack), "TestForEachLosesNoSlot") {
			t.Errorf("%s: %v", r.ID, r.Err)
		}
	}
	eventually(t, "nothing is lent", func() bool { return stats(t, m).Workspaces.InUse == 0 })
	fillBudget(t, m, serverWorkspaces)
}

func TestForEachThatIsCancelled(t *testing.T) {
	m := open(t, config(20))
	ids := workspaceIDs(20)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := m.ForEach(ctx, ids, func(ctx context.Context, w *pools.Workspace) error {
		if w.ID() == "w4" {
			cancel(errOnPurpose)
		}
		if slices.Index(ids, w.ID()) < 3 {
			return nil
		}
		_, err := w.Exec(ctx, "SELECT pg_sleep(1000)")
		return err
	}, pools.ForEachOptions{Concurrency: 3})
	e := notAll(t, err)
	if e.Cause != errOnPurpose || !errors.Is(err, context.Canceled) || len(e.Failed)+len(e.NotBegun) != 17 || len(e.Failed) > 3 {
		t.Errorf("%v: %d failed, %d not begun", err, len(e.Failed), len(e.NotBegun))
	}
	fillBudget(t, m, serverWorkspaces)
}

// What has begun comes to its own end.
func TestForEachThatIsStopped(t *testing.T) {
	m := open(t, config(20))
	ids := workspaceIDs(20)
	stop := make(chan struct{})
	var once sync.Once
	var ended []model.WorkspaceID
	err := m.ForEach(t.Context(), ids, func(ctx context.Context, w *pools.Workspace) error {
		once.Do(func() { close(stop) })
		return w.Ping(ctx)
	}, pools.ForEachOptions{Concurrency: 1, Stop: stop, Done: func(r pools.WorkspaceResult) { ended = append(ended, r.ID) }})
	if e := notAll(t, err); !errors.Is(err, pools.ErrStopped) || len(e.Failed) != 0 || !slices.Equal(e.NotBegun, ids[1:]) || len(ended) != 1 {
		t.Errorf("%v: %+v, ended %v", err, e, ended)
	}
}

// Batch work is not refused for want of a connection, nor by a short AcquireTimeout, and
// its own timeout ends the wait for a workspace that stays paused.
func TestForEachWaitsWithinItsTimeout(t *testing.T) {
	cfg := config(20)
	cfg.AcquireTimeout = 0 // an ordinary acquire waits for nobody
	m := open(t, cfg)
	for _, id := range []model.WorkspaceID{"w0", "w1"} {
		if _, err := m.Pause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Workspace("w0").Ping(t.Context()); !errors.Is(err, model.ErrPaused) {
		t.Fatal(err)
	}
	ping := func(ctx context.Context, w *pools.Workspace) error { return w.Ping(ctx) }
	err := m.ForEach(t.Context(), workspaceIDs(4), ping, pools.ForEachOptions{
		Concurrency: 4, Timeout: 20 * dialsTake(t),
		Done: func(r pools.WorkspaceResult) {
			if r.ID != "w2" && r.ID != "w3" {
				t.Logf("%s after %v: %v", r.ID, r.Duration, r.Err)
			}
		},
	})
	if e := notAll(t, err); len(e.Failed) != 2 || e.Cause != nil || !errors.Is(err, model.ErrPaused) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}

	began := make(chan struct{}, 2)
	ended := make(chan error, 1)
	go func() {
		ended <- m.ForEach(t.Context(), workspaceIDs(2), func(ctx context.Context, w *pools.Workspace) error {
			began <- struct{}{}
			return w.Ping(ctx)
		}, pools.ForEachOptions{Timeout: patience})
	}()
	<-began
	<-began
	eventually(t, "they wait", func() bool { return stats(t, m).Workspaces.Waiting == 2 })
	for _, id := range []model.WorkspaceID{"w0", "w1"} {
		if err := m.Resume(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// More at once than there are slots: all wait their turn, through database/sql too.
func TestForEachIsNotRefusedForWantOfSlots(t *testing.T) {
	cfg := config(20)
	cfg.AcquireTimeout = 0
	m := open(t, cfg)
	err := m.ForEach(t.Context(), workspaceIDs(serverWorkspaces), func(ctx context.Context, w *pools.Workspace) error {
		return inTransaction(ctx, w.DB())
	}, pools.ForEachOptions{Concurrency: serverWorkspaces})
	if err != nil {
		t.Error(err)
	}
}

func inTransaction(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "CREATE TEMP TABLE once (n int) ON COMMIT DROP"); err != nil {
		return err
	}
	return tx.Commit()
}

func TestForEachAfterClose(t *testing.T) {
	m := open(t, config(20))
	closeManager(t, m.Manager)
	if err := m.ForEach(t.Context(), workspaceIDs(2), nil, pools.ForEachOptions{}); !errors.Is(err, model.ErrClosed) {
		t.Error(err)
	}
}
