package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/bench"
	"github.com/tenantpool/tenantpool/cmd/internal/stage"
)

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
	flags.Var(requestRate(&o.Rate), "rate", "how many requests come in a second at first")
	flags.Var(duration(&o.Before, time.Second, endless, "a duration of at least 1s"), "before", "how long the load is as at first")
	flags.Var(duration(&o.High, time.Second, endless, "a duration of at least 1s"), "high", "how long it is three times that")
	flags.Var(duration(&o.After, time.Second, endless, "a duration of at least 1s"), "after", "how long it is as at first again")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "what the requests are drawn from")
	flags.StringVar(&file, "chart", "", "a file for a chart of the budgets (SVG)")
	flags.StringVar(&o.DSN, "dsn", "", "a server to use, whose role may create databases; without it a throwaway one is started")
	flags.SortFlags = false
	return cmd
}
