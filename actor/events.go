package actor

import (
	"context"
	"errors"
	"fmt"
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
	done := make(chan struct{}, 1)
	w := &watcher{events: events}
	s.send(watchRequest{w, done})
	if _, err := await(ctx, s, done, "the supervisor has not answered"); err != nil {
		s.send(unwatchRequest{w}) // it follows the watchRequest
		return nil, fmt.Errorf("events: %w", err)
	}
	go func() {
		select {
		case <-ctx.Done():
			s.send(unwatchRequest{w})
		case <-s.stopped:
		}
	}()
	return events, nil
}

type watchRequest struct {
	watcher *watcher
	done    chan<- struct{}
}

func (r watchRequest) carryOut(s *Supervisor) {
	s.loop.watchers[r.watcher] = true
	r.done <- struct{}{}
}

type unwatchRequest struct{ watcher *watcher }

func (r unwatchRequest) carryOut(s *Supervisor) {
	if s.loop.watchers[r.watcher] {
		delete(s.loop.watchers, r.watcher)
		close(r.watcher.events)
	}
}

// closeWatchers is the end of the loop.
func (s *Supervisor) closeWatchers() {
	for w := range s.loop.watchers {
		close(w.events)
	}
}

// publish tells the watchers. The event is made only if there are any.
func (s *Supervisor) publish(event func() model.Event) {
	if len(s.loop.watchers) == 0 {
		return
	}
	e := event()
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

func (s *Supervisor) noteDial(d *dialed) {
	if d.err != nil && d.share.dialing.Err() != nil {
		return // called off by a drain: it says nothing about the server
	}
	s.publish(func() model.Event {
		e := model.Event{Kind: model.EventDialed, System: d.share.system, Workspace: d.dial.Workspace, Took: d.took}
		if d.err != nil {
			e.Kind, e.Err = model.EventDialFailed, d.err.Error()
		}
		return e
	})
}

func (s *Supervisor) noteClose(sh *share, c core.Close) {
	s.publish(func() model.Event {
		e := model.Event{Kind: model.EventClosed, System: sh.system, Workspace: c.Workspace, Reason: c.Reason, IdleFor: c.IdleFor, For: c.For}
		switch c.Reason {
		case model.MakeRoom, model.Yield, model.EvictAsked:
			e.Kind = model.EventEvicted
		}
		return e
	})
}

func (s *Supervisor) noteReject(sh *share, err error) {
	var limit *model.ConnectionLimitError
	if len(s.loop.watchers) == 0 || !errors.As(err, &limit) {
		return
	}
	s.publish(func() model.Event {
		return model.Event{Kind: model.EventLimitReached, System: sh.system, Workspace: limit.WorkspaceID, Err: limit.Error()}
	})
}

func (s *Supervisor) noteOverdue(sh *share, id model.WorkspaceID, age time.Duration) {
	s.publish(func() model.Event {
		return model.Event{Kind: model.EventLeaseOverdue, System: sh.system, Workspace: id, HeldFor: age}
	})
}

// notePause is called before the core is told.
func (s *Supervisor) notePause(sh *share, id model.WorkspaceID, pause bool) {
	if sh.state.Paused(id) == pause {
		return // nothing changes
	}
	if pause {
		sh.paused.Add(1)
	} else {
		sh.paused.Add(-1)
	}
	s.publish(func() model.Event {
		e := model.Event{Kind: model.EventResumed, System: sh.system, Workspace: id}
		if pause {
			e.Kind = model.EventPaused
		}
		return e
	})
}

func (s *Supervisor) noteRenew(sh *share, m core.Renew) {
	s.publish(func() model.Event {
		return model.Event{Kind: model.EventRenewed, System: sh.system, Workspace: m.Workspace}
	})
}

// noteLimits sums up the shares. The cap is that of the workspaces.
func (s *Supervisor) noteLimits(limits []core.SetLimits) {
	s.publish(func() model.Event {
		e := model.Event{Kind: model.EventLimitsSet}
		for i, l := range limits {
			e.MaxConnections += l.Budget
			if !s.shares[i].system {
				e.MaxConnectionsPerDB = l.PerWorkspace
			}
		}
		return e
	})
}
