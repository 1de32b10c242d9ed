package property_tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// historyRun is one supervisor with real goroutines, in real time, and what they
// saw. Each writes an account of its own, so that writing brings no order into
// what they do.
type historyRun struct {
	begin time.Time // the one clock
	conns atomic.Int64
	// seated counts the leases that came from a seat for certain.
	seated atomic.Int64
	// server gets the dials and the closes.
	server chan porcupine.Operation
}

// historyConn is a connection to nothing.
type historyConn struct {
	run *historyRun
	op  historyOp
}

func (r *historyRun) now() int64 { return int64(time.Since(r.begin)) }

func (r *historyRun) Dial(ctx context.Context, id model.WorkspaceID) (actor.Conn, error) {
	from := r.now()
	linger(100)
	if ctx.Err() != nil || rand.IntN(20) == 0 {
		return nil, actorFailure{model.FailureKind(rand.IntN(int(model.ServerFull) + 1))}
	}
	c := &historyConn{r, historyOp{conn: int(r.conns.Add(1)), workspace: id}}
	r.server <- at(from, r.now(), 0, c.did(opens))
	return c, nil
}

func (c *historyConn) Close(model.CloseReason) {
	now := c.run.now()
	c.run.server <- at(now, now, 0, c.did(ends))
	linger(100)
}

func (c *historyConn) did(kind historyKind) historyOp {
	o := c.op
	o.kind = kind
	return o
}

// linger lets others run for a random while, in microseconds; often for none.
func linger(most int) {
	switch n := rand.IntN(4); n {
	case 0:
	case 1:
		time.Sleep(time.Duration(rand.IntN(most)) * time.Microsecond)
	default:
		for range rand.IntN(20) {
			runtime.Gosched()
		}
	}
}

const (
	historyCallers    = 10 // at most
	historyRequests   = 60
	historyWorkspaces = 4
	// historyTakes is when all must be done; it takes a tenth of a second.
	historyTakes = 20 * time.Second
)

// call is what one caller does, and its account.
func (r *historyRun) call(base context.Context, s *actor.Supervisor, caller int) (account []porcupine.Operation) {
	for range historyRequests {
		id := workspaceNames[min(rand.IntN(historyWorkspaces), rand.IntN(historyWorkspaces))] // some more often
		ctx, cancel := context.WithCancel(base)
		var wait actor.Wait
		switch rand.IntN(8) {
		case 0:
			go func() { linger(200); cancel() }()
		case 1:
			wait.AtMost = time.Duration(1+rand.IntN(500)) * time.Microsecond
		case 2:
			wait.NoWait = true
		}
		from := r.now()
		l, seated := s.AcquireSeated(actorShare, id)
		var err error
		if seated {
			r.seated.Add(1)
		} else {
			l, err = s.Acquire(ctx, actorShare, id, wait)
		}
		to := r.now()
		cancel()
		if err != nil {
			continue
		}
		c := l.Conn().(*historyConn)
		account = append(account, at(from, to, caller, c.did(acquires)))
		linger(200)
		from = r.now()
		l.Release(core.Health(max(0, rand.IntN(60)-57)))
		account = append(account, at(from, r.now(), caller, c.did(releases)))
		if rand.IntN(20) == 0 {
			l.Release(core.Lost) // does nothing, so it is no operation
		}
		linger(50)
	}
	return account
}

// disturb is what an operator does until the callers are done, and the changes of
// the limits, which the models know of.
func (r *historyRun) disturb(s *actor.Supervisor, l model.Limits, done <-chan struct{}) (account []porcupine.Operation, err error) {
	for {
		select {
		case <-done:
			return account, err
		default:
		}
		ctx := context.Background()
		id := workspaceNames[rand.IntN(historyWorkspaces)]
		var failed error
		switch rand.IntN(7) {
		case 0:
			_, failed = s.Evict(ctx, actorShare, id)
		case 6:
			_, failed = s.Renew(ctx, actorShare, id)
		case 1:
			pausing, cancel := context.WithTimeout(ctx, 200*time.Microsecond)
			_, _ = s.Pause(pausing, actorShare, id)
			cancel()
			failed = s.Resume(ctx, actorShare, id)
		case 2, 3:
			o := historyOp{kind: limits, budget: 1 + rand.IntN(l.Budget), cap: 1 + rand.IntN(l.PerWorkspace)}
			from := r.now()
			failed = s.SetLimits(ctx, core.SetLimits{Budget: o.budget, PerWorkspace: o.cap})
			account = append(account, at(from, r.now(), historyCallers+1, o))
		default:
			_, failed = s.Stats(ctx)
		}
		err = errors.Join(err, failed)
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	}
}

// historyOf lets the callers loose on a new supervisor, and returns what all saw,
// also when somebody waited until the end.
func historyOf(t *testing.T, l model.Limits, disturbed bool) (history []porcupine.Operation, seated int64) {
	t.Helper()
	r := &historyRun{begin: time.Now(), server: make(chan porcupine.Operation, 4*historyCallers*historyRequests)}
	s := actor.Start(actor.Share{Limits: l, Dialer: r})
	var all sync.WaitGroup
	accounts := make([][]porcupine.Operation, historyCallers+2)
	base, stop := context.WithTimeout(context.Background(), historyTakes)
	defer stop()
	for i := range 2 + rand.IntN(historyCallers-1) {
		all.Go(func() { accounts[i] = r.call(base, s, i+1) })
	}
	done := actorDone(&all)
	if disturbed {
		var err error
		if accounts[historyCallers], err = r.disturb(s, l, done); err != nil {
			t.Error(err)
		}
	}
	<-done
	if base.Err() != nil {
		t.Error("somebody waited for ever")
	}
	ending, stop := context.WithTimeout(context.Background(), historyTakes)
	defer stop()
	if err := s.Drain(ending); err != nil {
		t.Error(err)
	}
	close(r.server)
	for op := range r.server {
		accounts[historyCallers+1] = append(accounts[historyCallers+1], op)
	}
	for _, account := range accounts {
		history = append(history, account...)
	}
	return history, r.seated.Load()
}

// What callers with random delays and cancels see can be explained by one lock for
// each connection and one counter for each limit, with seats and without. Many short
// histories are better than a long one: the check of each takes little, and what
// went wrong is near its end.
func TestWhatCallersSeeIsWhatLocksAndCountersAllow(t *testing.T) {
	for _, test := range []struct{ seats, disturbed bool }{{true, false}, {true, true}, {false, false}, {false, true}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			l := model.Limits{
				MaxWaiters: 1000, MaxWaitersPerWorkspace: 1000, MaxDialing: 3,
				Patience: 100 * time.Microsecond, BackoffMin: 20 * time.Microsecond, BackoffMax: 200 * time.Microsecond,
				CloseGrace: time.Millisecond, ProbeAfter: 500 * time.Microsecond,
			}
			if !test.seats {
				l.MaxIdleTime = 9 * time.Millisecond // what lies in a seat would have to be looked at too often
			}
			begin, histories, operations, allSeated, checking := time.Now(), 0, 0, int64(0), time.Duration(0)
			for time.Since(begin) < time.Second && !t.Failed() {
				// Where there is enough for all, seats are used; where not, all wait.
				l.Budget = 2 + rand.IntN(6)
				l.PerWorkspace = 1 + rand.IntN(min(3, l.Budget))
				history, seated := historyOf(t, l, test.disturbed)
				histories++
				allSeated += seated
				operations += len(history)
				checked := time.Now()
				if wrong := wrongIn(history, l.Budget, l.PerWorkspace); wrong != "" {
					t.Error(wrong)
				}
				checking += time.Since(checked)
			}
			if test.seats != (allSeated > 0) {
				t.Errorf("%d leases came from a seat", allSeated)
			}
			t.Logf("%d histories of %d operations, %d from seats; checking took %v of %v", histories, operations, allSeated, checking, time.Since(begin))
		})
	}
}
