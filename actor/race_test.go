package actor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// hasty is a dialer with tiny random latencies in real time. It counts its
// connections as the server would: from the begin of Dial to the end of Close.
type hasty struct {
	t                       *testing.T
	budget                  int64
	open                    atomic.Int64
	dials, failures, closes atomic.Int64
	conns                   chan *hastyConn // all of them
	// cancels holds who acquires a workspace now, so that a release can cancel
	// exactly the waiter that it may serve.
	cancels [workspaces]atomic.Pointer[context.CancelFunc]
}

const workspaces = 5

type hastyConn struct {
	server    *hasty
	workspace model.WorkspaceID
	held      atomic.Bool
	closes    atomic.Int32
}

// dawdle lets others run for a tiny random while.
func dawdle(ctx context.Context) {
	switch n := rand.IntN(100); {
	case n < 40:
	case n < 80:
		for range n {
			runtime.Gosched()
		}
	default:
		wait, cancel := context.WithTimeout(ctx, time.Duration(n)*2*time.Microsecond)
		defer cancel()
		<-wait.Done()
	}
}

func (h *hasty) Dial(ctx context.Context, id model.WorkspaceID) (actor.Conn, error) {
	h.dials.Add(1)
	if n := h.open.Add(1); n > h.budget {
		h.t.Errorf("%d connections are open, the budget is %d", n, h.budget)
	}
	dawdle(ctx)
	n := rand.IntN(100)
	if n < 2 || n < 50 && ctx.Err() != nil {
		h.open.Add(-1)
		h.failures.Add(1)
		return nil, failure{model.FailureKind(rand.IntN(4))}
	}
	c := &hastyConn{server: h, workspace: id}
	select {
	case h.conns <- c:
	default:
		h.t.Error("more connections than this test keeps an account of")
	}
	if n >= 98 {
		return c, failure{model.Transient} // and c is left over
	}
	return c, nil
}

func (c *hastyConn) Close(model.CloseReason) {
	if c.held.Load() {
		c.server.t.Error("a connection was closed under its lease")
	}
	dawdle(background)
	c.closes.Add(1)
	c.server.closes.Add(1)
	c.server.open.Add(-1)
}

// caller is one that acquires and releases at random.
type caller struct {
	server          *hasty
	supervisor      *actor.Supervisor
	grants, doubles int // leases it had, and those of them it released twice
}

// round is one acquire. It proves that the connection is the caller's own and of
// its workspace.
func (c *caller) round() error {
	i := rand.IntN(workspaces)
	id := model.WorkspaceID(fmt.Sprintf("w%d", i))
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	var wait actor.Wait
	switch rand.IntN(8) {
	case 0:
		go cancel()
	case 1, 2:
		if p := &c.server.cancels[i]; p.CompareAndSwap(nil, &cancel) {
			defer p.CompareAndSwap(&cancel, nil)
		}
	case 3:
		time.AfterFunc(time.Duration(rand.IntN(300))*time.Microsecond, cancel)
	case 4, 5:
		wait.AtMost = time.Duration(1+rand.IntN(1500)) * time.Microsecond
	case 6:
		wait.NoWait = true
	}
	// It dawdles between the end of ctx and its Cancel: time for a grant to win.
	late := &lateCancel{Context: ctx, do: func() { dawdle(background) }}
	l, err := c.supervisor.Acquire(late, first, id, wait)
	if err != nil {
		return c.refused(err, id)
	}
	c.grants++
	conn := l.Conn().(*hastyConn)
	if conn.workspace != id {
		return fmt.Errorf("a lease for %s is of a connection of %s", id, conn.workspace)
	}
	if !conn.held.CompareAndSwap(false, true) {
		return errors.New("a connection is on two leases")
	}
	dawdle(background)
	if conn.closes.Load() > 0 {
		return errors.New("a connection was closed under its lease")
	}
	conn.held.Store(false)
	if other := c.server.cancels[i].Load(); other != nil && rand.IntN(2) == 0 {
		defer (*other)()
	} else if other != nil {
		go (*other)()
	}
	l.Release(core.Health(max(0, rand.IntN(60)-57)))
	if rand.IntN(20) == 0 {
		l.Release(core.Lost)
		c.doubles++
	}
	return nil
}

// refused lets a refusal pass, unless it means another workspace or the end.
func (c *caller) refused(err error, id model.WorkspaceID) error {
	var limit *model.ConnectionLimitError
	var dial *model.DialError
	switch {
	case errors.Is(err, model.ErrClosed):
		return err
	case errors.As(err, &limit) && limit.WorkspaceID != id, errors.As(err, &dial) && dial.WorkspaceID != id,
		!strings.Contains(err.Error(), strconv.Quote(string(id))):
		return fmt.Errorf("an acquire of %s got the refusal of another: %w", id, err)
	}
	return nil
}

// disturb evicts, pauses, changes the limits and asks for stats until stop is
// closed.
func (h *hasty) disturb(s *actor.Supervisor, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		id := model.WorkspaceID(fmt.Sprintf("w%d", rand.IntN(workspaces)))
		switch rand.IntN(4) {
		case 0:
			_, _ = s.Evict(background, first, id)
		case 1:
			ctx, cancel := context.WithTimeout(background, time.Millisecond)
			_, _ = s.Pause(ctx, first, id)
			cancel()
			_ = s.Resume(background, first, id)
		case 2:
			_ = s.SetLimits(background, core.SetLimits{Budget: int(h.budget) - rand.IntN(3), PerWorkspace: 1 + rand.IntN(3)})
		case 3:
			if st, err := s.Stats(background); err == nil && (st.Saturation < 0 || st.Saturation > 1) {
				h.t.Errorf("saturation is %v", st.Saturation)
			}
		}
		dawdle(background)
	}
}

// startHasty makes lifetimes short; so short that there are no seats, or not.
func startHasty(t *testing.T, seats bool) (*hasty, *actor.Supervisor) {
	limits := few(5, 3, withBackoff(50*time.Microsecond, time.Millisecond), withIdleTime(20*time.Millisecond))
	limits.Patience, limits.CloseGrace, limits.ProbeAfter = 100*time.Microsecond, time.Millisecond, time.Millisecond
	limits.MaxDialing, limits.MaxLifetime = 3, 50*time.Millisecond
	if seats {
		limits.MaxLifetime = 200 * time.Millisecond
	}
	h := &hasty{t: t, budget: 5, conns: make(chan *hastyConn, 1_000_000)}
	return h, actor.Start(actor.Share{Limits: limits, Dialer: h})
}

// settled checks the account after a drain.
func (h *hasty) settled() {
	close(h.conns)
	for c := range h.conns {
		if n := c.closes.Load(); n != 1 {
			h.t.Errorf("a connection of %s was closed %d times", c.workspace, n)
		}
	}
	if d, f, c := h.dials.Load(), h.failures.Load(), h.closes.Load(); d != f+c || h.open.Load() != 0 {
		h.t.Errorf("%d dials, %d failures and %d closes leave %d open", d, f, c, h.open.Load())
	}
	goleak.VerifyNone(h.t)
}

const callers = 64

func TestThousandsOfCancelsRaceGrantsAndReleases(t *testing.T) {
	t.Run("with seats", func(t *testing.T) { thousandsOfCancels(t, true) })
	t.Run("without seats", func(t *testing.T) { thousandsOfCancels(t, false) })
}

func thousandsOfCancels(t *testing.T, seats bool) {
	h, s := startHasty(t, seats)
	stop, undisturbed := make(chan struct{}), make(chan struct{})
	go func() {
		h.disturb(s, stop)
		close(undisturbed)
	}()
	var grants, doubles atomic.Int64
	for _, err := range gather(callers, func(int) error {
		c := caller{server: h, supervisor: s}
		for range 400 {
			if err := c.round(); err != nil {
				return err
			}
		}
		grants.Add(int64(c.grants))
		doubles.Add(int64(c.doubles))
		return nil
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-undisturbed
	// The mailbox is first in, first out: all Releases came before this question.
	st, err := s.Stats(background)
	if err != nil {
		t.Fatal(err)
	}
	share := st.Shares[first]
	c := share.Counters
	if share.Waiting != 0 || share.InUse != 0 {
		t.Errorf("nobody acquires, but the counts are %+v", share.Counts)
	}
	if c.Acquires != c.Grants()+c.Rejects || c.Grants() < uint64(grants.Load()) {
		t.Errorf("%d acquires had %d grants and %d rejects; %d leases", c.Acquires, c.Grants(), c.Rejects, grants.Load())
	}
	if c.StaleMessages != uint64(doubles.Load()) {
		t.Errorf("%d stale messages, but %d leases were released twice", c.StaleMessages, doubles.Load())
	}
	if err := s.Drain(background); err != nil {
		t.Error(err)
	}
	t.Logf("%d acquires, %d leases, %d given back, %d dials, %d evictions",
		c.Acquires, grants.Load(), c.Grants()-uint64(grants.Load()), c.Dials, c.Evictions())
	h.settled()
}

func TestADrainAmongThousandsOfAcquiresLosesNothing(t *testing.T) {
	for i := range 20 {
		h, s := startHasty(t, i%2 == 0)
		stop, undisturbed := make(chan struct{}), make(chan struct{})
		go func() {
			h.disturb(s, stop)
			close(undisturbed)
		}()
		after := int64(rand.IntN(200))
		for _, err := range gather(callers, func(i int) error {
			c := caller{server: h, supervisor: s}
			if i%16 == 0 { // a drain as soon as so many have been dialed
				for h.dials.Load() < after {
					if err := c.round(); err != nil {
						break
					}
				}
				return s.Drain(background)
			}
			for range 30 {
				if err := c.round(); err != nil && !errors.Is(err, model.ErrClosed) {
					return err
				}
			}
			return nil
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		close(stop)
		<-undisturbed
		h.settled()
	}
}
