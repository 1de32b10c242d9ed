package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

func TestRecorderCountsWhatManyAdd(t *testing.T) {
	const workers, each = 50, 200
	r := startRecorder()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := range each {
				o := outcome{lent: true, acquired: time.Millisecond, took: 3 * time.Millisecond}
				switch i % 4 {
				case 1:
					o.kind, o.err = cancelled, context.Canceled
				case 2:
					o.kind, o.err, o.lent = limitReached, errors.New("the first"), false
				}
				r.add(o)
				if i == each/2 {
					if s := r.sofar(); s.requests < s.ok {
						t.Errorf("so far %+v", s)
					}
				}
			}
		})
	}
	all.Wait()
	got := r.stop()
	const total = workers * each
	if got.requests != total || got.ok != total/2 || got.errors[cancelled] != total/4 || got.errors[limitReached] != total/4 {
		t.Errorf("%+v", got.tally)
	}
	if got.failed() != total/4 {
		t.Errorf("%d failed", got.failed())
	}
	if len(got.examples) != 1 || got.examples[limitReached] != "the first" {
		t.Errorf("examples %v", got.examples)
	}
	if got.request.Count() != total/2 || got.acquire.Count() != total*3/4 {
		t.Errorf("%d latencies, %d of acquires", got.request.Count(), got.acquire.Count())
	}
	if p := got.request.Milliseconds(99); p < 2.99 || p > 3.01 {
		t.Errorf("p99 is %v ms", p)
	}
	if after := r.sofar(); after.requests != total {
		t.Errorf("after its end: %+v", after)
	}
}

func TestKindOf(t *testing.T) {
	cancelledQuery := serverError("57014")
	for _, test := range []struct {
		err     error
		cancels bool
		want    errorKind
	}{
		{context.Canceled, true, cancelled},
		{cancelledQuery, true, cancelled},
		{context.Canceled, false, otherFailure},
		{cancelledQuery, false, sqlFailed},
		{serverError("40001"), true, sqlFailed},
		{&model.ConnectionLimitError{Cause: context.DeadlineExceeded}, false, limitReached},
		{&model.DialError{Err: cancelledQuery}, true, dialFailed},
		{model.ErrDialing, false, dialFailed},
		{context.DeadlineExceeded, false, timedOut},
		{model.ErrAcquireTimeout, false, timedOut},
		{fmt.Errorf("%w: whose", errWrongWorkspace), true, wrongWorkspace},
		{errors.New("?"), false, otherFailure},
	} {
		if got := kindOf(fmt.Errorf("request: %w", test.err), test.cancels); got != test.want {
			t.Errorf("%v (cancels: %v) is %q, want %q", test.err, test.cancels, got, test.want)
		}
	}
}

// serverError is an error with a SQLSTATE, as pgx's.
type serverError string

func (e serverError) Error() string    { return "the server said " + string(e) }
func (e serverError) SQLState() string { return string(e) }
