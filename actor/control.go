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
	s.send(envelope{share: s.shares[share], message: m, operation: done})
	n, err := await(ctx, s, done, "not all of its connections are closed yet")
	if err != nil {
		return 0, fmt.Errorf("%s workspace %q: %w", verb, id, err)
	}
	return n, nil
}

// await waits for the answer to an envelope. An answer counts even if ctx or the
// supervisor ends at the same moment; without one, pending says what ctx did not
// wait for.
func await[T any](ctx context.Context, s *Supervisor, answers <-chan T, pending string) (answer T, err error) {
	select {
	case answer = <-answers:
		return answer, nil
	case <-s.stopped:
	case <-ctx.Done():
		err = fmt.Errorf("%s: %w", pending, ended(ctx))
	}
	select {
	case <-s.stopped: // and with it every connection is closed
		err = model.ErrClosed
	default:
	}
	select {
	case answer = <-answers:
		return answer, nil
	default:
		return answer, err
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
	answers := make(chan Stats, 1)
	s.send(envelope{stats: answers})
	st, err := await(ctx, s, answers, "the supervisor has not answered")
	if err != nil {
		return Stats{}, fmt.Errorf("stats: %w", err)
	}
	for i := range st.Shares {
		st.Shares[i].SortActive() // here, not at the supervisor's expense
	}
	return st, nil
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
	}
	open := s.remaining()
	if open.Open() == 0 { // it has stopped meanwhile, or does so now
		<-s.stopped
		return nil
	}
	return fmt.Errorf("drain: %d connections are in use, %d idle, %d dialing, %d closing; "+
		"those in use close when they are released, and the draining goes on: %w",
		open.InUse, open.Idle, open.Dialing, open.Closing, ended(ctx))
}

// remaining is what keeps a drain from its end.
func (s *Supervisor) remaining() (open model.Counts) {
	st, _ := s.Stats(context.Background()) // fails when it has stopped: nothing is open
	for _, sh := range st.Shares {
		open.InUse += sh.InUse
		open.Idle += sh.Idle
		open.Dialing += sh.Dialing
		open.Closing += sh.Closing
	}
	return open
}
