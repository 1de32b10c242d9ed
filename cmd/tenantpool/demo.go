package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/serverview"
)

// demoOptions are the demo's flags.
type demoOptions struct {
	workspaces, budget, workers int
	replicas                    int
	clients                     string
	zipf                        float64
	length                      time.Duration
	report                      string
	// addr is where the admin server listens; empty: there is none.
	addr      string
	addrGiven bool // by the user
}

const (
	goClients   = "go"
	psqlClients = "psql"
)

const (
	textReport = "text"
	jsonReport = "json"
)

func newDemo() *cobra.Command {
	o := demoOptions{workspaces: 60, budget: 40, workers: 32, replicas: 1, clients: goClients, zipf: 1.2, report: textReport, addr: defaultAddr}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run real traffic on many workspaces through few connections, on a throwaway PostgreSQL",
		Long: `Starts a throwaway PostgreSQL that grants exactly the budget, creates a database
for each workspace, and sends requests to all of them from many workers. Each
request acquires a connection, runs two or three statements, checks that it
reached its own workspace's database, and releases; one in twenty is cancelled
in the middle of a query. The server itself is the judge: it would refuse any
connection beyond the budget.

Meanwhile the admin server shows and steers it all: its dashboard's address, a
token for it and a curl line are printed before the traffic begins.

With --replicas several processes share the budget, which is also the role's CONNECTION
LIMIT (docs/replicas.md). One at a time is busy, for a few seconds: it has what the others
leave. The admin server is that of the first, A.

With --clients psql each request is a psql of its own, which connects to the pool as to a
PostgreSQL server, through the wire door (docs/wire.md).

Ctrl-C ends the traffic, prints the summary and removes everything; a second
one exits at once. A workspace takes about 8 MB in the folder for temporary
files while the demo runs.

The exit status is 1 when the server refused a connection or counted more than
the budget, when a request reached another workspace's database, or when the demo
could not run; 2 for a wrong command line; 130 when it was interrupted before the
traffic began.`,
		Example: `  tenantpool demo --for 30s
  tenantpool demo --replicas 3
  tenantpool demo --workspaces 500 --budget 100 --zipf 0 --for 1m --report json`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.addrGiven = cmd.Flags().Changed("addr")
			if err := o.checkReplicas(); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			if o.replicas > 1 && o.clients != goClients {
				return &usageError{cmd.CommandPath(), errors.New("--clients psql is for one process: leave --replicas out")}
			}
			if o.replicas > 1 {
				return demoReplicas(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return demo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.Var(wholeNumber(&o.workspaces, 1, 10_000), "workspaces", "number of workspaces (1 to 10000)")
	flags.Var(wholeNumber(&o.budget, 20, 10_000), "budget", "number of connections, the manager's DB_MAX_CONNECTIONS (20 to 10000)")
	flags.Var(wholeNumber(&o.workers, 1, 100_000), "workers", "number of concurrent requests (1 to 100000)")
	flags.Var(wholeNumber(&o.replicas, 1, mostReplicas), "replicas", "number of processes that share the budget (1 to 8)")
	flags.Var(choice(&o.clients, goClients, psqlClients), "clients", "who sends the requests: this program, or a psql for each of them")
	flags.Var(exponent(&o.zipf), "zipf", "skew of the workspaces' popularity: the k-th gets a share of 1/k^zipf; 0 is uniform")
	flags.Var(duration(&o.length, 0, endless, "0 (until interrupted) or a positive duration, such as 30s or 5m"), "for", "how long to run; 0: until interrupted")
	flags.Var(choice(&o.report, textReport, jsonReport), "report", "format of the summary on standard output")
	flags.StringVar(&o.addr, "addr", o.addr, `address of the admin server; "" for none`)
	flags.SortFlags = false
	return cmd
}

// demo runs for o.length or until ctx is done, and leaves nothing behind.
func demo(ctx context.Context, o demoOptions, stdout, stderr io.Writer) error {
	con := stage.StartConsole(stderr)
	defer con.Stop()
	show, err := setUp(ctx, o, con)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	rep, err := show.play(ctx, o, con)
	con.KeepLine()
	err = errors.Join(err, show.tearDown(&rep, con))
	con.Stop()

	if err := rep.write(stdout, o.report); err != nil {
		return fmt.Errorf("demo: write the report: %w", err)
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return rep.verdict()
}

// show is all that the demo puts up and takes down again; nil is what is not up.
type show struct {
	stage   *stage.Stage
	watch   *serverview.Watch // the server's own view of what the demo does
	manager *pools.Manager
	filler  *background
	psql    *stage.Psql // nil too when this program sends the requests
	admin   *admin      // nil too when none is wanted
}

// setUp starts the server, creates the workspaces and opens the manager. After an error
// nothing is left behind.
func setUp(ctx context.Context, o demoOptions, con *stage.Console) (_ *show, err error) {
	s := &show{}
	defer func() {
		if err == nil {
			return
		}
		if ctx.Err() != nil { // what failed then does not matter
			err = fmt.Errorf("%w before the traffic began", errInterrupted)
		}
		err = errors.Join(err, s.tearDown(&report{}, con))
	}()
	if o.clients == psqlClients {
		if err = stage.FindPsql(); err != nil {
			return nil, err
		}
	}
	if s.admin, err = listenAdmin(o, con); err != nil {
		return nil, err
	}
	s.stage, err = stage.Set(ctx, stage.Options{Workspaces: o.workspaces, Budget: o.budget, Workers: o.workers, Tables: stage.Shop}, con)
	if err != nil {
		return nil, err
	}
	if s.watch, _, err = s.stage.Watch(ctx); err != nil {
		return nil, err
	}
	if s.manager, err = pools.Open(ctx, s.stage.Config, pools.WithLogger(con.Logger())); err != nil {
		return nil, err
	}
	if o.clients == psqlClients {
		if s.psql, err = stage.OpenPsql(s.manager, con.Logger()); err != nil {
			return nil, err
		}
		s.admin.watch(s.psql.Door())
	}
	share := s.stage.Config.SystemLimits().PerWorkspace
	if err = fill(ctx, s.manager, share); err != nil {
		return nil, err
	}
	s.filler = inBackground(func(running context.Context) { keepFull(running, s.manager, share) })
	return s, s.admin.serve(s.manager, con.Logger(), con)
}

// drainWithin bounds the manager's Close, when all leases have been released.
const drainWithin = 20 * time.Second

// tearDown ends everything that is up, and adds to the report what the server has
// seen: after the manager's Close it should have nothing left.
func (s *show) tearDown(rep *report, con *stage.Console) error {
	ctx, stop := context.WithTimeout(context.Background(), drainWithin)
	defer stop()
	var failed []error
	s.admin.close()
	s.filler.stop()
	failed = append(failed, s.psql.Close(ctx))
	if s.manager != nil {
		failed = append(failed, s.manager.Close(ctx))
	}
	if s.watch != nil {
		left, err := s.watch.Count(ctx)
		s.watch.Stop()
		failed = append(failed, err, s.watch.Err())
		rep.PeakServerBackends, rep.ServerSamples, rep.BackendsAfterClose = s.watch.Peak(), s.watch.Samples(), left
		rep.ServerRefusals = max(rep.ServerRefusals, s.stage.Refusals())
	}
	if s.stage != nil {
		failed = append(failed, s.stage.Close(con))
	}
	return errors.Join(failed...)
}

// play runs the traffic and returns what came of it.
func (s *show) play(ctx context.Context, o demoOptions, con *stage.Console) (report, error) {
	before, err := s.manager.Stats(context.Background())
	if err != nil {
		return report{}, err
	}
	until := ", until you interrupt (Ctrl-C)"
	playing := ctx
	if o.length > 0 {
		until = fmt.Sprintf(", for %v", o.length)
		var end context.CancelFunc
		playing, end = context.WithTimeout(ctx, o.length)
		defer end()
	}
	con.Printf("%s workers send requests to all of them%s\n", stage.Grouped(o.workers), until)
	traffic := stage.NewTraffic(s.manager, s.stage, o.zipf).By(s.psql)
	shown := inBackground(func(ctx context.Context) { showLive(ctx, traffic, s.manager, before, con) })
	untold := context.AfterFunc(ctx, func() {
		con.Printf("interrupted: letting the requests under way finish (interrupt again to exit at once)")
	})
	began := time.Now()
	tally := traffic.Run(playing, o.workers)
	took := time.Since(began)
	untold()
	shown.stop()

	after, err := s.manager.Stats(context.Background())
	if errors.Is(err, model.ErrClosed) { // it has ended already
		after, err = before, nil
		after.Workspaces.Draining = true
	}
	return newReport(o, s.stage.Config, tally, took, before, after), err
}

// fillEvery is shorter than the time after which an idle connection is closed.
const fillEvery = time.Minute

// keepFull keeps the application's part of the system share open, as a busy application
// does. Without it the server would have a few connections to spare, and would not
// notice if the manager used a slot too early.
func keepFull(ctx context.Context, manager *pools.Manager, share int) {
	for ctx.Err() == nil {
		stage.Pause(ctx, fillEvery)
		_ = fill(ctx, manager, share) // the next one may do better
	}
}

// fill borrows all of the share at once, and gives it back.
func fill(ctx context.Context, manager *pools.Manager, share int) error {
	for range share {
		conn, err := manager.System().Acquire(ctx)
		if err != nil {
			return fmt.Errorf("open the system database's share of %d connections: %w", share, err)
		}
		defer conn.Release()
	}
	return nil
}

// background is what runs until it is stopped. nil has ended.
type background struct {
	end   context.CancelFunc
	ended chan struct{}
}

func inBackground(do func(context.Context)) *background {
	ctx, end := context.WithCancel(context.Background())
	b := &background{end, make(chan struct{})}
	go func() {
		defer close(b.ended)
		do(ctx)
	}()
	return b
}

// stop blocks until it has ended.
func (b *background) stop() {
	if b != nil {
		b.end()
		<-b.ended
	}
}
