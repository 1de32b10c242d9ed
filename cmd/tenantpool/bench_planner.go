package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/bench"
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

// mostSlots is what a DB_MAX_CONNECTIONS can have for the workspaces.
const mostSlots = 9_980

func newBenchPlanner() *cobra.Command {
	o := bench.DefaultPlanner()
	from := o.Budgets[1]
	checked := func() error {
		for _, budget := range o.Budgets {
			if budget < 1 || budget > mostSlots {
				return fmt.Errorf("--budgets has %d: each must be a whole number from 1 to %d", budget, mostSlots)
			}
		}
		if !slices.Contains(o.Budgets, from) {
			return fmt.Errorf("--from %d is none of the --budgets", from)
		}
		return nil
	}
	cmd := &cobra.Command{
		Use:   "planner",
		Short: "Compare what the planner predicts with what is measured",
		Long: `Has pools of several sizes serve the same traffic, one after the other, and the
planner predict from what it saw in one of them what the others do. The requests come
independently of how fast they are served, so that each pool has the same ones.`,
		Example: `  tenantpool bench planner --for 20s --budgets 20,40 --from 40`,
		Args:    flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checked(); err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			return onStage(cmd, func(ctx context.Context, con *stage.Console, out io.Writer) error {
				all, err := bench.Predict(ctx, o, con)
				con.Stop()
				if err != nil {
					return err
				}
				return bench.WritePredictions(out, all, from)
			})
		},
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&o.Budgets, "budgets", o.Budgets, "the workspaces' connections of each pool")
	flags.IntVar(&from, "from", from, "which of them the predictions are made from")
	flags.Var(wholeNumber(&o.Workspaces, 2, 10_000), "workspaces", "how many workspaces there are (2 to 10000)")
	flags.Var(wholeNumber(&o.Cap, 1, 50), "cap", "how many connections one workspace may have (1 to 50)")
	flags.Var(positive(&o.Rate), "rate", "how many requests come in a second")
	flags.Var(duration(&o.Held, time.Millisecond, endless, "a duration of at least 1ms"), "held", "how long a request holds its connection on average")
	flags.Var(duration(&o.For, time.Second, endless, "a duration of at least 1s"), "for", "how long each pool is measured, after a warm-up of a third of it")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the requests are drawn from")
	flags.StringVar(&o.DSN, "dsn", "", "a server to use, whose role may create databases; without it a throwaway one is started")
	flags.SortFlags = false
	return cmd
}

func newBenchScaling() *cobra.Command {
	o := bench.DefaultScaling()
	file := ""
	cmd := &cobra.Command{
		Use:   "scaling",
		Short: "Watch DB_AUTO_BUDGET follow a load that triples and falls back",
		Long: `Has three pools serve the same load at the same time: with the lowest budget, with
the highest, and with one that DB_AUTO_BUDGET sets. A budget is lowered only after ten
calm minutes, so it takes half an hour.`,
		Example: `  tenantpool bench scaling --chart scaling.svg`,
		Args:    flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Lowest > o.Highest {
				return &usageError{cmd.CommandPath(), fmt.Errorf("--lowest %d is more than --highest %d", o.Lowest, o.Highest)}
			}
			return onStage(cmd, func(ctx context.Context, con *stage.Console, out io.Writer) error {
				all, err := bench.Scale(ctx, o, con)
				con.Stop()
				if err != nil {
					return err
				}
				if file != "" {
					err = bench.DrawScaled(file, o, all)
				}
				return errors.Join(err, bench.WriteScaled(out, all))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(wholeNumber(&o.Lowest, 3, 10_000), "lowest", "the lowest budget (3 to 10000)")
	flags.Var(wholeNumber(&o.Highest, 3, 10_000), "highest", "the highest budget (3 to 10000)")
	flags.Var(positive(&o.Rate), "rate", "how many requests come in a second at first")
	flags.Var(duration(&o.Before, time.Second, endless, "a duration of at least 1s"), "before", "how long the load is as at first")
	flags.Var(duration(&o.High, time.Second, endless, "a duration of at least 1s"), "high", "how long it is three times that")
	flags.Var(duration(&o.After, time.Second, endless, "a duration of at least 1s"), "after", "how long it is as at first again")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the requests are drawn from")
	flags.StringVar(&file, "chart", "", "a file for a chart of the budgets (SVG)")
	flags.StringVar(&o.DSN, "dsn", "", "a server to use, whose role may create databases; without it a throwaway one is started")
	flags.SortFlags = false
	return cmd
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
