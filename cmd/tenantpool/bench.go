package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/bench"
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

// benchOptions are the bench's flags.
type benchOptions struct {
	bench.Options
	workloads              []string // their names, when there is no file
	file                   string   // of workloads
	report, chart, profile string
}

func newBench() *cobra.Command {
	var names []string
	for _, w := range bench.Workloads() {
		names = append(names, w.Name)
	}
	o := benchOptions{Options: bench.Default(), workloads: names, report: textReport}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare tenantpool with what one would use instead, on this machine",
		Long: `Runs the same requests through several strategies that take turns on one server:

  tenantpool  one budget for all workspaces
  door        the same for clients of PostgreSQL's protocol, over the network
  connect     a connection for each request
  pgxpools    a pgxpool of --cap connections for each workspace
  sql-lru     an LRU of database/sql pools, behind a mutex
  pgbouncer   PgBouncer in transaction mode, when it is installed
  pgpool      pgpool-II, when it is installed: processes that each keep a few
              databases' connections

The poolers are started for their turns, where nobody else meets them, and stopped
again. The workloads are:

  all-fit     so many workspaces that all their connections fit
  zipf        some workspaces are much more popular than others
  uniform     all are equally popular
  bursty      nothing, then everyone at once
  noisy       half of the workers want one workspace, and what the others feel

Each turn begins without a connection and warms up before it is measured. Beside
each hit ratio stands what an exact LRU and Belady's optimum, which knows the
future, would have had with the same requests. The report ends with the ratios
that the project sets itself.

Without --dsn it starts a throwaway PostgreSQL that grants exactly the budget. On
a server of yours (--dsn) it creates databases whose names begin with
tenantpool_bench_, and drops them at the end; nobody else should use the role
meanwhile. Ctrl-C ends it and removes everything; a second one exits at once and
leaves databases on a server of yours.

The exit status is 1 when a strategy reached another workspace's database or the
bench could not run; 2 for a wrong command line; 130 when it was interrupted. A
missed target is no error.`,
		Example: `  tenantpool bench --workload zipf --for 5s
  tenantpool bench --strategies tenantpool,pgbouncer --query "select pg_sleep(0.01)" --report json
  tenantpool bench --dsn postgres://me@db.example.com/postgres --chart bench.svg`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.chart != "" {
				if err := bench.CheckChart(o.chart); err != nil {
					return &usageError{cmd.CommandPath(), err}
				}
			}
			if most := (model.Config{MaxConnections: o.Budget}).WorkspaceBudget(); o.Cap > most {
				return &usageError{cmd.CommandPath(), fmt.Errorf("--cap %d is more than the %d connections that a --budget of %d leaves the workspaces", o.Cap, most, o.Budget)}
			}
			if err := o.findWorkloads(cmd.Flags().Changed("workload")); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			return runBench(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.Var(choices{&o.workloads, names}, "workload", "which workloads, with commas in between, or all")
	flags.StringVar(&o.file, "workload-file", "", "a file of other workloads; see docs/benchmarks.md")
	flags.Var(choices{&o.Strategies, bench.Strategies()}, "strategies", "which strategies, with commas in between, or all")
	flags.Var(wholeNumber(&o.Workspaces, 2, 10_000), "workspaces", "how many workspaces there are, but for all-fit (2 to 10000)")
	flags.Var(wholeNumber(&o.Budget, 20, 10_000), "budget", "how many connections there are: the manager's DB_MAX_CONNECTIONS (20 to 10000)")
	flags.Var(wholeNumber(&o.Cap, 1, 50), "cap", "how many connections one workspace may have (1 to 50)")
	flags.Var(wholeNumber(&o.Workers, 1, 10_000), "workers", "how many requests are under way at once (1 to 10000)")
	flags.StringVar(&o.Query, "query", o.Query, "what each request runs")
	flags.Var(duration(&o.Think, 0, endless, "0 or a duration above, such as 5ms"), "think", "how long a worker pauses between two requests")
	flags.Var(duration(&o.For, 100*time.Millisecond, endless, "a duration of at least 100ms, such as 5s or 1m"), "for", "how long each turn is measured, after a warm-up of a third of it")
	flags.Var(wholeNumber(&o.Rounds, 1, 1000), "rounds", "how many turns each strategy has (1 to 1000)")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the requests' workspaces are drawn from")
	flags.Var(choice(&o.report, textReport, jsonReport), "report", "what the report on standard output looks like")
	flags.StringVar(&o.chart, "chart", "", "a file for a chart of the result: its name ends in .svg or .html")
	flags.StringVar(&o.profile, "profile", "", "a file for a CPU profile, in which each turn is labelled (go tool pprof -tagfocus strategy=tenantpool FILE)")
	flags.StringVar(&o.DSN, "dsn", "", "a server to use, whose role may create databases; without it a throwaway one is started")
	flags.SortFlags = false
	cmd.AddCommand(newBenchPlanner(), newBenchScaling())
	return cmd
}

// findWorkloads are those of the file, or the named ones.
func (o *benchOptions) findWorkloads(named bool) (err error) {
	if o.file == "" {
		o.Workloads = slices.DeleteFunc(bench.Workloads(), func(w bench.Workload) bool { return !slices.Contains(o.workloads, w.Name) })
		return nil
	}
	if named {
		return errors.New("--workload and --workload-file exclude each other: the file's are all run")
	}
	o.Workloads, err = bench.ReadWorkloads(o.file)
	return err
}

// runBench runs until all turns were taken or ctx is done.
func runBench(ctx context.Context, o benchOptions, stdout, stderr io.Writer) (err error) {
	con := stage.StartConsole(stderr)
	defer con.Stop()
	if o.profile != "" {
		stop, err := startProfile(o.profile)
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	interrupted := context.AfterFunc(ctx, func() {
		con.Printf("interrupted: removing everything (interrupt again to exit at once)")
	})
	result, err := bench.Run(ctx, o.Options, con)
	interrupted()
	con.Stop()
	if ctx.Err() != nil {
		if errors.Is(err, context.Canceled) {
			err = nil // it says no more than that
		}
		return errors.Join(fmt.Errorf("bench: %w before it was done", errInterrupted), err)
	}
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	write := result.WriteText
	if o.report == jsonReport {
		write = result.WriteJSON
	}
	if err := write(stdout); err != nil {
		return fmt.Errorf("bench: write the report: %w", err)
	}
	if o.chart != "" {
		if err := result.WriteChart(o.chart); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return result.Verdict()
}

// startProfile writes where this process spends its time. The samples of each turn
// are labelled with the workload and the strategy.
func startProfile(name string) (stop func() error, err error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w: name a file that can be written, in a directory that exists", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("write the profile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

// onStage runs it with a console, and says when it was interrupted.
func onStage(cmd *cobra.Command, run func(context.Context, *stage.Console, io.Writer) error) error {
	ctx := cmd.Context()
	con := stage.StartConsole(cmd.ErrOrStderr())
	defer con.Stop()
	err := run(ctx, con, cmd.OutOrStdout())
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w before it was done", cmd.CommandPath(), errInterrupted)
	case err != nil:
		return fmt.Errorf("%s: %w", cmd.CommandPath(), err)
	}
	return nil
}
