package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// errInterrupted: the program was interrupted before it had a result.
var errInterrupted = errors.New("interrupted")

// exitInterrupted is the exit status of a program that Ctrl-C has ended.
const exitInterrupted = 130

// againAfter is how much later another SIGTERM must come to count: a supervisor, a shell
// and a container's first process may each pass on the same one. Ctrl-C is a person's.
const againAfter = time.Second

// interruptedBy is the cause of a context that a signal has ended.
type interruptedBy struct{ signal os.Signal }

func (i interruptedBy) Error() string {
	if i.signal == syscall.SIGTERM {
		return "SIGTERM"
	}
	return "SIGINT"
}

// Unwrap: whoever is told is cancelled, as by any other context's end.
func (interruptedBy) Unwrap() error { return context.Canceled }

// lastWord says that the program ends on the spot. A command may have its own.
type lastWord struct {
	atomic.Pointer[func(interruptedBy)]
}

type lastWordKey struct{}

// whenInterruptedAgain has say take the place of the line on standard error. ctx is, or
// comes from, one of untilInterrupted; with any other it does nothing.
func whenInterruptedAgain(ctx context.Context, say func(interruptedBy)) {
	if w, ok := ctx.Value(lastWordKey{}).(*lastWord); ok {
		w.Store(&say)
	}
}

// untilInterrupted returns a context that the first SIGINT or SIGTERM ends, which is its
// cause. A later one ends the program on the spot: what the demo's server leaves behind
// is removed by localpg's watchdog.
func untilInterrupted() (ctx context.Context, stop func()) {
	last := &lastWord{}
	ending, cancel := context.WithCancelCause(context.WithValue(context.Background(), lastWordKey{}, last))
	whenInterruptedAgain(ending, func(interruptedBy) {
		fmt.Fprintln(os.Stderr, "\ntenantpool: interrupted again: not waiting any longer")
	})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(interruptedBy{<-signals})
		first := time.Now()
		again := <-signals
		for again == syscall.SIGTERM && time.Since(first) < againAfter {
			again = <-signals
		}
		(*last.Load())(interruptedBy{again})
		os.Exit(exitInterrupted)
	}()
	return ending, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
