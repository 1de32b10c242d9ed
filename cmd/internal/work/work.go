// Package work does the same in each of many workspaces, and in each of them once: SQL, or
// a command of the user's. A journal remembers what was done, so that a run that was
// interrupted or killed can be resumed.
package work

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Options say what is done where.
type Options struct {
	Workspaces []model.WorkspaceID
	Task       Task
	// Journal may be nil.
	Journal *Journal
	// RetryUncertain does it again where nobody knows whether it was done.
	RetryUncertain bool

	// See pools.ForEachOptions.
	Concurrency, Canary, StopAfter int
	Timeout                        time.Duration
	Stop                           <-chan struct{}
	// Done is told of each workspace whose work has ended or was settled, one after the
	// other.
	Done func(Result)
}

// Task is what is done in each workspace.
type Task interface {
	// Sum names what is done, in the journal.
	Sum() string
	// fits refuses a server that it cannot be done on.
	fits(server) error
	// do does it once. Before anything of it can last it says so in the journal.
	do(ctx context.Context, r *run, w *pools.Workspace) Result
}

// Result is what became of one workspace. Its State is Done, Failed, Uncertain or NotBegun.
type Result struct {
	Workspace model.WorkspaceID `json:"workspace"`
	State     State             `json:"state"`
	// Error says why it is not Done.
	Error string `json:"error,omitempty"`
	// Attempts is how many connections it took until something could be done: more than 1
	// where one was lost before.
	Attempts int     `json:"attempts,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	// Output is the end of what a command wrote.
	Output string `json:"output,omitempty"`
	// Earlier: it was known from the journal.
	Earlier bool `json:"earlier,omitempty"`
}

// Summary is what became of all.
type Summary struct {
	// DoneEarlier are those of Done that the journal knew of at the start.
	Workspaces, Done, DoneEarlier, Failed, Uncertain int
	NotBegun                                         []model.WorkspaceID
	// Cause is why some were not begun: pools.ErrCanaryFailed, ErrTooManyFailures,
	// ErrStopped, or the context's. nil: all were.
	Cause error
}

// All tells whether it is done everywhere.
func (s Summary) All() bool { return s.Done == s.Workspaces }

func (s *Summary) add(r Result) {
	switch {
	case r.State == Done && r.Earlier:
		s.Done++
		s.DoneEarlier++
	case r.State == Done:
		s.Done++
	case r.State == Uncertain:
		s.Uncertain++
	default:
		s.Failed++
	}
}

// run is one run.
type run struct {
	Options
	manager *pools.Manager
	server  server
	// broken has room for one: why the journal cannot be written. Then halt lets nothing
	// more begin.
	broken chan error
	halt   context.CancelFunc
}

// Run does it in all workspaces, a few at once, and blocks until what it began has ended.
// When ctx is done, what is under way is cancelled. The error says why there was no run, or
// that the journal could not be kept; what became of the workspaces is in the summary.
func Run(ctx context.Context, m *pools.Manager, o Options) (Summary, error) {
	s := Summary{Workspaces: len(o.Workspaces)}
	r := &run{Options: o, manager: m, broken: make(chan error, 1)}
	var err error
	if r.server, err = askServer(ctx, m); err != nil {
		return s, err
	}
	if err := r.Task.fits(r.server); err != nil {
		return s, err
	}
	if err := o.Journal.begin(header{Sum: o.Task.Sum(), Server: r.server.system}); err != nil {
		return s, err
	}
	tell := func(result Result) {
		s.add(result)
		if o.Done != nil {
			o.Done(result)
		}
	}
	var todo []model.WorkspaceID
	for _, id := range o.Workspaces {
		if known, settled := r.settled(id); settled {
			tell(known)
		} else {
			todo = append(todo, id)
		}
	}
	stopping, halt := context.WithCancel(ctx)
	defer halt()
	r.halt = halt
	go func() {
		select {
		case <-o.Stop:
			halt()
		case <-stopping.Done():
		}
	}()
	results := make(map[model.WorkspaceID]*Result, len(todo))
	for _, id := range todo {
		results[id] = &Result{Workspace: id, State: Failed}
	}
	err = m.ForEach(ctx, todo, func(ctx context.Context, w *pools.Workspace) error {
		result := r.one(ctx, w)
		*results[w.ID()] = result
		if result.State != Done {
			return errors.New(result.Error)
		}
		return nil
	}, pools.ForEachOptions{
		Concurrency: o.Concurrency, Timeout: o.Timeout, StopAfter: o.StopAfter, Stop: stopping.Done(),
		Canary: max(0, o.Canary-s.DoneEarlier), // those were canaries enough
		Done: func(f pools.WorkspaceResult) {
			result := *results[f.ID]
			result.Seconds = f.Duration.Seconds()
			if result.Error == "" && f.Err != nil { // a panic
				result.Error = f.Err.Error()
			}
			tell(result)
		},
	})
	var notAll *pools.ForEachError
	switch {
	case errors.As(err, &notAll):
		s.NotBegun, s.Cause = notAll.NotBegun, notAll.Cause
	case err != nil:
		return s, err
	}
	select {
	case err := <-r.broken:
		return s, fmt.Errorf("%w: nothing more was begun", err)
	default:
		return s, nil
	}
}

// one does it in one workspace, unless a journal's open entry turns out to be a success.
func (r *run) one(ctx context.Context, w *pools.Workspace) Result {
	if open := r.Journal.last(w.ID()); open.State == Begun || open.State == Committing {
		if result, settled := r.settle(ctx, w.ID(), open); settled {
			return result
		}
	}
	result := r.Task.do(ctx, r, w)
	result.Workspace = w.ID()
	return result
}

// note writes into the journal. After an error nothing more is begun.
func (r *run) note(e entry) error {
	err := r.Journal.append(e)
	if err != nil {
		r.halt()
		select {
		case r.broken <- err:
		default: // it is known
		}
	}
	return err
}

// ended notes how it ended, and returns that.
func (r *run) ended(id model.WorkspaceID, state State, attempts int, err error) Result {
	result := Result{Workspace: id, State: state, Attempts: attempts}
	if err != nil {
		result.Error = err.Error()
	}
	_ = r.note(entry{Workspace: id, State: state, Error: result.Error}) // the run tells
	return result
}
