package actor

import (
	"context"
	"fmt"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// Evict closes the workspace's idle connections and waits until the server has
// let go of them; it returns how many. If ctx is done first they close all the
// same.
func (s *Supervisor) Evict(ctx context.Context, of ShareIndex, id model.WorkspaceID) (closed int, err error) {
	return await(ctx, s, about("evict", id), notAllClosed, s.begin(of, func(sh *share, op core.OperationID) {
		sh.ofWorkspace(id, s.recall)
		s.tell(sh, core.Evict{Operation: op, Workspace: id})
	}))
}

// Pause keeps new acquires of the workspace waiting, and waits until its leases
// have come home and the server has let go of all its connections; it returns
// how many. If ctx is done first the workspace is paused all the same.
func (s *Supervisor) Pause(ctx context.Context, of ShareIndex, id model.WorkspaceID) (closed int, err error) {
	return await(ctx, s, about("pause", id), notAllClosed, s.begin(of, func(sh *share, op core.OperationID) {
		s.notePause(sh, id, true)
		sh.ofWorkspace(id, s.makeStale)
		s.tell(sh, core.Pause{Operation: op, Workspace: id})
	}))
}

// Renew closes the workspace's idle connections now and those that are lent, or
// being dialed, when they come free: an Acquire that begins after it gets no
// connection that was there before. It waits until the server has let go of the
// idle ones, and returns how many; it does not wait for leases. If ctx is done
// first, the renewal is in force all the same.
func (s *Supervisor) Renew(ctx context.Context, of ShareIndex, id model.WorkspaceID) (closed int, err error) {
	return await(ctx, s, about("renew", id), notAllClosed, s.begin(of, func(sh *share, op core.OperationID) {
		s.publish(model.Event{Kind: model.EventRenewed, System: sh.system, Workspace: id})
		sh.ofWorkspace(id, s.makeStale)
		s.tell(sh, core.Renew{Operation: op, Workspace: id})
	}))
}

// RenewAll is Renew for all workspaces of all shares.
func (s *Supervisor) RenewAll(ctx context.Context) (closed int, err error) {
	done := make([]<-chan int, len(s.shares))
	for i := range s.shares {
		done[i] = s.begin(ShareIndex(i), func(sh *share, op core.OperationID) {
			s.publish(model.Event{Kind: model.EventRenewed, System: sh.system})
			sh.directory.all(s.makeStale)
			s.tell(sh, core.Renew{Operation: op, All: true})
		})
	}
	for _, each := range done {
		n, err := await(ctx, s, "renew all workspaces", notAllClosed, each)
		if err != nil {
			return 0, err
		}
		closed += n
	}
	return closed, nil
}

// begin starts an operation of a share's core; OperationDone answers it with the number
// closed.
func (s *Supervisor) begin(of ShareIndex, start func(*share, core.OperationID)) <-chan int {
	sh, done := s.shares[of], make(chan int, 1)
	s.send(do(func() {
		s.loop.lastOperation++
		sh.operations[s.loop.lastOperation] = done
		start(sh, s.loop.lastOperation)
	}))
	return done
}

const (
	// notAllClosed is what an operation has not waited for.
	notAllClosed = "not all of its connections are closed yet"
	// notAnswered is what a question has not waited for, and notDone a request that
	// will be carried out.
	notAnswered = "the supervisor has not answered"
	notDone     = "the supervisor has not answered, but it will do so"
)

// about says what was asked.
func about(verb string, id model.WorkspaceID) string { return fmt.Sprintf("%s workspace %q", verb, id) }

// Resume ends a Pause, and forgets the workspace's dial back-off. The waiters are
// served again when it returns, or soon if ctx is done first.
func (s *Supervisor) Resume(ctx context.Context, of ShareIndex, id model.WorkspaceID) error {
	_, err := ask(ctx, s, about("resume", id), notDone, func() bool { return s.resume(s.shares[of], id) })
	return err
}

// Retry forgets the workspace's dial back-off, as when its database was just
// created, so that it is dialed at once. A Pause is not ended by it.
func (s *Supervisor) Retry(ctx context.Context, of ShareIndex, id model.WorkspaceID) error {
	sh := s.shares[of]
	_, err := ask(ctx, s, about("retry", id), notDone, func() bool { return sh.state.Paused(id) || s.resume(sh, id) })
	return err
}

func (s *Supervisor) resume(sh *share, id model.WorkspaceID) bool {
	s.notePause(sh, id, false)
	s.tell(sh, core.Resume{Workspace: id})
	return true
}

// Paused tells whether the workspace is paused; after the supervisor has stopped
// nothing is.
func (s *Supervisor) Paused(of ShareIndex, id model.WorkspaceID) bool {
	paused, err := ask(context.Background(), s, "", "", func() bool { return s.shares[of].state.Paused(id) })
	return err == nil && paused
}

// Pauses is how many workspaces are paused. It does not ask the supervisor, and may be
// older than a Pause that has not returned yet.
func (s *Supervisor) Pauses(of ShareIndex) int { return int(s.shares[of].paused.Load()) }

// SetLimits changes the budgets and the caps of all shares, one for each in their
// order, at one moment: no Stats mix old limits and new ones. What is idle beyond
// them closes at once, what is lent when it comes home; SetLimits does not wait
// for that. If ctx is done first they will be set all the same. A supervisor that
// drains keeps the limits it has: then it is model.ErrClosed.
func (s *Supervisor) SetLimits(ctx context.Context, limits ...core.SetLimits) error {
	if len(limits) != len(s.shares) {
		return fmt.Errorf("set limits: %d limits for %d shares", len(limits), len(s.shares))
	}
	refused, err := ask(ctx, s, "set limits", notDone, func() error {
		if s.loop.draining > 0 {
			return fmt.Errorf("set limits: %w", model.ErrClosed)
		}
		s.noteLimits(limits)
		for i, sh := range s.shares {
			s.recallAll(sh)
			s.tell(sh, limits[i])
			sh.perWorkspace = limits[i].PerWorkspace
			sh.directory.all(s.update)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return refused
}

// SetWorkspaceLimits changes the limits of one workspace at once, until an Acquire of it
// says others. What is idle beyond its cap closes, what is lent when it comes home. If
// ctx is done first they will be set all the same.
func (s *Supervisor) SetWorkspaceLimits(ctx context.Context, of ShareIndex, id model.WorkspaceID, limits model.WorkspaceLimits) error {
	_, err := ask(ctx, s, about("set the limits of", id), notDone, func() bool {
		sh := s.shares[of]
		sh.ofWorkspace(id, s.recall)
		s.tell(sh, core.SetWorkspaceLimits{Workspace: id, Limits: limits})
		sh.ofWorkspace(id, func(ts *seats) {
			ts.cap = int(limits.Cap)
			s.update(ts)
		})
		return true
	})
	return err
}

// Drain stops lending: waiters are refused with model.ErrClosed, dials are
// called off, connections close as they come home. It waits until all shares are
// empty and the supervisor has stopped. If ctx is done first it returns an error
// that says what is still open; the draining goes on, and Drain may be called
// again to wait for its end.
func (s *Supervisor) Drain(ctx context.Context) error {
	s.send(do(s.drain))
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
	}
	var open model.Counts
	st, _ := s.Stats(context.Background()) // fails when it has stopped: nothing is open
	for _, sh := range st.Shares {
		open.InUse += sh.InUse
		open.Idle += sh.Idle
		open.Dialing += sh.Dialing
		open.Closing += sh.Closing
	}
	if open.Open() == 0 { // it has stopped meanwhile, or does so now
		<-s.stopped
		return nil
	}
	return fmt.Errorf("drain: %d connections are in use, %d idle, %d dialing, %d closing; "+
		"those in use close when they are released, and the draining goes on: %w",
		open.InUse, open.Idle, open.Dialing, open.Closing, Ended(ctx))
}

// drain begins with the first share; the others follow.
func (s *Supervisor) drain() {
	if s.loop.draining == 0 {
		s.publish(model.Event{Kind: model.EventDraining})
		s.drainNext()
	}
}

// drainNext starts to drain the first share that is not empty yet.
func (s *Supervisor) drainNext() {
	for s.loop.draining < len(s.shares) {
		if s.loop.draining > 0 && !s.shares[s.loop.draining-1].drained {
			return
		}
		sh := s.shares[s.loop.draining]
		s.loop.draining++
		sh.stopDials()
		sh.short.Store(true) // and never lowered: the core stays short
		s.recallAll(sh)
		s.tell(sh, core.Drain{})
	}
}
