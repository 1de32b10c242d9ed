package actor

import (
	"context"
	"errors"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// watcher is who wants to know what happens. Only the supervisor's goroutine
// touches it, and only that sends to the channel or closes it.
type watcher struct {
	events chan<- model.Event
	lost   uint64 // since the last one that fitted
}

// Events tells what happens from now on, through a channel with that much room (at
// least for one). Whoever does not keep up loses events, and is told how many by
// the next one that fits; the supervisor waits for nobody. The channel is closed
// soon after ctx is done, or when the supervisor stops. The error wraps ctx.Err(),
// or model.ErrClosed.
func (s *Supervisor) Events(ctx context.Context, buffer int) (<-chan model.Event, error) {
	events := make(chan model.Event, max(buffer, 1))
	w := &watcher{events: events}
	watch := func() bool { s.loop.watchers[w] = true; return true }
	unwatch := do(func() {
		if s.loop.watchers[w] {
			delete(s.loop.watchers, w)
			close(events)
		}
	})
	if _, err := ask(ctx, s, "events", notAnswered, watch); err != nil {
		s.send(unwatch) // it follows the other one
		return nil, err
	}
	go func() {
		select {
		case <-ctx.Done():
			s.send(unwatch)
		case <-s.stopped:
		}
	}()
	return events, nil
}

// closeWatchers is the end of the loop.
func (s *Supervisor) closeWatchers() {
	for w := range s.loop.watchers {
		close(w.events)
	}
}

// watched tells whether an event is worth the words in it.
func (s *Supervisor) watched() bool { return len(s.loop.watchers) > 0 }

// publish tells the watchers.
func (s *Supervisor) publish(e model.Event) {
	if !s.watched() {
		return
	}
	e.At = time.Now()
	for w := range s.loop.watchers {
		e.Lost = w.lost
		select {
		case w.events <- e:
			w.lost = 0
		default:
			w.lost++
		}
	}
}

// Publish tells the watchers of something that the supervisor does not know by itself.
func (s *Supervisor) Publish(e model.Event) { s.send(do(func() { s.publish(e) })) }

func (s *Supervisor) noteDial(sh *share, id model.WorkspaceID, err error, took time.Duration) {
	if !s.watched() || err != nil && sh.dialing.Err() != nil {
		return // called off by a drain: it says nothing about the server
	}
	e := model.Event{Kind: model.EventDialed, System: sh.system, Workspace: id, Took: took}
	if err != nil {
		e.Kind, e.Err = model.EventDialFailed, err.Error()
	}
	s.publish(e)
}

func (s *Supervisor) noteClose(sh *share, c core.Close) {
	e := model.Event{Kind: model.EventClosed, System: sh.system, Workspace: c.Workspace, Reason: c.Reason, IdleFor: c.IdleFor, For: c.For}
	switch c.Reason {
	case model.MakeRoom, model.Yield, model.EvictAsked:
		e.Kind = model.EventEvicted
	}
	s.publish(e)
}

func (s *Supervisor) noteReject(sh *share, err error) {
	if limit, ok := errors.AsType[*model.ConnectionLimitError](err); ok && s.watched() {
		s.publish(model.Event{Kind: model.EventLimitReached, System: sh.system, Workspace: limit.WorkspaceID, Err: limit.Error()})
	}
}

// notePause is called before the core is told.
func (s *Supervisor) notePause(sh *share, id model.WorkspaceID, pause bool) {
	switch was := sh.state.Paused(id); {
	case pause && !was:
		sh.paused.Add(1)
		s.publish(model.Event{Kind: model.EventPaused, System: sh.system, Workspace: id})
	case !pause && was:
		sh.paused.Add(-1)
		s.publish(model.Event{Kind: model.EventResumed, System: sh.system, Workspace: id})
	}
}

// noteLimits sums up the shares. The cap is that of the workspaces.
func (s *Supervisor) noteLimits(limits []core.SetLimits) {
	e := model.Event{Kind: model.EventLimitsSet}
	for i, l := range limits {
		e.Why = l.Why
		e.MaxConnections += l.Budget
		if !s.shares[i].system {
			e.MaxConnectionsPerDB = l.PerWorkspace
		}
	}
	s.publish(e)
}
