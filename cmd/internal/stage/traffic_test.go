package stage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// The server's own view is the judge.
func TestTrafficServesEachWorkspaceFromItsDatabase(t *testing.T) {
	s, con := setStage(t, Options{Workspaces: 12, Budget: 20, Workers: 8, Tables: Shop})
	watch, _, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	manager, err := pools.Open(t.Context(), s.Config, pools.WithLogger(con.Logger()))
	if err != nil {
		t.Fatal(err)
	}
	traffic := NewTraffic(manager, s, 1.2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { // a condition, and the test's own deadline
		for sent, _ := traffic.SoFar(); sent < 400; sent, _ = traffic.SoFar() {
			Pause(ctx, time.Millisecond)
		}
		stop()
	}()
	got := traffic.Run(ctx, 8)
	if got.Requests < 400 || got.Failed() != 0 || got.Errors[Cancelled] == 0 || got.OK+got.Errors[Cancelled] != got.Requests {
		t.Errorf("%d requests, %d ok, errors %v, such as %v", got.Requests, got.OK, got.Errors, got.ErrorExamples)
	}
	if sent, failed := traffic.SoFar(); sent != got.Requests || failed != 0 {
		t.Errorf("so far %d and %d failed, of %d", sent, failed, got.Requests)
	}
	// Its databases change places: every request notices.
	slices.Reverse(s.Databases)
	for range 20 {
		if o := NewTraffic(manager, s, 0).request(t.Context(), 0, rand.New(rand.NewPCG(1, 1))); o.kind != WrongWorkspace {
			t.Errorf("in another database: %q, %v", o.kind, o.err)
		}
	}
	if err := manager.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := UntilGone(t.Context(), watch, 0); err != nil || watch.Peak() > 20 || s.Refusals() != 0 {
		t.Errorf("%v; at most %d connections, %d refused", err, watch.Peak(), s.Refusals())
	}
}

func TestATallyAddsUp(t *testing.T) {
	got := Tally{Failures: NewFailures(), Request: NewHistogram(), Acquire: NewHistogram()}
	for i := range 400 {
		o := outcome{lent: true, acquired: time.Millisecond, took: 3 * time.Millisecond}
		switch i % 4 {
		case 1:
			o.kind, o.err = Cancelled, context.Canceled
		case 2:
			o.kind, o.err, o.lent = LimitReached, fmt.Errorf("error %d", i), false
		}
		got.add(o)
	}
	if got.Requests != 400 || got.OK != 200 || got.Errors[Cancelled] != 100 || got.Errors[LimitReached] != 100 || got.Failed() != 100 {
		t.Errorf("%+v", got)
	}
	if len(got.ErrorExamples) != 1 || got.ErrorExamples[LimitReached] != "error 2" {
		t.Errorf("examples %v", got.ErrorExamples)
	}
	if p := got.Request.Milliseconds(99); p < 2.99 || p > 3.01 || got.Acquire.counts.TotalCount() != 300 {
		t.Errorf("p99 is %v ms, %d acquires", p, got.Acquire.counts.TotalCount())
	}
}

func TestKindOf(t *testing.T) {
	full := serverError(pgerrcode.TooManyConnections)
	for _, test := range []struct {
		err  error
		want string
	}{
		{serverError("40001"), "40001"},
		{&model.ConnectionLimitError{Cause: context.DeadlineExceeded}, LimitReached},
		{&model.ConnectionLimitError{Cause: &model.DialError{Err: full}}, pgerrcode.TooManyConnections},
		{&model.ConnectionLimitError{Cause: errors.New("?")}, LimitReached},
		{&model.DialError{Err: errors.New("?")}, DialFailed},
		{model.ErrDialing, DialFailed},
		{context.DeadlineExceeded, TimedOut},
		{model.ErrAcquireTimeout, TimedOut},
		{fmt.Errorf("%w: whose", ErrWrongWorkspace), WrongWorkspace},
		{errors.New("?"), OtherFailure},
	} {
		if got := KindOf(fmt.Errorf("request: %w", test.err)); got != test.want {
			t.Errorf("%v is %q, want %q", test.err, got, test.want)
		}
	}
	if got := KindOf(errors.New("sql: database is closed")); got != PoolClosed {
		t.Errorf("%q", got)
	}
}

// serverError is an error with a SQLSTATE, as pgx's.
type serverError string

func (e serverError) Error() string    { return "the server said " + string(e) }
func (e serverError) SQLState() string { return string(e) }

func TestFailuresOfManyAddUp(t *testing.T) {
	all := NewFailures()
	for range 3 {
		one := NewFailures()
		one.Note(LimitReached, errors.New("too many"))
		one.Note(Cancelled, context.Canceled)
		all.Add(one)
	}
	if all.Total() != 6 || all.Errors[LimitReached] != 3 || len(all.ErrorExamples) != 1 || all.ErrorExamples[LimitReached] != "too many" {
		t.Errorf("%+v", all)
	}
}
