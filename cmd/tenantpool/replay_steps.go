package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// steps tells what happened while a workspace, or one acquire of it, waited.
func (r *replay) steps(p *page) error {
	found := false
	waiting := map[model.WorkspaceID]bool{}
	for i, recording := range r.recordings {
		s := newStory(r.workspace, r.lease, p)
		s.title = title(recording)
		if err := rerun(recording, s.begin, s.step); err != nil {
			return r.damaged(i, err)
		}
		found = found || s.found
		maps.Copy(waiting, s.seen)
		if s.lastWatched != 0 {
			p.title("%11s  lease %d waits still", "", s.lastWatched)
		}
	}
	if found {
		return nil
	}
	if r.lease != 0 && waiting[r.workspace] {
		p.title("lease %d of %q did not wait; other acquires of it did: see them without --lease", r.lease, string(r.workspace))
		return nil
	}
	p.title("no acquire of %q waited; of these some did: %s", string(r.workspace), listed(waiting))
	return nil
}

// listed names some of them.
func listed(ids map[model.WorkspaceID]bool) string {
	const shown = 20
	var names []string
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if len(names) == shown {
			names = append(names, fmt.Sprintf("and %d more", len(ids)-shown))
			break
		}
		names = append(names, fmt.Sprintf("%q", string(id)))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// story follows a replay for the sake of one workspace. It knows what somebody
// knows who sees the messages and the effects pass by.
type story struct {
	workspace model.WorkspaceID
	lease     core.LeaseID // 0: any of the workspace
	page      *page
	title     string // told before the first line

	arrived map[core.LeaseID]time.Duration
	queues  map[model.WorkspaceID][]core.LeaseID // who waits, the first one first
	owner   map[core.LeaseID]model.WorkspaceID
	conns   map[core.ConnID]model.WorkspaceID
	dialing map[core.ConnID]bool

	lastWatched core.LeaseID // 0: nobody
	why         reason       // that was told last
	found       bool
	seen        map[model.WorkspaceID]bool // that waited at some time
}

func newStory(id model.WorkspaceID, lease core.LeaseID, p *page) *story {
	return &story{
		workspace: id, lease: lease, page: p,
		arrived: map[core.LeaseID]time.Duration{},
		queues:  map[model.WorkspaceID][]core.LeaseID{},
		owner:   map[core.LeaseID]model.WorkspaceID{},
		conns:   map[core.ConnID]model.WorkspaceID{},
		dialing: map[core.ConnID]bool{},
		seen:    map[model.WorkspaceID]bool{},
	}
}

func (s *story) begin(state *core.State) {
	image := state.Image()
	for _, c := range image.Conns {
		s.conns[c.ID] = c.Workspace
		if c.State == "dialing" {
			s.dialing[c.ID] = true
		}
	}
	for _, wt := range image.Waiters {
		s.arrives(wt.Lease, wt.Workspace, wt.Arrived)
		s.seen[wt.Workspace] = true
	}
	begin := step{state: state, begin: image.Now, now: image.Now}
	s.tellWhy(begin, begin.stamp())
}

func (s *story) arrives(lease core.LeaseID, id model.WorkspaceID, at time.Duration) {
	s.arrived[lease], s.owner[lease] = at, id
	s.queues[id] = append(s.queues[id], lease)
}

func (s *story) answered(lease core.LeaseID) {
	id := s.owner[lease]
	s.queues[id] = slices.DeleteFunc(s.queues[id], func(l core.LeaseID) bool { return l == lease })
	if len(s.queues[id]) == 0 {
		delete(s.queues, id)
	}
	delete(s.arrived, lease)
	delete(s.owner, lease)
}

// watched is who the story is about at the moment: 0 is nobody.
func (s *story) watched() core.LeaseID {
	queue := s.queues[s.workspace]
	switch {
	case len(queue) == 0:
		return 0
	case s.lease == 0:
		return queue[0]
	case slices.Contains(queue, s.lease):
		return s.lease
	}
	return 0
}

// step tells of a step if it bears on the story.
func (s *story) step(now step) {
	before := s.watched()
	delete(s.dialing, connOf(now.message)) // if it was
	if m, ok := now.message.(core.Acquire); ok {
		s.arrives(m.Lease, m.Workspace, now.now)
	}
	during := s.watched()
	bears := s.own(now.message)
	var effects []string
	for _, e := range now.effects {
		if s.bearsOn(now.message, e) {
			effects = append(effects, s.effect(now, e, during))
			bears = true
		}
		s.follow(e)
	}
	words := s.message(now)
	s.forget(now.message)
	after := s.watched()
	if m, ok := now.message.(core.Acquire); ok && len(s.queues[m.Workspace]) > 0 {
		s.seen[m.Workspace] = true
	}
	if before == 0 && after == 0 {
		return // whoever came was answered at once
	}
	at := now.stamp()
	if bears {
		s.line("%s  %s", at, strings.Join(append([]string{words}, effects...), "; "))
		at = now.margin()
	}
	s.tellWhy(now, at)
}

// tellWhy says why the watched one waits, if that is news.
func (s *story) tellWhy(now step, at string) {
	watched := s.watched()
	waiting, ok := now.state.Waiting(watched)
	if watched == 0 || !ok {
		s.lastWatched = 0
		return
	}
	why := reasonFor(waiting)
	if watched != s.lastWatched || why.kind != s.why.kind || 2*why.before <= s.why.before && why.before < s.why.before {
		s.line("%s      why %q (lease %d) waits: %s", at, string(s.workspace), watched, why.words)
		s.lastWatched, s.why = watched, why
	}
}

func (s *story) line(format string, args ...any) {
	if !s.found {
		s.found = true
		s.page.title("%s", s.title)
	}
	s.page.line(format, args...)
}

// own tells whether a message is about the workspace or about all.
func (s *story) own(m core.Message) bool {
	switch m := m.(type) {
	case core.Acquire:
		return m.Workspace == s.workspace && (s.lease == 0 || m.Lease == s.lease)
	case core.Cancel:
		return s.owner[m.Lease] == s.workspace && (s.lease == 0 || m.Lease == s.lease)
	case core.DialFailed:
		return m.Kind == model.ServerDown || m.Kind == model.ServerFull || s.conns[m.Conn] == s.workspace
	case core.Pause:
		return m.Workspace == s.workspace
	case core.Resume:
		return m.Workspace == s.workspace
	case core.Evict:
		return m.Workspace == s.workspace
	case core.Renew:
		return m.All || m.Workspace == s.workspace
	case core.SetLimits, core.Drain:
		return true
	case core.Tick, core.Reclaim:
		return false
	}
	id, known := s.conns[connOf(m)]
	return known && id == s.workspace
}

func connOf(m core.Message) core.ConnID {
	switch m := m.(type) {
	case core.Release:
		return m.Conn
	case core.DialSucceeded:
		return m.Conn
	case core.DialFailed:
		return m.Conn
	case core.Closed:
		return m.Conn
	}
	return 0
}

// bearsOn tells whether an effect is about the workspace, or about a slot that it
// could have used.
func (s *story) bearsOn(m core.Message, e core.Effect) bool {
	_, hit := m.(core.Acquire)
	others := s.why.kind.others() && s.lastWatched != 0 && !hit
	switch e := e.(type) {
	case core.Grant:
		return s.bears(e.Lease, e.Workspace) || others && e.Workspace != s.workspace
	case core.Reject:
		return s.bears(e.Lease, s.owner[e.Lease])
	case core.Dial:
		return e.Workspace == s.workspace || others
	case core.Close:
		return e.Workspace == s.workspace || e.For == s.workspace || others && e.For != ""
	}
	return false
}

func (s *story) bears(lease core.LeaseID, id model.WorkspaceID) bool {
	return id == s.workspace && (s.lease == 0 || lease == s.lease)
}

// follow notes an effect.
func (s *story) follow(e core.Effect) {
	switch e := e.(type) {
	case core.Grant:
		s.answered(e.Lease)
	case core.Reject:
		s.answered(e.Lease)
	case core.Dial:
		s.conns[e.Conn], s.dialing[e.Conn] = e.Workspace, true
	}
}

// forget notes what a message has ended, once it was told of.
func (s *story) forget(m core.Message) {
	switch m := m.(type) {
	case core.DialFailed:
		if !m.SlotHeld {
			delete(s.conns, m.Conn)
		}
	case core.Closed:
		delete(s.conns, m.Conn)
	}
}
