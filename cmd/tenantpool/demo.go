package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/figures"
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

// demoOptions are the demo's flags.
type demoOptions struct {
	workspaces, budget, workers int
	zipf                        float64
	length                      time.Duration
	report                      string
	// addr is where the admin server listens; empty: there is none.
	addr      string
	addrGiven bool // by the user
}

const (
	textReport = "text"
	jsonReport = "json"
)

func newDemo() *cobra.Command {
	o := demoOptions{workspaces: 60, budget: 40, workers: 32, zipf: 1.2, report: textReport, addr: defaultAddr}
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

Ctrl-C ends the traffic, prints the summary and removes everything; a second
one exits at once. A workspace takes about 8 MB in the folder for temporary
files while the demo runs.

The exit status is 1 when the server refused a connection or counted more than
the budget, when a request reached another workspace's database, or when the demo
could not run; 2 for a wrong command line; 130 when it was interrupted before the
traffic began.`,
		Example: `  tenantpool demo --for 30s
  tenantpool demo --workspaces 500 --budget 100 --zipf 0 --for 1m --report json`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.addrGiven = cmd.Flags().Changed("addr")
			return demo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.Var(wholeNumber{&o.workspaces, 1, 10_000}, "workspaces", "how many workspaces there are (1 to 10000)")
	flags.Var(wholeNumber{&o.budget, 20, 10_000}, "budget", "how many connections there are: the manager's DB_MAX_CONNECTIONS (20 to 10000)")
	flags.Var(wholeNumber{&o.workers, 1, 100_000}, "workers", "how many requests are under way at once (1 to 100000)")
	flags.Var(exponent{&o.zipf}, "zipf", "how uneven the workspaces' popularity is: the k-th gets 1/k^zipf; 0 is uniform")
	flags.Var(length{&o.length}, "for", "how long; 0 is until interrupted")
	flags.Var(choice{&o.report, []string{textReport, jsonReport}}, "report", "what the summary on standard output looks like")
	flags.StringVar(&o.addr, "addr", o.addr, `where the admin server listens; "" for none`)
	flags.SortFlags = false
	return cmd
}

// demo runs until o.length is over or ctx is done, and leaves nothing behind.
func demo(ctx context.Context, o demoOptions, stdout, stderr io.Writer) error {
	con := startConsole(stderr)
	defer con.stop()
	forgetOtherServers()

	st, err := setUp(ctx, o, con)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	rep, err := play(ctx, o, st, con)
	con.keepLine()
	err = errors.Join(err, st.tearDown(&rep))
	con.stop()

	if err := rep.write(stdout, o.report); err != nil {
		return fmt.Errorf("demo: write the report: %w", err)
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return rep.verdict()
}

// forgetOtherServers unsets the variables that tell PostgreSQL's clients where and
// how to connect (PGSERVICE, PGOPTIONS and so on). They are about the user's
// servers, and connections to the demo's own would heed them.
func forgetOtherServers() {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "PG") && name != "PG_BIN" { // that is localpg's
			_ = os.Unsetenv(name)
		}
	}
}

// play runs the traffic and returns what came of it.
func play(ctx context.Context, o demoOptions, st *demoStage, con *console) (report, error) {
	before, err := st.manager.Stats(context.Background())
	if err != nil {
		return report{}, err
	}
	con.println(fmt.Sprintf("%s workers send requests to all of them%s\n", figures.Grouped(o.workers), until(o.length)))

	playing := ctx
	if o.length > 0 {
		var end context.CancelFunc
		playing, end = context.WithTimeout(ctx, o.length)
		defer end()
	}
	rec := startRecorder()
	shown := startLive(rec, st, before, con)
	untold := context.AfterFunc(ctx, func() {
		con.println("interrupted: letting the requests under way finish (interrupt again to exit at once)")
	})
	began := time.Now()
	traffic{
		manager:    st.manager,
		workspaces: st.workspaces,
		popularity: stage.NewPopularity(len(st.workspaces), o.zipf),
		recorder:   rec,
	}.run(playing, o.workers)
	took := time.Since(began)
	untold()
	shown.stop()
	result := rec.stop()

	after, err := st.manager.Stats(context.Background())
	if errors.Is(err, model.ErrClosed) { // it has ended already
		after, err = before, nil
		after.Workspaces.Draining = true
	}
	rep := newReport(o, st.config, result, took, before, after)
	rep.Drained = after.Workspaces.Draining
	return rep, err
}

func until(length time.Duration) string {
	if length == 0 {
		return ", until you interrupt (Ctrl-C)"
	}
	return fmt.Sprintf(", for %v", length)
}
