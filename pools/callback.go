package pools

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// PanicError is a panic of a function that the program gave to the Manager.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("it panicked: %v", e.Value) }

// Unwrap returns the Value if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errExit = errors.New("it ended its goroutine instead of returning")

// recovered turns a panic of the program's f into a *PanicError.
func recovered(f func() error) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	err = f()
	returned = true
	return err
}

// apart runs the program's f on a goroutine of its own: it may not return in time, or never.
// Its error is sent, and then the channel is closed.
func apart(f func() error) <-chan error {
	returned := make(chan error, 1)
	go func() {
		defer close(returned)
		err := errExit
		defer func() { returned <- err }()
		err = recovered(f)
	}()
	return returned
}
