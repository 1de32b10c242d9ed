package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Mode is a way to end the server.
type Mode int

const (
	// Smart (SIGTERM) refuses new clients and waits until the last one leaves.
	Smart Mode = iota
	// Fast (SIGINT) rolls back and disconnects every client, then ends in
	// good order.
	Fast
	// Immediate (SIGQUIT) ends without good order; the next start recovers.
	Immediate
	// Kill (SIGKILL) is a crash of the whole server; the next start recovers.
	Kill
)

func (m Mode) String() string {
	switch m {
	case Smart:
		return "smart"
	case Fast:
		return "fast"
	case Immediate:
		return "immediate"
	case Kill:
		return "kill"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// orphanPatience is how long backends without a postmaster may take to notice.
// One that computes never does.
const orphanPatience = 2 * time.Second

// Shutdown ends the server and keeps its data and port for Resume. It blocks
// until the last process of the server is gone, or until ctx ends; then the
// error wraps ctx's cause, the server is still on its way down, and a Shutdown
// with a harsher mode may follow. Shutting down a server that is down is no
// error.
func (s *Server) Shutdown(ctx context.Context, mode Mode) error {
	if mode < Smart || mode > Kill {
		return fmt.Errorf("localpg: shut down: there is no %v: use Smart, Fast, Immediate or Kill", mode)
	}
	if s.stopped || s.postmaster == nil {
		return nil
	}
	if err := s.postmaster.process.Signal(mode.signal()); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("localpg: %v shutdown: %w", mode, err)
	}
	select {
	case <-s.postmaster.alive.Done():
	case <-ctx.Done():
		return fmt.Errorf("localpg: %v shutdown: the server still runs: %w", mode, context.Cause(ctx))
	}

	// Killed backends' orphans go by themselves when they are idle.
	kill := time.Now().Add(orphanPatience)
	for {
		left, err := processes(s.folder)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Now().After(kill) {
			for _, pid := range left {
				end(pid)
			}
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("localpg: %v shutdown: %d backends are still there: %w", mode, len(left), err)
		}
	}
}

// Resume starts the server again after Shutdown, with the same data on the same
// port. It blocks until the server answers. The error says so when the server
// still runs, when Stop has removed it, or when another process has taken the
// port; after the last of these, Resume may be tried again.
func (s *Server) Resume(ctx context.Context) error {
	if err := s.maySpawn(); err != nil {
		return fmt.Errorf("localpg: resume: %w", err)
	}
	// It is there if the server was shut down in its recovery.
	if err := os.Remove(s.dataFile(standbySignal)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("localpg: resume: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errSlow)
	defer cancel()
	conn, err := s.launch(ctx)
	if err != nil {
		return err
	}
	HangUp(conn)
	return nil
}

// maySpawn tells why the server cannot be started again.
func (s *Server) maySpawn() error {
	switch {
	case s.stopped:
		return errors.New("Stop has removed this server: start another one")
	case s.running():
		return errors.New("the server runs: call Shutdown first")
	}
	return nil
}

// Stop ends the server (fast; if that takes longer than 10 s immediate; then
// SIGKILL), removes its folder and ends the watchdog. Afterwards no process, no
// file and no goroutine is left. A second Stop does nothing; after an error it
// tries again.
func (s *Server) Stop() error {
	if s.stopped {
		return nil
	}
	var failed error
	for _, mode := range []Mode{Fast, Immediate, Kill} {
		ctx, cancel := context.WithTimeoutCause(context.Background(), s.patience,
			fmt.Errorf("it took longer than %v", s.patience))
		failed = s.Shutdown(ctx, mode)
		cancel()
		if failed == nil {
			break
		}
	}
	if failed != nil {
		return failed // the watchdog stays, for the end of our program
	}
	tail := s.LogTail()
	if s.watchdog != nil {
		failed = s.watchdog.finish(6 * s.patience)
		s.watchdog = nil
	}
	if err := os.RemoveAll(s.folder); err != nil { // somebody killed the watchdog
		return errors.Join(failed, fmt.Errorf("localpg: remove the server's folder: %w", err))
	}
	s.lastLog, s.stopped = tail, true
	return nil
}
