package core

// cover says which waiters of a workspace are on their way to be served: each dial
// under way is meant for one waiter, the first dial for the first waiter and so on. It
// is not bound to it: whatever comes free first goes to the first waiter.
//
// The rule is kept as plain as this because nothing else was better. A dial that covers
// all waiters of its workspace, and dials and leases that cover until a waiter has
// waited as long as a dial takes, have the same hit ratio within the noise of the
// bench. Leases that cover without end raise it by one or two points, and let a
// workspace starve behind one long lease.
type cover struct {
	line  *list[*waiter]
	dials int
}

// cover is that of the workspace's ordinary waiters.
func (w *workspace) cover() cover { return cover{&w.queue, w.counts[dialing]} }

// coverOf is that of the line in which the waiter stands.
func (w *workspace) coverOf(wt *waiter) cover {
	return cover{w.line(wt.Exclusive), w.counts[dialing]}
}

// uncovered is how many waiters no dial is meant for.
func (c cover) uncovered() int { return max(0, c.line.size-c.dials) }

// firstUncovered is the first of these, or nil. A workspace has few dials under way, so
// this is a short walk.
func (c cover) firstUncovered() *node[*waiter] {
	n := c.line.head
	for i := 0; i < c.dials && n != nil; i++ {
		n = n.next
	}
	return n
}

// has tells whether a dial is meant for the waiter, who stands in the line.
func (c cover) has(wt *waiter) bool {
	first := c.firstUncovered()
	return first == nil || wt.number < first.item.number
}
