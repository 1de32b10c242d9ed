package core

// cover says which waiters of a line are on their way to be served: each dial under way
// is meant for one waiter, the first dial for the first waiter and so on. It is not bound
// to it: whatever comes free first goes to the first waiter.
//
// The rule is kept as plain as this because nothing else was better. A dial that covers
// all waiters of its workspace, and dials and leases that cover until a waiter has
// waited as long as a dial takes, have the same hit ratio within the noise of the
// bench. Leases that cover without end raise it by one or two points, and let a
// workspace starve behind one long lease.
type cover struct {
	line *list[*waiter]
	// coming is how many connections are meant for the line.
	coming int
}

// cover is that of the workspace's ordinary waiters of a class. What the interactive ones
// leave is meant for batch work, and so are the idle connections, which it may have as
// soon as its share has room.
func (w *workspace) cover(of class) cover {
	dials := w.counts[dialing]
	if of == interactive {
		return cover{&w.queue, dials}
	}
	return cover{&w.batchQueue, max(0, dials-w.queue.size) + len(w.idle)}
}

// dialsFor is the cover by dials of the line in which the waiter stands.
func (w *workspace) dialsFor(wt *waiter) cover {
	dials := w.counts[dialing]
	if wt.Batch {
		dials = max(0, dials-w.queue.size)
	}
	return cover{w.line(&wt.waiterFacts), dials}
}

// uncovered is how many waiters nothing is meant for.
func (c cover) uncovered() int { return max(0, c.line.size-c.coming) }

// firstUncovered is the first of these, or nil. A workspace has few dials under way, so
// this is a short walk.
func (c cover) firstUncovered() *node[*waiter] {
	n := c.line.head
	for i := 0; i < c.coming && n != nil; i++ {
		n = n.next
	}
	return n
}

// has tells whether something is meant for the waiter, who stands in the line.
func (c cover) has(wt *waiter) bool {
	first := c.firstUncovered()
	return first == nil || wt.number < first.item.number
}
