package core

// list is a doubly linked list of nodes that live inside their items, so that
// adding and removing allocates nothing. A node is in at most one list.
type list[T any] struct {
	head, tail *node[T]
	size       int
}

type node[T any] struct {
	prev, next *node[T]
	in         *list[T]
	item       T
}

func (l *list[T]) pushBack(n *node[T]) {
	n.in, n.prev, n.next = l, l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
	l.size++
}

// remove takes the node out of the list it is in, if any.
func (n *node[T]) remove() {
	l := n.in
	if l == nil {
		return
	}
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.in, n.prev, n.next = nil, nil, nil
	l.size--
}
