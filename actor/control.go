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
func (s *Supervisor) Evict(ctx context.Context, share ShareIndex, id model.WorkspaceID) (closed int, err error) {
	return s.operate(ctx, share, func(op core.OperationID) core.Message { return core.Evict{Operation: op, Workspace: id} }, "evict", id)
}

// Pause keeps new acquires of the workspace waiting, and waits until its leases
// have come home and the server has let go of all its connections; it returns
// how many. If ctx is done first the workspace is paused all the same.
func (s *Supervisor) Pause(ctx context.Context, share ShareIndex, id model.WorkspaceID) (closed int, err error) {
	return s.operate(ctx, share, func(op core.OperationID) core.Message { return core.Pause{Operation: op, Workspace: id} }, "pause", id)
}

// Renew closes the workspace's idle connections now and those that are lent, or
// being dialed, when they come free: an Acquire that begins after it gets no
// connection that was there before. It waits until the server has let go of the
// idle ones, and returns how many; it does not wait for leases. If ctx is done
// first, the renewal is in force all the same.
func (s *Supervisor) Renew(ctx context.Context, share ShareIndex, id model.WorkspaceID) (closed int, err error) {
	return s.operate(ctx, share, func(op core.OperationID) core.Message { return core.Renew{Operation: op, Workspace: id} }, "renew", id)
}

// RenewAll is Renew for all workspaces of all shares.
func (s *Supervisor) RenewAll(ctx context.Context) (closed int, err error) {
	done := make([]<-chan int, len(s.shares))
	for i := range s.shares {
		done[i] = s.begin(ShareIndex(i), func(op core.OperationID) core.Message { return core.Renew{Operation: op, All: true} })
	}
	for _, each := range done {
		n, err := await(ctx, s, each, notAllClosed)
		if err != nil {
			return 0, fmt.Errorf("renew all workspaces: %w", err)
		}
		closed += n
	}
	return closed, nil
}

func (s *Supervisor) operate(ctx context.Context, share ShareIndex, message func(core.OperationID) core.Message, verb string, id model.WorkspaceID) (int, error) {
	n, err := await(ctx, s, s.begin(share, message), notAllClosed)
	if err != nil {
		return 0, fmt.Errorf("%s workspace %q: %w", verb, id, err)
	}
	return n, nil
}

// begin tells a share's core of an operation. The channel gets the number closed.
func (s *Supervisor) begin(share ShareIndex, message func(core.OperationID) core.Message) <-chan int {
	done := make(chan int, 1)
	id := core.OperationID(s.lastOperation.Add(1))
	s.send(&operation{s.shares[share], id, message(id), done})
	return done
}

// notAllClosed is what an operation has not waited for.
const notAllClosed = "not all of its connections are closed yet"

// await waits for the answer to a request. An answer counts even if ctx or the
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

// Resume ends a Pause, and forgets the workspace's dial back-off. The waiters are
// served again when it returns, or soon if ctx is done first.
func (s *Supervisor) Resume(ctx context.Context, share ShareIndex, id model.WorkspaceID) error {
	return s.resume(ctx, resumeRequest{share: s.shares[share], workspace: id}, "resume")
}

// Retry forgets the workspace's dial back-off, as when its database was just
// created, so that it is dialed at once. A Pause is not ended by it.
func (s *Supervisor) Retry(ctx context.Context, share ShareIndex, id model.WorkspaceID) error {
	return s.resume(ctx, resumeRequest{share: s.shares[share], workspace: id, butNotPaused: true}, "retry")
}

func (s *Supervisor) resume(ctx context.Context, r resumeRequest, verb string) error {
	done := make(chan struct{}, 1)
	r.done = done
	s.send(r)
	if _, err := await(ctx, s, done, "the supervisor has not answered, but it will do so"); err != nil {
		return fmt.Errorf("%s workspace %q: %w", verb, r.workspace, err)
	}
	return nil
}

type resumeRequest struct {
	share        *share
	workspace    model.WorkspaceID
	butNotPaused bool
	done         chan<- struct{}
}

func (r resumeRequest) carryOut(s *Supervisor) {
	if !r.butNotPaused || !r.share.state.Paused(r.workspace) {
		s.notePause(r.share, r.workspace, false)
		s.tell(r.share, core.Resume{Workspace: r.workspace})
		s.setPaused(r.share, r.workspace, false)
	}
	r.done <- struct{}{}
}

// Paused tells whether the workspace is paused; after the supervisor has stopped
// nothing is.
func (s *Supervisor) Paused(share ShareIndex, id model.WorkspaceID) bool {
	answer := make(chan bool, 1)
	s.send(pausedRequest{s.shares[share], id, answer})
	paused, err := await(context.Background(), s, answer, "")
	return err == nil && paused
}

// Pauses is how many workspaces are paused. It does not ask the supervisor, and may be
// older than a Pause that has not returned yet.
func (s *Supervisor) Pauses(share ShareIndex) int { return int(s.shares[share].paused.Load()) }

type pausedRequest struct {
	share     *share
	workspace model.WorkspaceID
	answer    chan<- bool
}

func (r pausedRequest) carryOut(*Supervisor) { r.answer <- r.share.state.Paused(r.workspace) }

// SetLimits changes the budgets and the caps of all shares, one for each in their
// order, at one moment: no Stats mix old limits and new ones. What is idle beyond
// them closes at once, what is lent when it comes home; SetLimits does not wait
// for that. If ctx is done first they will be set all the same. A supervisor that
// drains keeps the limits it has: then it is model.ErrClosed.
func (s *Supervisor) SetLimits(ctx context.Context, limits ...core.SetLimits) error {
	if len(limits) != len(s.shares) {
		return fmt.Errorf("set limits: %d limits for %d shares", len(limits), len(s.shares))
	}
	answers := make(chan error, 1)
	s.send(limitsRequest{limits, answers})
	refused, err := await(ctx, s, answers, "the supervisor has not answered, but it will do so")
	if err == nil {
		err = refused
	}
	if err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	return nil
}

type limitsRequest struct {
	limits []core.SetLimits
	answer chan<- error
}

func (r limitsRequest) carryOut(s *Supervisor) {
	if s.loop.draining > 0 {
		r.answer <- model.ErrClosed
		return
	}
	s.noteLimits(r.limits)
	for i, sh := range s.shares {
		s.recallAll(sh)
		s.tell(sh, r.limits[i])
		sh.perWorkspace = r.limits[i].PerWorkspace
		sh.directory.all(s.update)
	}
	r.answer <- nil
}

// Stats is a copy of the state of all shares at one moment.
type Stats struct {
	Shares []model.BudgetStats
	// Saturation is which part of the time since the last Stats the supervisor
	// was busy, from 0 to 1.
	Saturation float64
}

// Stats returns a copy of the state of all shares at one moment. It waits for
// the supervisor's answer, but no longer than ctx.
func (s *Supervisor) Stats(ctx context.Context) (Stats, error) {
	answers := make(chan Stats, 1)
	s.send(statsRequest{answers})
	st, err := await(ctx, s, answers, "the supervisor has not answered")
	if err != nil {
		return Stats{}, fmt.Errorf("stats: %w", err)
	}
	for i := range st.Shares {
		st.Shares[i].SortActive() // here, not at the supervisor's expense
	}
	return st, nil
}

type statsRequest struct{ answer chan<- Stats }

func (r statsRequest) carryOut(s *Supervisor) {
	st := Stats{Shares: make([]model.BudgetStats, len(s.shares))}
	for i, sh := range s.shares {
		s.recallAll(sh)
		st.Shares[i] = s.shareStats(sh)
	}
	now := s.now()
	if busy, over := s.loop.busy+now-s.loop.wokeAt, now-s.loop.statsAt; over > 0 {
		st.Saturation = min(1, busy.Seconds()/over.Seconds())
	}
	s.loop.busy, s.loop.statsAt, s.loop.wokeAt = 0, now, now
	r.answer <- st
}

// shareStats adds to what the core knows what only the slots tell.
func (s *Supervisor) shareStats(sh *share) model.BudgetStats {
	now := s.loop.now
	st := sh.state.Stats(now)
	for _, c := range sh.leased {
		sh.countSeatHits(c)
	}
	st.Counters.Acquires += sh.seatHits
	st.Counters.Hits += sh.seatHits
	st.Waits, st.DialTimes = sh.waits, sh.dialTimes
	if oldest, since := sh.oldestLease(); oldest.slot != nil {
		st.LongestLease, st.LongestLeaseWorkspace = max(0, now-since), oldest.slot.seats.workspace
	}
	for i := range st.Active {
		w := &st.Active[i]
		if ts := sh.directory.find(w.ID); ts != nil {
			for _, c := range ts.slots {
				if l, since := c.held(); l.slot != nil {
					w.LastUsed = max(0, min(w.LastUsed, now-since))
				}
			}
		}
	}
	return st
}

// Drain stops lending: waiters are refused with model.ErrClosed, dials are
// called off, connections close as they come home. It waits until all shares are
// empty and the supervisor has stopped. If ctx is done first it returns an error
// that says what is still open; the draining goes on, and Drain may be called
// again to wait for its end.
func (s *Supervisor) Drain(ctx context.Context) error {
	s.send(drainRequest{})
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
