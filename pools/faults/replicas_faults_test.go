package faults

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/pools/localpg"
)

var replicaRun = flag.Duration("replicas", 0, "how long each run of three processes on one budget lasts (0: 12s in the long form, else 6s)")

// lastsTogether is how long a run lasts at least.
func lastsTogether() time.Duration {
	switch {
	case *replicaRun > 0:
		return *replicaRun
	case long:
		return 12 * time.Second
	}
	return 6 * time.Second
}

const (
	// oneBudget is small, so that it is always taken, and has room for the floors of two
	// that are gone, one that comes and three.
	oneBudget = 36
	busy      = 30 // handlers
	calm      = 2
	// aTurn is how long one process is the busy one.
	aTurn = 3 * time.Second
)

// replicaRuns is one fault.
type replicaRuns struct {
	// turn is called when another process has become the busy one. It may replace
	// processes.
	turn func(s *stage, n int, three []*process)
	// heal ends what the turns began.
	heal func(s *stage, three []*process)
	// atLeast is how long the run lasts at least.
	atLeast time.Duration
	// over: the processes reach the server over a wire.
	over bool
	// may are causes that requests of this run may fail for.
	may []cause
}

// Three processes share what the server grants, while traffic wanders from one to the next.
func (r replicaRuns) run(t *testing.T) *stage {
	s := newStage(t, oneBudget)
	if r.over {
		s.between()
	}
	var three []*process
	for range 3 {
		three = append(three, s.start())
	}
	end := time.Now().Add(max(lastsTogether(), r.atLeast))
	for n := 0; time.Now().Before(end); n++ {
		over := time.Now().Add(aTurn)
		for i, p := range three {
			p.load(map[bool]int{true: busy, false: calm}[i == n%3])
		}
		if r.turn != nil {
			r.turn(s, n, three)
		}
		within(nil, time.Until(over))
	}
	if r.heal != nil {
		r.heal(s, three)
	}
	s.settle(three)
	s.judge(r.may)
	return s
}

// settle checks that no slot is lost: each can have all that the others leave, and in the
// end nothing is left of anybody.
func (s *stage) settle(three []*process) {
	s.t.Helper()
	for i, p := range three {
		for _, each := range three {
			each.load(map[bool]int{true: busy + oneBudget, false: 0}[each == p])
		}
		began := time.Now()
		want := shared(s.config.Config, len(three))
		if !eventually(mustHappen, func() bool { return p.now().Budget >= want }) {
			s.t.Errorf("%s is the only busy one and has %d of %d after %v:\n%s", p.name, p.now().Budget, want, time.Since(began), s.rows())
		}
		s.t.Logf("%s, busy alone, has %d after %v", three[i].name, p.now().Budget, roundly(time.Since(began)))
	}
	before := s.sum().Served
	if !eventually(mustHappen, func() bool { return s.sum().Served > before }) {
		s.t.Errorf("nothing is served at the end")
	}
	rows := func() int { return s.count(`SELECT count(*) FROM tenantpool_replicas`) }
	if !eventually(mustHappen, func() bool { return rows() == len(s.living()) }) {
		s.t.Errorf("%d processes live, and there are the rows of %d:\n%s", len(s.living()), rows(), s.rows())
	}
	for _, p := range s.living() {
		p.leave(s.t)
	}
	if n := rows(); n != 0 {
		s.t.Errorf("all have left, and there are the rows of %d:\n%s", n, s.rows())
	}
	if n := backends(s.t); n != 0 {
		s.t.Errorf("%d backends are left on the server", n)
	}
}

// judge checks what must hold in each run.
func (s *stage) judge(may []cause) {
	s.t.Helper()
	o := s.sum()
	s.t.Log(o)
	if o.Served == 0 {
		s.t.Error("nothing was served")
	}
	if o.peak > s.config.Config.MaxConnections {
		s.t.Errorf("the server had %d backends, the budget is %d", o.peak, s.config.Config.MaxConnections)
	}
	if o.refusals != 0 || o.ServerRefusals != 0 {
		s.t.Errorf("the server refused %d logins for want of room, the processes counted %d", o.refusals, o.ServerRefusals)
	}
	if o.Wrong != 0 {
		s.t.Errorf("%d wrong answers: %v", o.Wrong, o.FirstErrors[wrongAnswer])
	}
	if o.LongestWait > s.config.Config.AcquireTimeout+mayOverrun+slack() {
		s.t.Errorf("an acquire took %v, with a timeout of %v", o.LongestWait, s.config.Config.AcquireTimeout)
	}
	for why, n := range o.Failed {
		if !slices.Contains(may, why) {
			s.t.Errorf("%d requests failed: %q, the first one: %s", n, why, o.FirstErrors[why])
		}
	}
}

func (s *stage) count(query string) (n int) {
	must(s.t, onSystem(s.t, query, &n))
	return n
}

// rows is the division as the tables have it.
func (s *stage) rows() (rows string) {
	must(s.t, onSystem(s.t, `SELECT coalesce(string_agg(format('%s granted %s promised %s wants %s gone %s', label, granted, promised, wants, gone_at), E'\n'), 'no rows') FROM tenantpool_replicas`, &rows))
	return rows
}

// The short form has one of the runs.
func onlyLong(t *testing.T) {
	t.Helper()
	if !long && *replicaRun == 0 {
		t.Skip("only with TENANTPOOL_TEST_LONG=1")
	}
}

func TestThreeProcessesShareOneBudget(t *testing.T) {
	onlyLong(t)
	replicaRuns{}.run(t)
}

// One of them is killed at each turn and started again at the next: the one that has been
// busy until now, and has the most.
func TestThreeProcessesShareOneBudgetAndOneIsKilled(t *testing.T) {
	dead := -1
	revive := func(s *stage, three []*process) {
		if dead >= 0 {
			three[dead] = s.start()
		}
		dead = -1
	}
	replicaRuns{
		turn: func(s *stage, n int, three []*process) {
			revive(s, three)
			if n > 0 {
				dead = (n - 1) % 3
				three[dead].kill()
			}
		},
		heal: revive,
	}.run(t)
}

// The busy one is stopped, and keeps what it has: it lives. Its requests are excused, the
// others' are not.
func TestThreeProcessesShareOneBudgetAndOneIsStopped(t *testing.T) {
	onlyLong(t)
	const frozen = 20 * time.Second
	var thawed chan error
	replicaRuns{
		atLeast: frozen + 2*aTurn,
		turn: func(s *stage, n int, three []*process) {
			if n != 1 {
				return
			}
			if !eventually(mustHappen, func() bool { return three[1].now().Open >= shared(s.config.Config, 3)/2 }) {
				s.t.Errorf("%s has only %d:\n%s", three[1].name, three[1].now().Open, s.rows())
			}
			three[1].excuse(true)
			s.obeyed(three[1])
			thawed = three[1].freeze(frozen)
		},
		heal: func(s *stage, three []*process) {
			must(s.t, <-thawed)
			before := three[1].now().Served
			if !eventually(mustHappen, func() bool { return three[1].now().Served > before }) {
				s.t.Errorf("%s, which was stopped, serves nothing any more", three[1].name)
			}
			three[1].excuse(false)
		},
	}.run(t)
}

// As an administrator's script does that ends idle sessions.
func TestThreeProcessesShareOneBudgetAndControlSessionsAreTerminated(t *testing.T) {
	onlyLong(t)
	terminated := 0
	replicaRuns{turn: func(s *stage, _ int, _ []*process) {
		terminated += s.count(`SELECT count(pg_terminate_backend(pid)) FROM (
			SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tenantpool control session %' ORDER BY random() LIMIT 1) AS one`)
	}}.run(t)
	if terminated < 3 {
		t.Errorf("%d control sessions were terminated", terminated)
	}
}

// What a request sees whose statement ran, or whose connection was idle, when the server went.
func TestThreeProcessesShareOneBudgetAndTheServerIsRestarted(t *testing.T) {
	onlyLong(t)
	for _, mode := range []localpg.Mode{localpg.Fast, localpg.Immediate} {
		t.Run(mode.String(), func(t *testing.T) {
			replicaRuns{
				turn: func(s *stage, n int, _ []*process) {
					if n%2 == 1 {
						shutdown(mode)(s.t)
						resume(s.t)
					}
				},
				may: gone,
			}.run(t)
		})
	}
}

// A fourth starts before one of the three drains, one after the other.
func TestThreeProcessesShareOneBudgetAndAreReplaced(t *testing.T) {
	onlyLong(t)
	replicaRuns{turn: func(s *stage, n int, three []*process) {
		i := (n + 2) % 3
		fourth := s.start()
		fourth.load(three[i].order.Handlers)
		old := three[i]
		three[i] = fourth
		old.leave(s.t)
	}}.run(t)
}

// The control sessions' network is cut for most of each second turn: once with a reset, once in
// silence. Connections to databases go over the same proxy, and are not.
func TestThreeProcessesShareOneBudgetAndControlSessionsAreCut(t *testing.T) {
	onlyLong(t)
	s := replicaRuns{
		over: true,
		turn: func(s *stage, n int, three []*process) {
			if n%2 == 0 {
				return
			}
			s.cutControl([]verdict{cutBefore, loseIt}[n/2%2])
			within(nil, aTurn-time.Second)
			s.healControl()
		},
	}.run(t)
	if s.ended < 3 {
		t.Errorf("%d messages of control sessions were cut off", s.ended)
	}
}
