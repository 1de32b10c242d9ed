package main

import (
	"fmt"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// message says what came.
func (s *story) message(now step) string {
	switch m := now.message.(type) {
	case core.Acquire:
		text := fmt.Sprintf("lease %d asks for a connection of %q", m.Lease, string(m.Workspace))
		if m.NoWait {
			text += " and would not wait for somebody else's"
		}
		if m.Exclusive {
			text += " and to be alone with it"
		}
		return text
	case core.Cancel:
		return fmt.Sprintf("lease %d gives up", m.Lease)
	case core.Release:
		text := s.conn(m.Conn) + " was given back"
		if ago := now.now - m.At; m.At > 0 && ago >= time.Millisecond {
			text += fmt.Sprintf(" %s ago", spell(ago))
		}
		if m.Health != core.Clean {
			text += ", " + m.Health.String()
		}
		return text
	case core.DialSucceeded:
		return s.conn(m.Conn) + " is open"
	case core.DialFailed:
		return fmt.Sprintf("the dial of %s failed (%s, %q)", s.conn(m.Conn), m.Kind, m.Err)
	case core.Closed:
		return s.conn(m.Conn) + " is gone and its slot free"
	case core.Evict:
		return fmt.Sprintf("an operator closes the idle connections of %q", string(m.Workspace))
	case core.Renew:
		if m.All {
			return "an operator renews the connections of all workspaces"
		}
		return fmt.Sprintf("an operator renews the connections of %q", string(m.Workspace))
	case core.Pause:
		return fmt.Sprintf("an operator pauses %q", string(m.Workspace))
	case core.Resume:
		return fmt.Sprintf("%q is resumed", string(m.Workspace))
	case core.SetLimits:
		return fmt.Sprintf("the limits are now %d connections, %d for one workspace", m.Budget, m.PerWorkspace)
	case core.Drain:
		return "the share drains"
	}
	return "time passed"
}

func (s *story) conn(id core.ConnID) string {
	if owner, known := s.conns[id]; known {
		return fmt.Sprintf("connection %d of %q", id, string(owner))
	}
	return fmt.Sprintf("connection %d, which is not open,", id)
}

// effect says what was decided, beside the watched waiter.
func (s *story) effect(now step, e core.Effect, watched core.LeaseID) string {
	switch e := e.(type) {
	case core.Grant:
		if e.Workspace == s.workspace {
			return fmt.Sprintf("lease %d gets connection %d of %q after %s", e.Lease, e.Conn, string(e.Workspace), spell(e.Waited))
		}
		return fmt.Sprintf("it went to the next acquire of %q, which had waited %s", string(e.Workspace), s.beside(now, watched, e.Waited))
	case core.Reject:
		return fmt.Sprintf("lease %d is refused: %q", e.Lease, e.Err)
	case core.Dial:
		text := fmt.Sprintf("connection %d for %q is being opened", e.Conn, string(e.Workspace))
		if e.Workspace == s.workspace {
			return text
		}
		if waited, known := s.nextToDial(now, e.Workspace); known {
			text += ", which has waited " + s.beside(now, watched, waited)
		}
		return text
	case core.Close:
		return fmt.Sprintf("connection %d of %q is closed: %s", e.Conn, string(e.Workspace), closeReason(e))
	}
	return core.DescribeEffect(e)
}

// nextToDial is how long he has waited for whom a dial starts: the first waiter
// that no other dial of his workspace is meant for.
func (s *story) nextToDial(now step, id model.WorkspaceID) (waited time.Duration, known bool) {
	covered := 0
	for conn := range s.dialing {
		if s.conns[conn] == id {
			covered++
		}
	}
	queue := s.queues[id]
	if covered >= len(queue) {
		return 0, false
	}
	return now.now - s.arrived[queue[covered]], true
}

// beside compares how long somebody has waited with the watched waiter.
func (s *story) beside(now step, watched core.LeaseID, waited time.Duration) string {
	arrived, known := s.arrived[watched]
	if !known {
		return spell(waited)
	}
	switch longer := waited - (now.now - arrived); {
	case longer > 0:
		return spell(longer) + " longer"
	case longer < 0:
		return spell(-longer) + " less"
	}
	return "as long"
}

func closeReason(e core.Close) string {
	idle := ""
	if e.IdleFor > 0 {
		idle = fmt.Sprintf("unused for %s, ", spell(e.IdleFor))
	}
	switch e.Reason {
	case model.MakeRoom:
		return fmt.Sprintf("%sto make room for %q", idle, string(e.For))
	case model.Yield:
		return fmt.Sprintf("its slot is owed to %q, which has waited longer", string(e.For))
	case model.LifetimeOver:
		return idle + "its lifetime is over"
	case model.IdleTimeOver:
		return idle + "its idle time is over"
	case model.NotReusable:
		return "it cannot be used again"
	case model.DialLeftover:
		return "the failed dial left it"
	case model.EvictAsked:
		return idle + "an operator asked for it"
	case model.PauseAsked:
		return idle + "the workspace is paused"
	case model.Shrink:
		return idle + "the limits were lowered"
	case model.DrainAsked:
		return idle + "the share drains"
	case model.Renewed:
		return idle + "it was dialed before its workspace was renewed"
	}
	return e.Reason.String()
}
