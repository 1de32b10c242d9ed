package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/bench"
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
)

// mostSlots is what a DB_MAX_CONNECTIONS can have for the workspaces.
var mostSlots = model.Config{MaxConnections: model.MostConnections}.WorkspaceBudget()

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
	flags.Var(requestRate(&o.Rate), "rate", "how many requests come in a second")
	flags.Var(duration(&o.Held, time.Millisecond, endless, "a duration of at least 1ms"), "held", "how long a request holds its connection on average")
	flags.Var(duration(&o.For, time.Second, endless, "a duration of at least 1s"), "for", "how long each pool is measured, after a warm-up of a third of it")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the requests are drawn from")
	flags.StringVar(&o.DSN, "dsn", "", "a server to use, whose role may create databases; without it a throwaway one is started")
	flags.SortFlags = false
	return cmd
}
