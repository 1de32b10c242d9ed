package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// idleSet holds the idle connections of all workspaces in two orders.
//
// Invariant (I6): both heaps hold exactly the connections whose state is idle.
type idleSet struct {
	lru  heap[*conn] // least recently used first: whom to evict
	ends heap[*conn] // whose lifetime or idle time is over first
}

// byUse is the eviction order: least recently used first, ties by id.
func byUse(a, b *conn) bool {
	if a.LastUsed != b.LastUsed {
		return a.LastUsed < b.LastUsed
	}
	return a.ID < b.ID
}

func byEnd(a, b *conn) bool {
	if a.end != b.end {
		return a.end < b.end
	}
	return a.ID < b.ID
}

func newIdleSet() idleSet {
	return idleSet{
		lru:  heap[*conn]{less: byUse, place: func(c *conn) *int { return &c.inLRU }},
		ends: heap[*conn]{less: byEnd, place: func(c *conn) *int { return &c.inEnds }},
	}
}

// park makes a connection idle, since its last use.
func (s *State) park(c *conn) {
	w := c.workspace
	s.move(c, idle)
	c.end, c.endReason = s.endOf(c)
	s.idle.lru.set(c)
	s.idle.ends.set(c)
	w.idle = append(w.idle, c)
	for i := len(w.idle) - 1; i > 0 && byUse(c, w.idle[i-1]); i-- {
		w.idle[i-1], w.idle[i] = c, w.idle[i-1]
	}
}

// unpark takes an idle connection out of the orders; the caller moves it on.
func (s *State) unpark(c *conn) {
	s.idle.lru.remove(c)
	s.idle.ends.remove(c)
	stack := c.workspace.idle
	i := len(stack) - 1 // most often the one on top
	for stack[i] != c {
		i--
	}
	copy(stack[i:], stack[i+1:])
	stack[len(stack)-1] = nil
	c.workspace.idle = stack[:len(stack)-1]
}

// endOf says when a connection that becomes idle now is to be closed, and why.
func (s *State) endOf(c *conn) (time.Duration, model.CloseReason) {
	end := c.bornPlusLifetime(s.limits)
	if idleTime := s.limits.MaxIdleTime; idleTime > 0 && c.LastUsed+idleTime < end {
		return c.LastUsed + idleTime, model.IdleTimeOver
	}
	return end, model.LifetimeOver
}

// bornPlusLifetime is when the connection's lifetime is over.
func (c *conn) bornPlusLifetime(limits model.Limits) time.Duration {
	lifetime := Lifetime(limits, c.ID)
	if lifetime > Never-c.Born {
		return Never
	}
	return c.Born + lifetime
}

// closeEnded closes the idle connections whose end has come (rule 6).
func (s *State) closeEnded() {
	for s.idle.ends.size() > 0 && s.idle.ends.min().end <= s.now {
		c := s.idle.ends.min()
		s.close(c, c.endReason)
	}
}
