package actor

// lentList holds the slots that the core has on a lease. A slot is in it once at
// most, and knows its neighbours, so that nothing is allocated or searched.
type lentList struct {
	head, tail *slot
	size       int
}

func (l *lentList) pushBack(c *slot) {
	c.listed, c.before, c.after = true, l.tail, nil
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.after = c
	}
	l.tail = c
	l.size++
}

func (l *lentList) remove(c *slot) {
	if c.before == nil {
		l.head = c.after
	} else {
		c.before.after = c.after
	}
	if c.after == nil {
		l.tail = c.before
	} else {
		c.after.before = c.before
	}
	c.listed, c.before, c.after = false, nil, nil
	l.size--
}
