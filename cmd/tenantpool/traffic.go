package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// traffic sends requests from many workers.
type traffic struct {
	manager    *pools.Manager
	workspaces []model.WorkspaceID
	popularity stage.Popularity
	recorder   *recorder
}

// run blocks until ctx is done and the requests then under way have come to
// their own end.
func (t traffic) run(ctx context.Context, workers int) {
	var group errgroup.Group
	for range workers {
		group.Go(func() error {
			t.work(ctx, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
			return nil
		})
	}
	_ = group.Wait()
}

// work is one worker: one request after the other.
func (t traffic) work(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		id := t.workspaces[t.popularity.Pick(rng)]
		// The end of the demo is no reason to fail a request.
		o := t.request(context.WithoutCancel(ctx), id, rng)
		if errors.Is(o.err, model.ErrClosed) {
			return // an operator has drained the manager
		}
		t.recorder.add(o)
		if o.kind != "" && o.kind != cancelled {
			pause(ctx, afterFailure) // what fails at once should not fail all the faster
		}
	}
}

const (
	requestTimeout = 30 * time.Second
	afterFailure   = 50 * time.Millisecond
)

// request serves one request as a web handler would: acquire, work, release.
func (t traffic) request(ctx context.Context, id model.WorkspaceID, rng *rand.Rand) (o outcome) {
	began := time.Now()
	ctx, end := context.WithTimeout(ctx, requestTimeout)
	defer end()
	handler := pickHandler(rng)

	conn, err := t.manager.Acquire(ctx, id)
	if err == nil {
		o.lent, o.acquired = true, time.Since(began)
		err = serve(ctx, handler, conn, id, rng)
		conn.Release()
	}
	o.took = time.Since(began)
	if err != nil {
		o.kind = kindOf(err, handler.cancels)
		o.err = fmt.Errorf("%s in workspace %q: %w", handler.name, id, err)
	}
	return o
}

// serve runs a handler on a connection that says itself whose it is.
func serve(ctx context.Context, h handler, conn *pools.Conn, id model.WorkspaceID, rng *rand.Rand) error {
	var found model.WorkspaceID
	if err := conn.QueryRow(ctx, "SELECT workspace FROM identity").Scan(&found); err != nil {
		return err
	}
	if found != id {
		return fmt.Errorf("%w: it is the database of %q", errWrongWorkspace, found)
	}
	return h.serve(ctx, conn, rng)
}

// errWrongWorkspace is what must never happen.
var errWrongWorkspace = errors.New("the connection reaches another workspace's database")

// errorKind is a key of the report's errors.
type errorKind string

const (
	cancelled      errorKind = "cancelled"
	wrongWorkspace errorKind = "wrong_workspace"
	limitReached   errorKind = "limit"
	dialFailed     errorKind = "dial"
	timedOut       errorKind = "timeout"
	sqlFailed      errorKind = "sql"
	otherFailure   errorKind = "other"
)

// queryCanceled is what the server says of a query that it was told to cancel.
const queryCanceled = "57014"

// kindOf sorts a request's error. What wraps a context's end may be about more
// than that, so it is asked last.
func kindOf(err error, cancels bool) errorKind {
	var limit *model.ConnectionLimitError
	var dial *model.DialError
	switch {
	case errors.Is(err, errWrongWorkspace):
		return wrongWorkspace
	case errors.As(err, &limit):
		return limitReached
	case errors.As(err, &dial), errors.Is(err, model.ErrDialing):
		return dialFailed
	case cancels && (errors.Is(err, context.Canceled) || sqlState(err) == queryCanceled):
		return cancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, model.ErrAcquireTimeout):
		return timedOut
	case sqlState(err) != "":
		return sqlFailed
	}
	return otherFailure
}

// pause ends early when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
