package pools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// ForEachOptions say how ForEach goes through the workspaces. The zero value is all of
// them, as many at once as batch work has connections.
type ForEachOptions struct {
	// Concurrency is how many workspaces are worked on at once. 0: as many as batch work
	// may have connections.
	Concurrency int
	// Timeout bounds the work on one workspace, its waiting for connections included.
	// 0: there is no bound but the context.
	Timeout time.Duration
	// Canary is how many workspaces, the first ones, go before the others: those begin
	// only when all of these have succeeded.
	Canary int
	// StopAfter is how many failures end it: nothing more begins then. 0: it goes on.
	StopAfter int
	// Stop, once closed, lets nothing more begin; what has begun comes to its own end.
	Stop <-chan struct{}
	// Done is told of each workspace whose work has ended, one after the other in the
	// order in which they end, on the goroutine that called ForEach.
	Done func(WorkspaceResult)
}

// WorkspaceResult is what became of the work on one workspace.
type WorkspaceResult struct {
	ID model.WorkspaceID
	// Err is the function's; a *PanicError if it panicked.
	Err error
	// Duration is how long the work took, its waiting for connections included.
	Duration time.Duration
}

// What ended a ForEach before its time; the Cause of a *ForEachError.
var (
	ErrCanaryFailed    = errors.New("a canary failed, so nothing else was begun")
	ErrTooManyFailures = errors.New("as many failed as StopAfter allows, so nothing else was begun")
	ErrStopped         = errors.New("it was told to stop")
)

// ForEachError says that the work did not succeed on all workspaces. It wraps the Cause and
// the errors of those that failed.
type ForEachError struct {
	Workspaces int // how many there were
	// Failed are the results that have an error, in the order in which they ended.
	Failed []WorkspaceResult
	// NotBegun are the workspaces that nothing was done for, in the order of the call.
	NotBegun []model.WorkspaceID
	// Cause is why some were not begun, or were cancelled: ErrCanaryFailed,
	// ErrTooManyFailures, ErrStopped, or the context's cause. nil if all were begun.
	Cause error
}

// failuresNamed keeps Error in one line of a log.
const failuresNamed = 3

func (e *ForEachError) Error() string {
	s := fmt.Sprintf("of %d workspaces %d failed and %d were not begun", e.Workspaces, len(e.Failed), len(e.NotBegun))
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	named := min(failuresNamed, len(e.Failed))
	for _, failed := range e.Failed[:named] {
		s += fmt.Sprintf("; workspace %q: %v", failed.ID, failed.Err)
	}
	if more := len(e.Failed) - named; more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// Unwrap gives the Cause and the failures to errors.Is and errors.As.
func (e *ForEachError) Unwrap() []error {
	all := make([]error, 0, 1+len(e.Failed))
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	for _, failed := range e.Failed {
		all = append(all, failed.Err)
	}
	return all
}

// ForEach calls f for each of the workspaces, a few at a time in their order, and blocks
// until all those calls have returned. Each has a goroutine of its own and a context of the
// batch class (see [Batch]), which ends with ctx or after opts.Timeout: with it f
// acquires, through any of the Workspace's methods, its DB included. A workspace that is
// paused, or whose dials back off, is waited for until then, and then fails for itself.
//
// A connection that f has acquired with its context and not released is given back when f
// ends, also when it panics: a panic is that workspace's failure, and loses no slot.
//
// When ctx is done, nothing more begins, and the contexts of the calls under way end. The
// error is a *ForEachError if not all succeeded. It wraps a *model.WorkspaceIDError for a
// bad id or one that comes twice, and then nothing was begun.
func (m *Manager) ForEach(
	ctx context.Context, ids []model.WorkspaceID, f func(context.Context, *Workspace) error, opts ForEachOptions,
) error {
	if opts.Concurrency < 0 || opts.Timeout < 0 || opts.Canary < 0 || opts.StopAfter < 0 {
		return fmt.Errorf("for each workspace: Concurrency %d, Timeout %v, Canary %d, StopAfter %d: each must be 0 or more",
			opts.Concurrency, opts.Timeout, opts.Canary, opts.StopAfter)
	}
	if err := m.distinct(ids); err != nil {
		return fmt.Errorf("for each workspace: %w", err)
	}
	if opts.Concurrency == 0 {
		share, err := m.batchShare(ctx)
		if err != nil {
			return fmt.Errorf("for each workspace: %w", err)
		}
		opts.Concurrency = share
	}
	work := forEach{ctx: ctx, opts: opts, call: func(id model.WorkspaceID) error { return m.work(ctx, id, opts.Timeout, f) }}
	work.run(ids)
	if len(work.failed) == 0 && work.begun == len(ids) {
		return nil
	}
	return &ForEachError{Workspaces: len(ids), Failed: work.failed, NotBegun: slices.Clone(ids[work.begun:]), Cause: work.cause}
}

// distinct: the second work on a workspace would come as a surprise, and at the same time
// as the first.
func (m *Manager) distinct(ids []model.WorkspaceID) error {
	seen := make(map[model.WorkspaceID]struct{}, len(ids))
	for _, id := range ids {
		if err := m.valid(id); err != nil {
			return err
		}
		if _, twice := seen[id]; twice {
			return &model.WorkspaceIDError{ID: id, Reason: "it is there twice"}
		}
		seen[id] = struct{}{}
	}
	return nil
}

// batchShare is how many connections batch work may have.
func (m *Manager) batchShare(ctx context.Context) (int, error) {
	stats, err := m.Stats(ctx)
	if err != nil {
		return 0, err
	}
	return stats.Workspaces.BatchBudget, nil
}

// forEach is one run of ForEach. All of it belongs to the goroutine that called that.
type forEach struct {
	ctx  context.Context
	opts ForEachOptions
	call func(model.WorkspaceID) error

	begun, succeeded int
	failed           []WorkspaceResult
	cause            error // why nothing more begins
}

func (w *forEach) run(ids []model.WorkspaceID) {
	ended := make(chan WorkspaceResult, min(w.opts.Concurrency, len(ids)))
	running := 0
	for {
		if w.begun < len(ids) || w.ctx.Err() != nil {
			w.mayBegin()
		}
		for w.cause == nil && w.begun < w.upTo(len(ids)) && running < w.opts.Concurrency {
			id := ids[w.begun]
			w.begun++
			running++
			go func() {
				began, err := time.Now(), errExit // until the call returns, if it does
				defer func() { ended <- WorkspaceResult{ID: id, Err: err, Duration: time.Since(began)} }()
				err = w.call(id)
			}()
		}
		if running == 0 {
			return
		}
		result := <-ended
		running--
		if result.Err == nil {
			w.succeeded++
		} else {
			w.failed = append(w.failed, result)
		}
		if w.opts.Done != nil {
			w.opts.Done(result)
		}
	}
}

// upTo is how many may have begun by now.
func (w *forEach) upTo(all int) int {
	if w.succeeded < w.opts.Canary {
		return min(w.opts.Canary, all)
	}
	return all
}

// mayBegin finds out whether anything ends the run.
func (w *forEach) mayBegin() {
	stopped := false
	select {
	case <-w.opts.Stop:
		stopped = true
	default:
	}
	switch {
	case w.cause != nil:
	case w.ctx.Err() != nil:
		w.cause = context.Cause(w.ctx)
	case stopped:
		w.cause = ErrStopped
	case len(w.failed) > 0 && w.succeeded < w.opts.Canary:
		w.cause = ErrCanaryFailed
	case w.opts.StopAfter > 0 && len(w.failed) >= w.opts.StopAfter:
		w.cause = ErrTooManyFailures
	}
}

// work calls f for one workspace.
func (m *Manager) work(ctx context.Context, id model.WorkspaceID, timeout time.Duration, f func(context.Context, *Workspace) error) error {
	stop := context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, stop = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the %v for one workspace are over: %w", timeout, context.DeadlineExceeded))
	}
	defer stop() // after the release: database/sql then has nothing left to roll back
	class := &batchWork{held: make(chan []*Conn, 1)}
	class.held <- nil
	defer class.release()
	ctx = context.WithValue(ctx, batchKey{}, class)
	return recovered(func() error { return f(ctx, m.Workspace(id)) })
}
