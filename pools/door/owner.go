package door

// owner is a goroutine that alone touches some state. The others send it functions.
type owner struct {
	visits chan func()
	closed chan struct{}
}

func newOwner() owner { return owner{make(chan func()), make(chan struct{})} }

// ask runs a function in the owner's goroutine, and waits for it. It does nothing if the
// owner is gone. The function must not block.
func (o *owner) ask(visit func()) {
	done := make(chan struct{})
	select {
	case o.visits <- func() { defer close(done); visit() }:
		<-done
	case <-o.closed:
	}
}
