package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// process is one of the application's. The test's goroutine alone calls its methods.
type process struct {
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	orders *json.Encoder
	order  order
	latest atomic.Pointer[said]
	gone   chan struct{} // its output has ended
	killed bool
}

// stage is a server that lets the role have exactly the budget, and processes on it.
type stage struct {
	t      *testing.T
	config replicaConfig
	view   *serverView
	logAt  int64
	all    []*process // killed ones too
	wire   *wire      // nil: they reach the server without one
	// controls are the wire's pairs that are control sessions, and ended how many messages of
	// theirs did not arrive; the wire's lock.
	controls map[*pair]bool
	ended    int
}

// newStage has the server grant the role the budget and no more, and write each error's SQLSTATE into its log.
func newStage(t *testing.T, budget int) *stage {
	t.Helper()
	admin(t, `ALTER SYSTEM SET log_line_prefix = '%e '`)
	setMaxConnections(budget + 1)(t) // for onSystem
	admin(t, fmt.Sprintf(`ALTER ROLE %s CONNECTION LIMIT %d`, server.User, budget))
	t.Cleanup(func() {
		admin(t, fmt.Sprintf(`ALTER ROLE %s CONNECTION LIMIT -1`, server.User))
		admin(t, `ALTER SYSTEM RESET log_line_prefix`)
		setMaxConnections(connections)(t)
	})
	cfg := config()
	cfg.MaxConnections = budget
	cfg.MaxConnectionsPerDB = 10
	cfg.AcquireTimeout = acquireTimeout
	s := &stage{
		t: t, view: watchServer(),
		config: replicaConfig{
			Config: cfg, Password: cfg.Password, Group: fmt.Sprint("shop of ", budget),
			Workspaces: 20, Zipf: 1, Work: 10 * time.Millisecond, System: 0.05,
		},
	}
	s.logAt = int64(len(s.log(0)))
	t.Cleanup(func() {
		for _, p := range s.all {
			_ = p.cmd.Process.Kill()
			<-p.gone
			_ = p.cmd.Wait()
		}
		s.view.stop()
	})
	return s
}

// acquireTimeout is longer than any of the faults in which a process cannot dial.
const acquireTimeout = 10 * time.Second

// log is the server's, from an offset on.
func (s *stage) log(from int64) string {
	s.t.Helper()
	var folder string
	must(s.t, control.QueryRow(`SHOW data_directory`).Scan(&folder))
	text, err := os.ReadFile(filepath.Join(filepath.Dir(folder), "postgres.log"))
	must(s.t, err)
	return string(text[from:])
}

// refusals is how many logins the server refused because it, or the role, was full.
func (s *stage) refusals() int {
	n := 0
	for line := range strings.Lines(s.log(s.logAt)) {
		if strings.HasPrefix(line, "53300 ") {
			n++
		}
	}
	return n
}

// between has the processes started from now on reach the server over a wire.
func (s *stage) between() {
	s.wire = startWire(s.t, "127.0.0.1:0")
	s.controls = map[*pair]bool{}
	s.config.Config.Host, s.config.Config.Port = "127.0.0.1", s.wire.port()
	s.healControl()
}

// cutControl has this become of the control sessions, those there are and new ones. A
// session says what it is in its first message.
func (s *stage) cutControl(then verdict) {
	s.wire.update(func() {
		s.wire.look = func(p *pair, to direction, data []byte) verdict {
			if to == toServer && p.passed[toServer] == 0 {
				s.controls[p] = bytes.Contains(data, []byte("application_name\x00tenantpool control session "))
			}
			if !s.controls[p] {
				return passOn
			}
			if then != passOn {
				s.ended++
			}
			return then
		}
	})
}

// healControl ends a cut. Those that went silent are reset: the server's keep-alive would find out, if it did not speak to a proxy.
func (s *stage) healControl() {
	s.cutControl(passOn)
	s.wire.each(func(p *pair) {
		if s.controls[p] && p.ways[toServer].passage == lost {
			p.cut()
		}
	})
}

// obeyed returns when the process has carried out its orders.
func (s *stage) obeyed(p *process) {
	s.t.Helper()
	if !eventually(mustHappen, func() bool { return p.now().Order == p.order }) {
		s.t.Fatalf("%s does not obey", p.name)
	}
}

// start starts a process, and returns when it serves.
func (s *stage) start() *process {
	s.t.Helper()
	return s.startWith(s.config)
}

func (s *stage) startWith(config replicaConfig) *process {
	s.t.Helper()
	self, err := os.Executable()
	must(s.t, err)
	p := &process{name: fmt.Sprintf("process %d", len(s.all)+1), cmd: exec.Command(self), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asReplica+"=1")
	p.cmd.Stderr = &prefixed{s.t, p.name}
	p.in, err = p.cmd.StdinPipe()
	must(s.t, err)
	out, err := p.cmd.StdoutPipe()
	must(s.t, err)
	p.orders = json.NewEncoder(p.in)
	must(s.t, p.cmd.Start())
	s.all = append(s.all, p)
	go func() {
		defer close(p.gone)
		lines := json.NewDecoder(bufio.NewReader(out))
		for {
			var line said
			if lines.Decode(&line) != nil {
				return
			}
			p.latest.Store(&line)
		}
	}()
	must(s.t, p.orders.Encode(config))
	if !eventually(mustHappen, func() bool { return p.latest.Load() != nil || within(p.gone, 0) }) || p.latest.Load() == nil {
		s.t.Fatalf("%s does not serve", p.name)
	}
	return p
}

// prefixed passes a process's log on to the test's.
type prefixed struct {
	t    *testing.T
	name string
}

func (w *prefixed) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, server.Password) {
			w.t.Errorf("the log of %s holds the password", w.name)
		}
		if testing.Verbose() {
			fmt.Printf("%s: %s", w.name, line)
		}
	}
	return len(b), nil
}

func (p *process) give(o order) {
	p.order = o
	_ = p.orders.Encode(o) // one that was killed is none of its readers
}

func (p *process) load(handlers int) { p.give(order{handlers, p.order.Excused}) }

func (p *process) excuse(excused bool) { p.give(order{p.order.Handlers, excused}) }

// now is what it said last; the first line has come before start returned.
func (p *process) now() said { return *p.latest.Load() }

// kill is kill -9.
func (p *process) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill()
	<-p.gone
	_ = p.cmd.Wait()
}

// freeze stops it for so long; the shell continues it although the test may have ended.
func (p *process) freeze(d time.Duration) (thawed chan error) {
	sh := exec.Command("sh", "-c", `kill -STOP "$1" && sleep "$2"; kill -CONT "$1"`, "sh", fmt.Sprint(p.cmd.Process.Pid), fmt.Sprint(d.Seconds()))
	thawed = make(chan error, 1)
	go func() { thawed <- sh.Run() }()
	return thawed
}

// leave has it drain, as for SIGTERM, and waits until it is gone.
func (p *process) leave(t *testing.T) {
	t.Helper()
	_ = p.in.Close()
	if !within(p.gone, mustHappen) {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // for the dump
		within(p.gone, 5*time.Second)
		t.Fatalf("%s does not end", p.name)
	}
	if err := p.cmd.Wait(); err != nil || !p.now().Left {
		t.Errorf("%s did not end well: %v", p.name, err)
	}
}

// living are the processes that were not killed and have not left.
func (s *stage) living() (living []*process) {
	for _, p := range s.all {
		if !within(p.gone, 0) {
			living = append(living, p)
		}
	}
	return living
}

// outcome is what all processes' requests came to.
type outcome struct {
	said
	peak, refusals int
}

// sum adds up what all have said so far.
func (s *stage) sum() outcome {
	o := outcome{said: said{Failed: map[cause]int{}, FirstErrors: map[cause]string{}, Times: times{}}}
	for _, p := range s.all {
		now := p.now()
		o.Served, o.Wrong, o.Excused = o.Served+now.Served, o.Wrong+now.Wrong, o.Excused+now.Excused
		o.LongestWait = max(o.LongestWait, now.LongestWait)
		o.ServerRefusals += now.ServerRefusals
		for why, n := range now.Failed {
			o.Failed[why] += n
		}
		maps.Copy(o.FirstErrors, now.FirstErrors)
		o.Times.merge(now.Times)
	}
	o.peak, o.refusals = int(s.view.peak.Load()), s.refusals()
	return o
}

func (o outcome) String() string {
	return fmt.Sprintf("%d served, failed: %s, %d more excused; p50 %v, p99 %v, longest wait %v; at most %d backends, %d logins refused; %d wrong answers",
		o.Served, listCauses(o.Failed), o.Excused, o.Times.at(0.5).Round(100*time.Microsecond), o.Times.at(0.99).Round(100*time.Microsecond),
		roundly(o.LongestWait), o.peak, o.refusals, o.Wrong)
}

// shared is what one of n replicas can have for its workspaces while the others are idle:
// the budget without the control sessions, the others' floors, the reserve, and its own
// share for the system database.
func shared(cfg model.Config, n int) int {
	floor := systemShareOf(cfg) + 1
	return cfg.MaxConnections - n - (n-1)*floor - (1 + floor) - systemShareOf(cfg)
}

func systemShareOf(cfg model.Config) int {
	cfg.SharedBudget = "any"
	return cfg.SystemShare()
}

// onSystem asks the system database, past the managers, as a superuser.
func onSystem(t *testing.T, query string, to any) error {
	t.Helper()
	config, err := pgx.ParseConfig(server.SuperuserDSN())
	if err != nil {
		return err
	}
	config.Database = server.Database
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(t.Context()) }()
	return conn.QueryRow(t.Context(), query).Scan(to)
}
