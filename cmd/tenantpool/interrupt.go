package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// errInterrupted: the program was interrupted before it had done anything worth
// a result.
var errInterrupted = errors.New("interrupted")

// exitInterrupted is the exit status of a program that Ctrl-C has ended.
const exitInterrupted = 130

// againAfter is how much later another SIGTERM must come to count: a supervisor, a shell
// and a container's first process may each pass on the same one. Ctrl-C is a person's.
const againAfter = time.Second

// untilInterrupted returns a context that the first SIGINT or SIGTERM ends. A
// later one ends the program on the spot: what the demo's server leaves behind
// is removed by localpg's watchdog.
func untilInterrupted() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		first := time.Now()
		cancel()
		for <-signals == syscall.SIGTERM && time.Since(first) < againAfter {
		}
		fmt.Fprintln(os.Stderr, "\ntenantpool: interrupted again: not waiting any longer")
		os.Exit(exitInterrupted)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}
