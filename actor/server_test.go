package actor_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
)

// server is a fake database server, and the Dialer to it. Its latencies are
// virtual, so it belongs in a bubble. The fields above mu are set while no
// connection is being opened or closed.
type server struct {
	dialTakes  time.Duration
	closeTakes time.Duration
	// refuse says why the dial fails, if it does; attempts count from 1.
	refuse func(attempt int, id model.WorkspaceID) error
	// leaves: a refused dial leaves a connection that the server still holds.
	leaves bool
	// stubborn dials do not look at their context.
	stubborn bool

	mu       sync.Mutex
	attempts []time.Time // when each dial began
	inARow   []int       // what its context says that it is
	refused  int
	gaveUp   int // dials that ended because their context was done
	conns    []*connection
	closed   []*connection // in the order in which Close returned
	events   []string
}

// connection is a fake one.
type connection struct {
	server    *server
	workspace model.WorkspaceID
	number    int // of the dial
	closes    []model.CloseReason
}

var errCalledOff = errors.New("the dial was called off")

func (s *server) Dial(ctx context.Context, id model.WorkspaceID) (actor.Conn, error) {
	attempt := s.began(id)
	s.mu.Lock()
	s.inARow = append(s.inARow, actor.DialAttempt(ctx))
	s.mu.Unlock()
	var done <-chan struct{}
	if !s.stubborn {
		done = ctx.Done()
	}
	select {
	case <-time.After(s.dialTakes):
	case <-done:
		s.mu.Lock()
		s.gaveUp++
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", errCalledOff, ctx.Err())
	}
	var err error
	if s.refuse != nil {
		err = s.refuse(attempt, id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refused++
		if !s.leaves {
			return nil, err
		}
	}
	c := &connection{server: s, workspace: id, number: attempt}
	s.conns = append(s.conns, c)
	s.events = append(s.events, "opened "+string(id))
	return c, err
}

func (s *server) began(id model.WorkspaceID) (attempt int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(s.attempts, time.Now())
	s.events = append(s.events, "dial "+string(id))
	return len(s.attempts)
}

func (c *connection) Close(reason model.CloseReason) {
	s := c.server
	s.mu.Lock()
	c.closes = append(c.closes, reason)
	s.events = append(s.events, fmt.Sprintf("close %s %s", c.workspace, reason))
	takes := s.closeTakes
	s.mu.Unlock()

	time.Sleep(takes) // virtual

	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = append(s.closed, c)
	s.events = append(s.events, "closed "+string(c.workspace))
}

// closesIn changes how long the next closes take.
func (s *server) closesIn(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeTakes = d
}

// dials is how many have begun.
func (s *server) dials() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.attempts)
}

// gaps are the times between the dials.
func (s *server) gaps() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(s.attempts); i++ {
		gaps = append(gaps, s.attempts[i].Sub(s.attempts[i-1]))
	}
	return gaps
}

// since returns the events and forgets them.
func (s *server) since() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = nil
	return events
}

// leaks says what is wrong with the connections when all should be gone.
func (s *server) leaks() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, c := range s.conns {
		if len(c.closes) != 1 {
			errs = append(errs, fmt.Errorf("connection %d of %s was closed %d times, for %v", c.number, c.workspace, len(c.closes), c.closes))
		}
	}
	if len(s.closed) != len(s.conns) {
		errs = append(errs, fmt.Errorf("%d connections were opened, %d are closed", len(s.conns), len(s.closed)))
	}
	failed := s.gaveUp + s.refused
	if s.leaves {
		failed = s.gaveUp
	}
	if len(s.attempts) != len(s.conns)+failed {
		errs = append(errs, fmt.Errorf("%d dials, %d connections, %d failures", len(s.attempts), len(s.conns), failed))
	}
	return errors.Join(errs...)
}

// failure is a dialer's error that says what follows from it.
type failure struct{ kind model.FailureKind }

func (f failure) Error() string                  { return "refused: " + f.kind.String() }
func (f failure) FailureKind() model.FailureKind { return f.kind }

// refuseFirst refuses the first n dials for the same reason.
func refuseFirst(n int, err error) func(int, model.WorkspaceID) error {
	return func(attempt int, _ model.WorkspaceID) error {
		if attempt <= n {
			return err
		}
		return nil
	}
}
