package actor

import (
	"context"
	"fmt"

	"github.com/tenantpool/tenantpool/model"
)

// Evict closes the workspace's idle connections and waits until the server has
// let go of them; it returns how many. If ctx is done first they close all the
// same.
func (s *Supervisor) Evict(ctx context.Context, share ShareIndex, id model.WorkspaceID) (closed int, err error) {
	op := model.OperationID(s.lastOp.Add(1))
	return s.operate(ctx, share, model.Evict{Operation: op, Workspace: id}, "evict", id)
}

// Pause keeps new acquires of the workspace waiting, and waits until its leases
// have come home and the server has let go of all its connections; it returns
// how many. If ctx is done first the workspace is paused all the same.
func (s *Supervisor) Pause(ctx context.Context, share ShareIndex, id model.WorkspaceID) (closed int, err error) {
	op := model.OperationID(s.lastOp.Add(1))
	return s.operate(ctx, share, model.Pause{Operation: op, Workspace: id}, "pause", id)
}

func (s *Supervisor) operate(ctx context.Context, share ShareIndex, m model.Message, verb string, id model.WorkspaceID) (int, error) {
	done := make(chan int, 1)
	if !s.send(envelope{share: s.shares[share], message: m, operation: done}) {
		return 0, fmt.Errorf("%s workspace %q: %w", verb, id, model.ErrClosed)
	}
	select {
	case n := <-done:
		return n, nil
	case <-s.stopped: // and with it every connection is closed
		select {
		case n := <-done:
			return n, nil
		default:
			return 0, fmt.Errorf("%s workspace %q: %w", verb, id, model.ErrClosed)
		}
	case <-ctx.Done():
		return 0, fmt.Errorf("%s workspace %q: its connections are still closing: %w", verb, id, ended(ctx))
	}
}

// Resume ends a Pause; the waiters are served again.
func (s *Supervisor) Resume(share ShareIndex, id model.WorkspaceID) {
	s.send(envelope{share: s.shares[share], message: model.Resume{Workspace: id}})
}

// SetLimits changes a share's budget and cap. What is idle beyond them closes at
// once, what is lent when it comes home.
func (s *Supervisor) SetLimits(share ShareIndex, budget, perWorkspace int) {
	s.send(envelope{share: s.shares[share], message: model.SetLimits{Budget: budget, PerWorkspace: perWorkspace}})
}

// Stats returns a copy of the state of all shares at one moment. It waits for
// the supervisor's answer, but no longer than ctx.
func (s *Supervisor) Stats(ctx context.Context) (Stats, error) {
	stats := make(chan Stats, 1)
	if !s.send(envelope{stats: stats}) {
		return Stats{}, fmt.Errorf("stats: %w", model.ErrClosed)
	}
	select {
	case st := <-stats:
		return st, nil
	case <-s.stopped:
		return Stats{}, fmt.Errorf("stats: %w", model.ErrClosed)
	case <-ctx.Done():
		return Stats{}, fmt.Errorf("stats: the supervisor has not answered: %w", ended(ctx))
	}
}

// Drain stops lending: waiters are refused with model.ErrClosed, dials are
// called off, connections close as they come home. It waits until all shares are
// empty and the supervisor has stopped. If ctx is done first it returns an error
// that says what is still open; the draining goes on, and Drain may be called
// again to wait for its end.
func (s *Supervisor) Drain(ctx context.Context) error {
	s.send(envelope{drain: true})
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain: %s: %w", s.remaining(), ended(ctx))
	}
}

// remaining says what keeps a drain from its end.
func (s *Supervisor) remaining() string {
	st, err := s.Stats(context.Background())
	if err != nil {
		return "nothing is left"
	}
	inUse, others := 0, 0
	for _, sh := range st.Shares {
		inUse += sh.InUse
		others += sh.Open() - sh.InUse
	}
	return fmt.Sprintf("%d connections are still lent and %d are closing; they close when they are released", inUse, others)
}
