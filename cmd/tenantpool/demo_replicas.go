package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// mostReplicas have room in a row.
const mostReplicas = 8

// checkReplicas refuses a budget in which they have no room.
func (o demoOptions) checkReplicas() error {
	if o.replicas < 2 {
		return nil
	}
	cfg := o.replicaConfig(model.DefaultConfig())
	if err := (replicas.Group{Budget: o.budget, Floor: cfg.SystemShare() + 1}).Fits(o.replicas); err != nil {
		return fmt.Errorf("--replicas %d --budget %d: %w", o.replicas, o.budget, err)
	}
	return nil
}

// replicaConfig is that of each process.
func (o demoOptions) replicaConfig(cfg model.Config) model.Config {
	cfg.MaxConnections, cfg.SharedBudget = o.budget, "demo"
	return cfg
}

// replicaShow is what the demo knows of the processes.
type replicaShow struct {
	demoOptions
	con  *stage.Console
	all  []*replica
	said chan replicaSaid // of all of them
	busy int              // whose turn it is; -1: nobody's
	// turn is how long one is busy.
	turn time.Duration
}

// replica is a process as the demo sees it.
type replica struct {
	name         string
	cmd          *exec.Cmd
	stdin        io.WriteCloser
	ready, ended bool
	now          replicaNow
	most         int // connections that it had at once
}

// replicaSaid is a line of a process. nil: there are no more, because of err.
type replicaSaid struct {
	from *replica
	now  *replicaNow
	err  error
}

// demoReplicas is the demo of several processes that share one budget.
func demoReplicas(ctx context.Context, o demoOptions, stdout, stderr io.Writer) error {
	con := stage.StartConsole(stderr)
	defer con.Stop()
	server := &show{}
	s := &replicaShow{demoOptions: o, con: con, said: make(chan replicaSaid), busy: -1}
	rep, err := s.play(ctx, server)
	if err != nil && ctx.Err() != nil && rep.Requests == 0 {
		err = fmt.Errorf("%w before the traffic began", errInterrupted)
	}
	con.KeepLine()
	err = errors.Join(err, server.tearDown(&rep, con))
	con.Stop()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := rep.write(stdout, o.report); err != nil {
		return fmt.Errorf("demo: write the report: %w", err)
	}
	return rep.verdict()
}

func (s *replicaShow) play(ctx context.Context, server *show) (rep report, err error) {
	server.stage, err = stage.Set(ctx, stage.Options{Workspaces: s.workspaces, Budget: s.budget, Workers: s.workers, Tables: stage.Shop}, s.con)
	if err != nil {
		return rep, err
	}
	if err := server.stage.Fence(ctx); err != nil {
		return rep, fmt.Errorf("set the role's CONNECTION LIMIT: %w", err)
	}
	if server.watch, _, err = server.stage.Watch(ctx); err != nil {
		return rep, err
	}
	s.con.Printf("the role's CONNECTION LIMIT is %d, the budget of %d processes together", s.budget, s.replicas)
	defer s.endAll()
	for i := range s.replicas {
		if err := s.start(i, server.stage); err != nil {
			return rep, err
		}
	}
	if err := s.untilReady(ctx); err != nil {
		return rep, err
	}
	took := s.traffic(ctx)
	s.endAll()
	return s.report(server.stage, took), nil
}

// start starts this program again.
func (s *replicaShow) start(i int, st *stage.Stage) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start another process: %w", err)
	}
	r := &replica{name: string(rune('A' + i))}
	addr := ""
	if i == 0 {
		addr = s.addr
	}
	r.cmd = exec.Command(self, replicaCommand, "--name", r.name, fmt.Sprintf("--workspaces=%d", s.workspaces), fmt.Sprintf("--workers=%d", s.workers),
		fmt.Sprintf("--zipf=%g", s.zipf), "--addr="+addr, fmt.Sprintf("--addr-given=%t", s.addrGiven))
	cfg := s.replicaConfig(st.Config)
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "DB_") && !strings.HasPrefix(line, "DATABASE_URL=") { // about other servers
			r.cmd.Env = append(r.cmd.Env, line)
		}
	}
	r.cmd.Env = append(r.cmd.Env, "DB_HOST="+cfg.Host, fmt.Sprintf("DB_PORT=%d", cfg.Port), "DB_USER="+cfg.User, "DB_PASSWORD="+cfg.Password,
		"DB_NAME="+cfg.SystemDatabase, "DB_SSLMODE="+cfg.SSLMode, "DB_PREFIX="+cfg.Prefix,
		fmt.Sprintf("DB_MAX_CONNECTIONS=%d", cfg.MaxConnections), "DB_SHARED_BUDGET="+cfg.SharedBudget)
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("start another process: %w", err)
	}
	s.all = append(s.all, r)
	go s.listen(r, stdout, stderr)
	return nil
}

// listen passes on what the process says, and its end.
func (s *replicaShow) listen(r *replica, stdout, stderr io.Reader) {
	var told sync.WaitGroup
	told.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.con.Printf("%s", lines.Text())
		}
	})
	for lines := json.NewDecoder(stdout); ; {
		var now replicaNow
		if lines.Decode(&now) != nil {
			break
		}
		s.said <- replicaSaid{from: r, now: &now}
	}
	told.Wait()
	s.said <- replicaSaid{from: r, err: r.cmd.Wait()}
}

// take takes in what one has said.
func (s *replicaShow) take(said replicaSaid) {
	r := said.from
	if said.now != nil {
		end := r.now.End
		if r.now = *said.now; r.now.End == nil {
			r.now.End = end
		}
		r.ready, r.most = true, max(r.most, r.now.Open)
		return
	}
	r.ended = true
	r.now.Share, r.now.Open, r.now.InUse, r.now.Waiting = 0, 0, 0, 0
	if r.now.End == nil {
		s.con.Printf("process %s has ended: %v", r.name, said.err)
	}
}

// untilReady waits until all can serve.
func (s *replicaShow) untilReady(ctx context.Context) error {
	for _, r := range s.all {
		for !r.ready {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case said := <-s.said:
				if s.take(said); said.from.ended {
					return fmt.Errorf("process %s ended before it could serve: %w", said.from.name, said.err)
				}
			}
		}
	}
	return nil
}

// busyFor is long enough to watch, and to forget who was it before.
const busyFor = 5 * time.Second

// traffic lets one after the other be busy.
func (s *replicaShow) traffic(ctx context.Context) (took time.Duration) {
	s.turn = busyFor
	until := ", until you interrupt (Ctrl-C)"
	playing := ctx
	if s.length > 0 {
		s.turn = min(busyFor, s.length/time.Duration(s.replicas))
		until = fmt.Sprintf(", for %v", s.length)
		var end context.CancelFunc
		playing, end = context.WithTimeout(ctx, s.length)
		defer end()
	}
	s.con.Printf("one process at a time is busy, with %s workers, %v each%s", stage.Grouped(s.workers), s.turn, until)
	s.con.Printf("may have/has in use; the bar is the budget: A is in use by A, a is A's and not in use, . is nobody's or a control session")
	s.con.Printf("%s", s.header())
	every, first := rowEvery, firstRow
	if s.con.Rewrites() {
		every, first = redrawEvery, redrawEvery
	}
	next, draw := time.NewTimer(s.turn), time.NewTimer(first)
	defer next.Stop()
	defer draw.Stop()
	s.nextTurn()
	began := time.Now()
	var rate rate
	rate.add(0, 0)
	row := func() {
		rate.add(time.Since(began), s.sent())
		s.con.Log(s.row(time.Since(began), rate.perSecond()))
	}
	for s.living() > 0 {
		select {
		case <-playing.Done():
			row()
			if ctx.Err() != nil {
				s.con.Printf("interrupted: letting the requests under way finish (interrupt again to exit at once)")
			}
			return time.Since(began)
		case said := <-s.said:
			if s.take(said); said.from.ended && s.busy >= 0 && s.all[s.busy] == said.from {
				s.nextTurn()
			}
		case <-next.C:
			s.nextTurn()
			next.Reset(s.turn)
		case <-draw.C:
			row()
			draw.Reset(every)
		}
	}
	return time.Since(began)
}

func (s *replicaShow) living() (n int) {
	for _, r := range s.all {
		if !r.ended {
			n++
		}
	}
	return n
}

func (s *replicaShow) sent() (n uint64) {
	for _, r := range s.all {
		n += r.now.Sent
	}
	return n
}

// nextTurn makes the next one busy.
func (s *replicaShow) nextTurn() {
	if s.busy >= 0 {
		s.all[s.busy].tell(beQuiet)
	}
	for range s.all {
		if s.busy = (s.busy + 1) % len(s.all); !s.all[s.busy].ended {
			s.all[s.busy].tell(beBusy)
			return
		}
	}
}

// tell writes a line that the pipe has room for. Whoever cannot read it has ended.
func (r *replica) tell(what string) { _, _ = io.WriteString(r.stdin, what+"\n") }

// endAll has the processes finish, and takes in their last words.
func (s *replicaShow) endAll() {
	for _, r := range s.all {
		_ = r.stdin.Close()
	}
	patience := time.NewTimer(requestsEndWithin + drainWithin)
	defer patience.Stop()
	for s.living() > 0 {
		select {
		case said := <-s.said:
			s.take(said)
		case <-patience.C:
			for _, r := range s.all {
				_ = r.cmd.Process.Kill()
			}
		}
	}
}

// requestsEndWithin is what a request may take.
const requestsEndWithin = 30 * time.Second

const (
	replicaRow  = "%5s %6s"
	replicaCell = " %7s"
	barAtMost   = 77
)

func (s *replicaShow) header() string {
	line := fmt.Sprintf(replicaRow, "time", "req/s")
	for _, r := range s.all {
		line += fmt.Sprintf(replicaCell, r.name)
	}
	return line
}

// row is one line of at most 77 characters, so that it fits a terminal of 80.
func (s *replicaShow) row(at time.Duration, rate float64) string {
	line := fmt.Sprintf(replicaRow, clock(at), compact(uint64(rate)))
	for i, r := range s.all {
		cell := fmt.Sprintf("%d/%d", r.now.Share, r.now.InUse)
		switch {
		case r.ended:
			cell = "gone"
		case i == s.busy:
			cell = ">" + cell
		}
		line += fmt.Sprintf(replicaCell, cell)
	}
	return line + " " + s.bar(barAtMost-len(line)-1)
}

// bar is the budget, in so many characters at most.
func (s *replicaShow) bar(width int) string {
	width = min(width, s.budget)
	scale := func(connections int) int { return (connections*width + s.budget/2) / s.budget }
	var bar strings.Builder
	sum := 0
	part := func(connections int, char string) {
		sum += connections
		bar.WriteString(strings.Repeat(char, max(0, min(scale(sum), width)-bar.Len())))
	}
	for _, r := range s.all {
		inUse := min(r.now.InUse, r.now.Share)
		part(inUse, r.name)
		part(r.now.Share-inUse, strings.ToLower(r.name))
	}
	part(max(0, s.budget-sum), ".")
	return bar.String()
}

// report sums up what the processes have come to. tearDown adds what the server has seen.
func (s *replicaShow) report(st *stage.Stage, took time.Duration) report {
	cfg := s.replicaConfig(st.Config)
	sum, after := stage.NewTally(), model.Stats{}
	after.MaxConnections = s.budget
	var rows []replicaReport
	var refusals uint64
	for _, r := range s.all {
		row := replicaReport{Process: r.name, Requests: r.now.Sent, MostConnections: r.most, Lost: r.now.End == nil}
		if end := r.now.End; end != nil {
			sum.Add(end.Tally)
			row.Requests, row.Failed = end.Tally.Requests, end.Tally.Failed()
			c, e := &after.Workspaces.Counters, end.Counters
			c.Hits, c.HandOffs, c.FreshGrants, c.Dials = c.Hits+e.Hits, c.HandOffs+e.HandOffs, c.FreshGrants+e.FreshGrants, c.Dials+e.Dials
			for i := range c.Closes {
				c.Closes[i] += e.Closes[i]
			}
			refusals += end.Refusals
			after.Workspaces.Draining = after.Workspaces.Draining || end.Draining
			if end.Budget != 0 && end.Budget != s.budget {
				after.MaxConnections = end.Budget
			}
		}
		rows = append(rows, row)
	}
	rep := newReport(s.demoOptions, cfg, sum, took, model.Stats{MaxConnections: s.budget}, after)
	rep.ServerRefusals, rep.Replicas = refusals, rows
	return rep
}

// replicaReport is one process.
type replicaReport struct {
	Process         string `json:"process"`
	Requests        uint64 `json:"requests"`
	Failed          uint64 `json:"failed"`
	MostConnections int    `json:"mostConnections"`
	// Lost: it was killed, and its requests are as it said last, and in no sum.
	Lost bool `json:"lost,omitempty"`
}
