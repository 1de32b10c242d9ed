package core

import (
	"time"

	"github.com/tenantpool/tenantpool/model"
)

// A connection that was told to close holds its slot until the server has let go of it.
// Until CloseGrace is over it also counts as a slot that will soon be free.

// open is how many slots are taken.
func (s *State) open() int { return len(s.conns) }

// coming is how many slots are free or on their way to be.
func (s *State) coming() int { return s.effective - s.open() + s.onTheWay.size }

// close tells a connection to go. It keeps its slot until Closed.
func (s *State) close(c *conn, reason model.CloseReason) { s.closeFor(c, reason, "") }

// closeFor is close for the sake of another workspace.
func (s *State) closeFor(c *conn, reason model.CloseReason, beneficiary model.WorkspaceID) {
	idleFor := time.Duration(0)
	if c.State == idle {
		idleFor = s.now - c.LastUsed
		s.unpark(c)
	}
	s.move(c, closing)
	c.Since = s.now
	if c.Exclusive {
		c.workspace.alone = false
	}
	s.onTheWay.pushBack(&c.listed)
	s.counters.Closes[reason]++
	if reason == model.MakeRoom || reason == model.Yield {
		c.workspace.Evictions++
	}
	s.reindex(c.workspace)
	s.emit(Close{Conn: c.ID, Workspace: c.workspace.ID, Reason: reason, IdleFor: idleFor, For: beneficiary})
}

func (s *State) closed(m Closed) {
	if c := s.find(m.Conn, closing, 0); c != nil {
		s.gone(c)
	}
}

// gone frees the connection's slot: the server has let go of it (I1).
func (s *State) gone(c *conn) {
	w := c.workspace
	c.listed.remove()
	delete(s.conns, c.ID)
	s.count(c, -1)
	s.finishOperations(c)
	s.reindex(w)
}

// closeIdle closes the n least recently used idle connections of a workspace.
func (s *State) closeIdle(w *workspace, n int, reason model.CloseReason) {
	for ; n > 0 && len(w.idle) > 0; n-- {
		s.close(w.idle[0], reason)
	}
}

// giveUpOnLingering takes from those on their way what has been closing for CloseGrace.
func (s *State) giveUpOnLingering() {
	for s.onTheWay.size > 0 && s.onTheWay.head.item.Since+s.limits.CloseGrace <= s.now {
		s.onTheWay.head.remove() // still counted, but not counted on
	}
}
