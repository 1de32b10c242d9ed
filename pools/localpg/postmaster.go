package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// postmaster is one run of the server.
type postmaster struct {
	process *os.Process
	// alive ends with the process, and its cause says how that ended. One
	// goroutine waits for the process and ends with it.
	alive context.Context
}

// pollInterval is how long the waits in this package sleep between two looks.
const pollInterval = 20 * time.Millisecond

// launch starts the postmaster on s.Port and returns when it answers the
// superuser, with that connection. If it does not, it is not left running.
func (s *Server) launch(ctx context.Context) (*pgx.Conn, error) {
	if _, err := s.parse(s.SuperuserDSN()); err != nil {
		return nil, err // at each try it would fail again
	}
	for {
		offset := s.logSize()
		if err := s.spawn(); err != nil {
			return nil, err
		}
		conn, err := s.answer(ctx)
		if err == nil {
			return conn, nil
		}
		said := s.logSince(offset)
		if s.running() {
			end(s.postmaster.process.Pid)
			<-s.postmaster.alive.Done()
		}
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("localpg: the server did not answer on %s:%d: %w\n%s", s.Host, s.Port, err, s.LogTail())
		case strings.Contains(said, "could not create any TCP/IP sockets"):
			return nil, fmt.Errorf("localpg: start the server on %s:%d: %w\n%s", s.Host, s.Port, errPortTaken, s.LogTail())
		case strings.Contains(said, "pre-existing shared memory block"):
			// The last process of a killed run is not quite gone.
			if err := pause(ctx); err != nil {
				return nil, fmt.Errorf("localpg: the server's previous run does not end: %w\n%s", err, s.LogTail())
			}
		default:
			return nil, fmt.Errorf("localpg: the server did not start: %w\n%s", err, s.LogTail())
		}
	}
}

// spawn starts the postmaster's process, with further arguments.
func (s *Server) spawn(arguments ...string) error {
	log, err := s.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	cmd := exec.Command(filepath.Join(s.binaries, "postgres"),
		append([]string{dataArgument(s.folder), "-p", strconv.Itoa(s.Port)}, arguments...)...)
	cmd.Dir = s.folder
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	s.account.detach(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("localpg: run %s as %s: %w", cmd.Path, s.account.who(), err)
	}
	alive, over := context.WithCancelCause(context.Background())
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		over(fmt.Errorf("postgres has ended: %w", err))
	}()
	s.postmaster = &postmaster{process: cmd.Process, alive: alive}
	return nil
}

// running reports whether the postmaster's process is there.
func (s *Server) running() bool {
	return s.postmaster != nil && s.postmaster.alive.Err() == nil
}

// answer connects as superuser as soon as the server lets it. It gives up when
// the process or ctx ends.
func (s *Server) answer(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A stranger on our port might accept and never speak; the end of the
	// process must be noticed all the same.
	alive := s.postmaster.alive
	stop := context.AfterFunc(alive, func() { cancel(context.Cause(alive)) })
	defer stop()

	for {
		conn, err := s.connectSuperuser(ctx)
		if err == nil {
			return conn, nil
		}
		if cause := pause(ctx); cause != nil {
			return nil, fmt.Errorf("%w; the last answer was: %w", cause, err)
		}
	}
}

// connectSuperuser connects to this server and no other.
func (s *Server) connectSuperuser(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx, s.SuperuserDSN())
	if err != nil {
		return nil, err
	}
	var name string
	if err := conn.QueryRow(ctx, "SELECT current_setting('cluster_name')").Scan(&name); err != nil || name != clusterName(s.folder) {
		HangUp(conn)
		return nil, errors.Join(errPortTaken, err)
	}
	return conn, nil
}

// pause waits for one poll interval. It returns ctx's cause if ctx ends first.
func pause(ctx context.Context) error {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
