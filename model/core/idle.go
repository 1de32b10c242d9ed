package core

import (
	"cmp"
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// evictionOrder is that of Limits.Eviction (rule 4).
func evictionOrder(l model.Limits) func(a, b *conn) int {
	if l.Eviction == model.LRU2 {
		return byUseBefore
	}
	return byUse
}

// byUseBefore is LRU2's order: what only batch work has used, then by the last use but one.
func byUseBefore(a, b *conn) int {
	if a.Cold == b.Cold && a.Before != b.Before {
		return cmp.Compare(a.Before, b.Before)
	}
	return byUse(a, b)
}

// byUse is LRU's order: what only batch work has used, then the least recently used
// first, ties by id.
func byUse(a, b *conn) int {
	if a.Cold != b.Cold {
		if a.Cold {
			return -1
		}
		return 1
	}
	if a.LastUsed != b.LastUsed { // cmp.Or takes twice as long
		return cmp.Compare(a.LastUsed, b.LastUsed)
	}
	return cmp.Compare(a.ID, b.ID)
}

func byEnd(a, b *conn) int {
	if a.end != b.end {
		return cmp.Compare(a.end, b.end)
	}
	return cmp.Compare(a.ID, b.ID)
}

// park makes a connection idle, since its last use.
func (s *State) park(c *conn) {
	w := c.workspace
	s.charge(c, false)
	s.move(c, idle)
	c.end, c.endReason = s.endOf(c)
	s.lru.set(c)
	s.ends.set(c)
	w.idle = append(w.idle, c)
	for i := len(w.idle) - 1; i > 0 && byUse(c, w.idle[i-1]) < 0; i-- {
		w.idle[i-1], w.idle[i] = c, w.idle[i-1]
	}
}

// unpark takes an idle connection out of the orders; the caller moves it on.
func (s *State) unpark(c *conn) {
	s.lru.remove(c)
	s.ends.remove(c)
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
	end := c.lifetimeEnd(s.limits)
	if idleTime := s.limits.MaxIdleTime; idleTime > 0 && c.LastUsed+idleTime < end {
		return c.LastUsed + idleTime, model.IdleTimeOver
	}
	return end, model.LifetimeOver
}

// lifetimeEnd is when the connection's lifetime is over.
func (c *conn) lifetimeEnd(limits model.Limits) time.Duration {
	return c.Born + min(Lifetime(limits, c.ID), Never-c.Born)
}

// closeEnded closes the idle connections whose end has come (rule 6).
func (s *State) closeEnded() {
	for s.ends.size() > 0 && s.ends.min().end <= s.now {
		c := s.ends.min()
		s.close(c, c.endReason)
	}
}
