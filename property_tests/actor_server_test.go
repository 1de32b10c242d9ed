package property_tests

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/actor"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
)

// actorServer is a fake server, the Dialer to it and the judge: it counts a
// connection from Dial's call to Close's return, as a real one would.
type actorServer struct {
	plan  actorPlan
	begin time.Time

	mu   sync.Mutex
	now  actorCounts // what is true at this moment
	byID map[model.WorkspaceID]int
	// renewed is how many dials had begun at the last Renew that has returned.
	renewed map[model.WorkspaceID]int
	// stale has the workspaces that were renewed or paused. A dial that was under way
	// then may fail for good and counts as one that may pass.
	stale     map[model.WorkspaceID]bool
	conns     []*actorConn
	began     int // dials
	failed    int // of them, without a connection
	closes    int // begun
	reasons   [model.CloseReasons]uint64
	moved     time.Duration // how long all dials and closes took together
	limits    []actorLimitsAt
	drainedAt time.Duration // when Drain was called, or Never
	log       []string
	faults    []string
}

// actorCounts is what the callers and the server know of themselves.
type actorCounts struct{ dialing, open, held, closing, waiting int }

type actorConn struct {
	server    *actorServer
	number    int
	workspace model.WorkspaceID
	held      bool
	broken    bool // released, but not clean
	closes    int
}

type actorLimitsAt struct {
	at          time.Duration
	budget, cap int
}

// actorFailure is a dial's.
type actorFailure struct{ kind model.FailureKind }

func (f actorFailure) Error() string                  { return "refused: " + f.kind.String() }
func (f actorFailure) FailureKind() model.FailureKind { return f.kind }

var errActorCalledOff = errors.New("the dial was called off")

func newActorServer(p actorPlan) *actorServer {
	return &actorServer{
		plan:      p,
		begin:     time.Now(),
		byID:      make(map[model.WorkspaceID]int),
		renewed:   make(map[model.WorkspaceID]int),
		stale:     make(map[model.WorkspaceID]bool),
		limits:    []actorLimitsAt{{-1, p.limits.Budget, p.limits.PerWorkspace}},
		drainedAt: core.Never,
	}
}

func (s *actorServer) elapsed() time.Duration { return time.Since(s.begin) }

// note, fault: the caller holds mu.
func (s *actorServer) note(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf("%6v  ", s.elapsed())+fmt.Sprintf(format, args...))
}

func (s *actorServer) fault(format string, args ...any) {
	s.note("FAULT: "+format, args...)
	s.faults = append(s.faults, fmt.Sprintf("%v: ", s.elapsed())+fmt.Sprintf(format, args...))
}

// with runs f while holding mu.
func (s *actorServer) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// inForce is the highest budget and cap at any time of the present moment: what
// happens at the same moment as a SetLimits may come before it.
func (s *actorServer) inForce() (budget, perWorkspace int) {
	now := s.elapsed()
	for i, l := range s.limits {
		if i+1 < len(s.limits) && s.limits[i+1].at < now {
			continue
		}
		budget, perWorkspace = max(budget, l.budget), max(perWorkspace, l.cap)
	}
	return budget, perWorkspace
}

func (s *actorServer) Dial(ctx context.Context, id model.WorkspaceID) (actor.Conn, error) {
	s.mu.Lock()
	number := s.began
	d := s.plan.dials[number%len(s.plan.dials)]
	s.began++
	s.now.dialing++
	s.now.open++
	s.byID[id]++
	s.note("dial %d of %s: %#v", number, id, d)
	budget, perWorkspace := s.inForce()
	if s.now.open > budget {
		s.fault("I1: the dial makes %d connections, the budget is %d", s.now.open, budget)
	}
	if s.byID[id] > perWorkspace {
		s.fault("I2: the dial makes %d connections of %s, the cap is %d", s.byID[id], id, perWorkspace)
	}
	if s.elapsed() > s.drainedAt {
		s.fault("I9: a dial after the drain began")
	}
	s.mu.Unlock()

	var done <-chan struct{}
	if !d.stubborn {
		done = ctx.Done()
	}
	begin := time.Now()
	calledOff := false
	select {
	case <-time.After(d.takes):
	case <-done:
		calledOff = true
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved += time.Since(begin)
	s.now.dialing--
	if !d.stubborn && !calledOff && s.elapsed() > s.drainedAt {
		s.fault("dial %d was not called off when the drain began", number)
	}
	var err error
	switch {
	case calledOff:
		err = errActorCalledOff
	case d.fails:
		err = actorFailure{d.kind}
	}
	if calledOff || d.fails && !d.leaves {
		s.failed++
		s.now.open--
		s.byID[id]--
		s.note("dial %d failed: %v", number, err)
		return nil, err
	}
	c := &actorConn{server: s, number: number, workspace: id}
	s.conns = append(s.conns, c)
	s.note("dial %d ended: error %v", number, err)
	return c, err
}

func (c *actorConn) Close(reason model.CloseReason) {
	s := c.server
	s.mu.Lock()
	takes := s.plan.closes[s.closes%len(s.plan.closes)]
	s.closes++
	c.closes++
	s.now.closing++
	s.moved += takes
	s.note("close %d of %s, %s: takes %v", c.number, c.workspace, reason, takes)
	s.reasons[reason]++
	if c.held {
		s.fault("I5: connection %d is closed under its lease", c.number)
	}
	if c.closes > 1 {
		s.fault("connection %d is closed again", c.number)
	}
	s.mu.Unlock()

	time.Sleep(takes) // virtual

	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.closing--
	s.now.open--
	s.byID[c.workspace]--
}

// compare checks the supervisor's stats against what the server and the callers
// know, at a moment when nothing moves.
func (s *actorServer) compare(st actor.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := model.Counts{
		Dialing: s.now.dialing,
		Idle:    s.now.open - s.now.dialing - s.now.held - s.now.closing,
		InUse:   s.now.held,
		Closing: s.now.closing,
		Waiting: s.now.waiting,
	}
	share := st.Shares[0]
	if share.Counts != want {
		s.fault("the stats say %+v, true is %+v", share.Counts, want)
	}
	if st.Shares[1].Draining && s.now.open > 0 {
		s.fault("the second share drains, but the first has %+v", s.now)
	}
	if st.Saturation < 0 || st.Saturation > 1 {
		s.fault("the saturation is %v", st.Saturation)
	}
	if share.EffectiveBudget > share.Budget || share.Draining != (s.drainedAt <= s.elapsed()) {
		s.fault("the stats say %+v", share)
	}
}

// settle checks the account after the drain.
func (s *actorServer) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.closes != 1 {
			s.fault("connection %d of %s was closed %d times", c.number, c.workspace, c.closes)
		}
	}
	if s.began != len(s.conns)+s.failed || s.closes != len(s.conns) || s.now != (actorCounts{}) {
		s.fault("%d dials made %d connections and %d failures; %d were closed; in the end there is %+v",
			s.began, len(s.conns), s.failed, s.closes, s.now)
	}
}

// report is the failure message.
func (s *actorServer) report() string {
	const most = 150
	log := s.log
	if len(log) > most {
		log = append([]string{fmt.Sprintf("(%d lines before)", len(log)-most)}, log[len(log)-most:]...)
	}
	return fmt.Sprintf("%s\n\nThe plan:%#v\nWhat happened:\n%s",
		strings.Join(s.faults, "\n"), s.plan, strings.Join(log, "\n"))
}
