package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/replicas"
)

var replicaFigures = flag.String("replica-figures", "", "write what three processes on one budget cost and gain into this file")

const (
	figuresBudget = 100
	// many handlers keep all of that busy, so that connections are what is scarce, and not
	// this machine's processors.
	many = 200
)

// figuresStage has requests that mostly wait on the server.
func figuresStage(t *testing.T) *stage {
	s := newStage(t, figuresBudget)
	s.config.Config.MaxConnectionsPerDB = 50
	s.config.Work, s.config.Zipf, s.config.System = 50*time.Millisecond, 0.5, 0
	return s
}

const (
	// figuresFor is how long one of them is measured, and rounds how often.
	figuresFor = 10 * time.Second
	rounds     = 5
)

// sharedFigures are lines of the table.
var sharedFigures []string

func figure(what, here, wanted string) {
	sharedFigures = append(sharedFigures, fmt.Sprintf("| %s | %s | %s |\n", what, here, wanted))
}

func spread(times []time.Duration) string {
	slices.Sort(times)
	return fmt.Sprintf("%v, at most %v", roundly(times[len(times)/2]), roundly(times[len(times)-1]))
}

// It takes five minutes, and what it measures is no fault of a busy machine's.
func TestThreeProcessesInFigures(t *testing.T) {
	if *replicaFigures == "" {
		t.Skip("it writes a page of docs: task bench:replicas")
	}
	sharedFigures = nil
	t.Run("one busy", oneBusy)
	t.Run("kill", howSoonAfterAKill)
	t.Run("fairness", howFair)
	t.Run("wandering", wanderingAndByHand)
	t.Run("fifty", whatFiftyCost)
	t.Log("\n" + strings.Join(sharedFigures, ""))
	if t.Failed() {
		return
	}
	text := fmt.Sprintf("From a run on %s with %d processors and %s:\n\n| | here | wanted |\n|---|---|---|\n%s",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), serverVersion(), strings.Join(sharedFigures, ""))
	must(t, writePart(*replicaFigures, "replicas", text))
}

// rate is how many requests a second these serve.
func rate(of ...*process) float64 {
	served := func() (n int) {
		for _, p := range of {
			n += p.now().Served
		}
		return n
	}
	before, began := served(), time.Now()
	within(nil, figuresFor)
	return float64(served()-before) / time.Since(began).Seconds()
}

func (s *stage) three() (three []*process) {
	for range 3 {
		three = append(three, s.start())
	}
	return three
}

// uses returns how long it takes until the process has so many connections open.
func (s *stage) uses(p *process, n int) time.Duration {
	s.t.Helper()
	began := time.Now()
	if !eventually(mustHappen, func() bool { return p.now().Open >= n }) {
		s.t.Errorf("%s has %d open, not %d:\n%s", p.name, p.now().Open, n, s.rows())
	}
	return time.Since(began)
}

// One busy process beside two idle ones, and in turns with it one process that has the whole
// budget to itself.
func oneBusy(t *testing.T) {
	s := figuresStage(t)
	var fromRest, fromBusy []time.Duration
	var ratios, rates []float64
	for range rounds {
		alone := s.config
		alone.Group = ""
		one := s.startWith(alone)
		one.load(many)
		s.uses(one, alone.Config.WorkspaceBudget()*9/10)
		whole := rate(one)
		one.leave(t)

		three := s.three()
		want := shared(s.config.Config, 3) * 9 / 10
		three[0].load(many)
		s.uses(three[0], want)
		three[0].load(0)
		three[1].load(many)
		fromBusy = append(fromBusy, s.uses(three[1], want))
		part := rate(three[1])
		ratios, rates = append(ratios, part/whole), append(rates, part)
		three[1].load(0)
		within(nil, aTurn) // what it has is idle, and that is known
		three[2].load(many)
		fromRest = append(fromRest, s.uses(three[2], want))
		for _, p := range three {
			p.leave(t)
		}
	}
	s.judge(nil)
	slices.Sort(ratios)
	slices.Sort(rates)
	middle := len(ratios) / 2
	figure("a busy process uses 0.9 of what it can have beside two idle ones, of which one has it all, after", spread(fromRest), "1 s")
	figure("the same, if that one was busy until this moment", spread(fromBusy), "1 s")
	figure("its requests/s, of those of one process with the whole budget", fmt.Sprintf("%.2f (%.0f requests/s)", ratios[middle], rates[middle]), "0.9")
	if soon := mustBeBack + slack(); fromRest[middle] > soon || fromBusy[middle] > soon {
		t.Errorf("a busy process had what it can have after %v, or %v", fromRest, fromBusy)
	}
	if ratios[middle] < 0.9/2 {
		t.Errorf("a busy process served %.2f of what one by itself does", ratios[middle])
	}
}

// The one that has nearly all is killed, and another becomes busy in the same moment.
func howSoonAfterAKill(t *testing.T) {
	s := figuresStage(t)
	three := s.three()
	var took []time.Duration
	want := shared(s.config.Config, 3) * 9 / 10
	for n := range rounds {
		had, next := n%3, (n+1)%3
		three[had].load(many)
		s.uses(three[had], want)
		three[had].kill()
		three[next].load(many)
		took = append(took, s.uses(three[next], want))
		three[next].load(0)
		three[had] = s.start()
	}
	s.judge(nil)
	figure("after kill -9 of the one that had all, another uses 0.9 of it after", spread(took), "5 s")
	if took[len(took)/2] > 2*mustBeBack+slack() {
		t.Errorf("the slots of one that was killed were in use after %v", took)
	}
}

// Jain's index is 1 if all have the same, and 1/n if one of n has all.
func howFair(t *testing.T) {
	s := figuresStage(t)
	three := s.three()
	for _, p := range three {
		p.load(many)
	}
	for _, p := range three {
		s.uses(p, shared(s.config.Config, 3)/4)
	}
	var before [3]int
	for i, p := range three {
		before[i] = p.now().Served
	}
	within(nil, figuresFor)
	sum, squares := 0.0, 0.0
	var each []string
	for i, p := range three {
		n := float64(p.now().Served - before[i])
		sum, squares = sum+n, squares+n*n
		each = append(each, fmt.Sprintf("%.0f", n))
	}
	index := sum * sum / (3 * squares)
	s.judge(nil)
	figure("Jain's index of the requests that three equally busy ones served", fmt.Sprintf("%.4f (%s)", index, strings.Join(each, ", ")), "0.98")
	if index < 0.9 {
		t.Errorf("Jain's index is %.3f: %v", index, each)
	}
}

// Traffic wanders, with a shared budget and with a third of it for each.
func wanderingAndByHand(t *testing.T) {
	for _, by := range []struct {
		what  string
		group string
		each  int
	}{
		{"shared", fmt.Sprint("shop of ", figuresBudget), figuresBudget},
		{"a third each, by hand", "", figuresBudget / 3},
	} {
		t.Run(by.what, func(t *testing.T) {
			s := figuresStage(t)
			s.config.Group, s.config.Config.MaxConnections = by.group, by.each
			three := s.three()
			began := time.Now()
			for n := range 3 * rounds {
				for i, p := range three {
					p.load(map[bool]int{true: many, false: calm}[i == n%3])
				}
				within(nil, aTurn)
			}
			o, took := s.sum(), time.Since(began)
			s.config.Config.MaxConnections = figuresBudget
			s.judge(nil)
			failed := 0
			for _, n := range o.Failed {
				failed += n
			}
			figure("traffic that wanders every three seconds, "+by.what,
				fmt.Sprintf("%.0f requests/s, p50 %v, p99 %v, %d refused", float64(o.Served)/took.Seconds(),
					o.Times.at(0.5).Round(time.Millisecond), o.Times.at(0.99).Round(time.Millisecond), failed), "")
		})
	}
}

// flicker is a replica's connections, of which it wants more and less all the time. None is
// real.
type flicker struct{ limit atomic.Int64 }

func (f *flicker) Hold(p replicas.Part) { f.limit.Store(int64(p.Limit)) }

func (f *flicker) Use() replicas.Use {
	wants := rand.IntN(5)
	open := min(wants, int(f.limit.Load()))
	return replicas.Use{Open: open, Wants: wants, InUse: open}
}

// Fifty control sessions, and what their backends spend on the server.
func whatFiftyCost(t *testing.T) {
	if _, err := os.ReadFile("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc here")
	}
	const sessions, floor = 50, 1
	s := newStage(t, sessions*(1+floor)+1+floor+48)
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable",
		server.Host, server.Port, server.User, server.Password, server.Database))
	must(t, err)
	config.RuntimeParams["application_name"] = "one of fifty"
	first, err := pgx.ConnectConfig(t.Context(), config.Copy())
	must(t, err)
	_, err = first.Exec(t.Context(), replicas.Schema)
	must(t, err)
	must(t, first.Close(t.Context()))
	var all []*replicas.Session
	var lock sync.Mutex
	var joining sync.WaitGroup
	for i := range sessions {
		joining.Go(func() {
			session, err := replicas.Join(t.Context(), replicas.Options{
				Group: "fifty", Budget: s.config.Config.MaxConnections, Floor: floor,
				ID: fmt.Sprint("fifty-", i), Label: strconv.Itoa(i), ApplicationName: fmt.Sprint("connections of ", i),
				MaxDialing: 4, MaxDial: 3 * time.Second, Log: slog.New(slog.DiscardHandler),
				Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config.Copy()) },
			}, &flicker{})
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			all = append(all, session)
		})
	}
	joining.Wait()
	if t.Failed() {
		return
	}
	within(nil, 5*time.Second) // or what is measured is the joining
	spent, commits, began := s.spent(), s.commits(), time.Now()
	within(nil, 2*figuresFor)
	took := time.Since(began)
	part := float64(s.spent()-spent) / float64(took)
	statements := float64(s.commits()-commits) / took.Seconds()
	figure("50 replicas whose needs change all the time: what their control sessions' backends take of one processor",
		fmt.Sprintf("%.1f %% (%.0f transactions/s)", 100*part, statements), "2 %")
	var leaving sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	stop() // at once: what is open is none
	for _, session := range all {
		leaving.Go(func() {
			if err := session.Leave(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	leaving.Wait()
	groups := s.count(`WITH gone AS (DELETE FROM tenantpool_groups WHERE name = 'fifty' RETURNING 1) SELECT count(*) FROM gone`)
	if groups != 1 {
		t.Error("there was no group")
	}
	if part > 3*0.02 { // of a machine that is busy with other tests, too
		t.Errorf("fifty control sessions take %.1f %% of a processor", 100*part)
	}
}

// spent is the processor time of the control sessions' backends.
func (s *stage) spent() (spent time.Duration) {
	s.t.Helper()
	var pids []int
	must(s.t, onSystem(s.t, `SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = 'one of fifty'`, &pids))
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		must(s.t, err)
		_, rest, _ := strings.Cut(string(stat), ") ") // the name may have spaces
		fields := strings.Fields(rest)
		for _, field := range fields[11:13] { // utime and stime
			ticks, err := strconv.Atoi(field)
			must(s.t, err)
			spent += time.Duration(ticks) * time.Second / 100 // Linux's USER_HZ
		}
	}
	return spent
}

// commits is how many transactions the system database has had.
func (s *stage) commits() (n int) {
	return s.count(fmt.Sprintf(`SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '%s'`, server.Database))
}
