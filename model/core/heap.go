package core

// heap is a binary min-heap whose items know their own place in it, so that any
// of them can be removed or moved when its key changes. compare must be a total
// order: then which item is the least does not depend on the order of arrival.
type heap[T any] struct {
	items   []T
	compare func(a, b T) int
	// place points at the field of an item that holds its index plus one; zero
	// means that it is not in the heap.
	place func(T) *int
}

func (h *heap[T]) size() int { return len(h.items) }

// min returns the least item. The heap must not be empty.
func (h *heap[T]) min() T { return h.items[0] }

func (h *heap[T]) has(x T) bool { return *h.place(x) > 0 }

// set puts x in the heap, or to its right place after its key changed.
func (h *heap[T]) set(x T) {
	i := *h.place(x) - 1
	if i < 0 {
		i = len(h.items)
		h.items = append(h.items, x)
	}
	h.sift(i, x)
}

// remove takes x out, if it is in.
func (h *heap[T]) remove(x T) {
	i := *h.place(x) - 1
	if i < 0 {
		return
	}
	*h.place(x) = 0
	last := len(h.items) - 1
	moved := h.items[last]
	var none T
	h.items[last] = none
	h.items = h.items[:last]
	if i != last {
		h.sift(i, moved)
	}
}

// sift writes x at index i and moves it up or down until the heap is in order.
func (h *heap[T]) sift(i int, x T) {
	for i > 0 {
		parent := (i - 1) / 2
		if h.compare(x, h.items[parent]) >= 0 {
			break
		}
		h.put(i, h.items[parent])
		i = parent
	}
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			break
		}
		if right := child + 1; right < len(h.items) && h.compare(h.items[right], h.items[child]) < 0 {
			child = right
		}
		if h.compare(h.items[child], x) >= 0 {
			break
		}
		h.put(i, h.items[child])
		i = child
	}
	h.put(i, x)
}

func (h *heap[T]) put(i int, x T) {
	h.items[i] = x
	*h.place(x) = i + 1
}
