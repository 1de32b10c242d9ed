package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/replicas"
)

// fenceOptions are the flags of fence.
type fenceOptions struct {
	group, as string
	budget    int // 0: it stays
	timeout   time.Duration
	dryRun    bool
}

func newFence() *cobra.Command {
	o := fenceOptions{timeout: time.Minute}
	cmd := &cobra.Command{
		Use:   "fence",
		Short: "Set the role's CONNECTION LIMIT to a shared budget, and change that",
		Long: `Sets the CONNECTION LIMIT of the replicas' role to the shared budget (docs/replicas.md):
what no client can keep within the budget, the server then refuses.

With --budget it changes the budget for all replicas, without a restart. When the
budget rises, the role's limit does so first. When it falls, the table says so first;
then it waits until the replicas have given back what is too much, which takes as long as
they use it, at most --timeout; then it lowers the role's limit. Nothing is cut off. A
budget that is too small for the replicas that there are is refused. After a time-out or
an interrupt the same command goes on.

It reads the same DB_... variables as serve (docs/configuration.md). Few applications
may alter their own role: --as ROLE does it as another one, whose password is in
` + adminPasswordVariable + `, or in the file that ` + adminPasswordVariable + `_FILE names.
Without the right it prints the statement that is left to run, on standard output.

The exit status is 0 when the role's limit is the budget, 1 when something is left to
do, 2 for a wrong command line, 130 when it was interrupted.`,
		Example: `  tenantpool fence --dry-run
  ` + adminPasswordVariable + `_FILE=/root/pg_password tenantpool fence --budget 120 --as postgres`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cmd.Flags().Changed("as") && o.as == "":
				return &usageError{cmd.CommandPath(), errNoRole}
			case cmp.Or(o.group, os.Getenv(groupOfEnv)) == "":
				return &usageError{cmd.CommandPath(), errors.New("say which shared budget: set DB_SHARED_BUDGET, or give --group (tenantpool replicas lists them)")}
			}
			return o.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.group, "group", "", "the `NAME` of the shared budget; without it DB_SHARED_BUDGET")
	flags.Var(wholeNumber(&o.budget, 1, 10_000), "budget", "change the budget to this (1 to 10000)")
	flags.StringVar(&o.as, "as", "", "the `ROLE` that alters the replicas' role")
	flags.Var(duration(&o.timeout, 0, endless, "0 or a duration above, such as 30s or 5m"), "timeout", "how long to wait until a lower budget is kept")
	flags.BoolVar(&o.dryRun, "dry-run", false, "change nothing: say what would be done")
	flags.SortFlags = false
	return cmd
}

func (o fenceOptions) run(cmd *cobra.Command) error {
	cfg, err := execConfig(1)
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	con := stage.StartConsole(cmd.ErrOrStderr())
	defer con.Stop()
	f := &fencing{fenceOptions: o, out: cmd.OutOrStdout(), con: con, altersAs: cmp.Or(o.as, cfg.User)}
	err = withStore(cmd, cfg, o.as, func(ctx context.Context, conn *pools.Conn, store *replicas.Store) error {
		f.store, f.alters = store, conn
		f.store.Group = cmp.Or(o.group, os.Getenv(groupOfEnv))
		may, err := store.MayOperate(ctx)
		switch {
		case err != nil:
			return err
		case may || o.as == "":
			return f.fence(ctx)
		}
		// Whoever may alter the role need not have a right on its tables.
		return withStore(cmd, cfg, "", func(ctx context.Context, _ *pools.Conn, own *replicas.Store) error {
			own.Group, f.store = store.Group, own
			return f.fence(ctx)
		})
	})
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	return nil
}

// fencing is one run.
type fencing struct {
	fenceOptions
	out   io.Writer
	con   *stage.Console
	store *replicas.Store
	// alters is the session that alters the replicas' role, altersAs its own role. The
	// store has it, too, if it may.
	alters   *pools.Conn
	altersAs string
}

// fence does what is to be done, in the order that refuses nobody a connection that he was
// promised.
func (f *fencing) fence(ctx context.Context) error {
	s, err := lookAt(ctx, f.store)
	if err != nil {
		return err
	}
	want := cmp.Or(f.budget, s.Budget)
	if err := (replicas.Group{Budget: want, Floor: s.Floor}).Fits(max(1, len(s.Replicas))); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	for _, w := range s.ofRole(want) {
		f.con.Printf("WARNING: %s", printable(w))
	}
	if want > s.Budget {
		if err := f.setLimit(ctx, s, want); err != nil {
			return fmt.Errorf("%w; then run this command again: the budget is still %d", err, s.Budget)
		}
		return f.setBudget(ctx, s, want)
	}
	if want < s.Budget {
		if err := f.setBudget(ctx, s, want); err != nil {
			return err
		}
	}
	if s.role.Limit < 0 || s.role.Limit > want {
		if err := f.untilKept(ctx, s, want); err != nil {
			return err
		}
	}
	return f.setLimit(ctx, s, want)
}

// say says what is done, or would be.
func (f *fencing) say(format string, args ...any) {
	if f.dryRun {
		format = "would " + format
	}
	fmt.Fprintf(f.out, format+"\n", args...)
}

func (f *fencing) setBudget(ctx context.Context, s sharedView, want int) error {
	if !f.dryRun {
		if err := f.store.SetBudget(ctx, want); err != nil {
			return err
		}
	}
	f.say("set the budget of the group %q from %d to %d", s.Group, s.Budget, want)
	return nil
}

func (f *fencing) setLimit(ctx context.Context, s sharedView, want int) error {
	role := printable(s.role.Name)
	if s.role.Limit == want {
		fmt.Fprintf(f.out, "the CONNECTION LIMIT of the role %s is %d already\n", role, want)
		return nil
	}
	if !f.dryRun {
		err := replicas.SetFence(ctx, f.alters.Conn(), s.role.Name, want)
		if sqlState(err) == pgerrcode.InsufficientPrivilege {
			fmt.Fprintf(f.out, "%s;\n", replicas.FenceFor(s.role.Name, want))
			return fmt.Errorf("the role %q may not alter the role %q (%s): run that statement as one who may, or give --as ROLE", f.altersAs, s.role.Name, err.Error())
		}
		if err != nil {
			return fmt.Errorf("alter the role %s: %w", role, err)
		}
	}
	f.say("set the CONNECTION LIMIT of the role %s from %s to %d", role, s.limit(), want)
	return nil
}

// untilKept waits until the replicas have come down to what they may have together.
func (f *fencing) untilKept(ctx context.Context, s sharedView, want int) (err error) {
	given := s.Budget - s.Free
	if f.dryRun {
		f.say("wait until no more than %d connections are given: %d are", want, given)
		return nil
	}
	last := -1
	for over := time.Now().Add(f.timeout); ; stage.Pause(ctx, fenceLooks) {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: the budget is %d, and the role's limit is not yet: run this command again", errInterrupted, want)
		}
		if s, err = lookAt(ctx, f.store); err != nil {
			return err
		}
		given = s.Budget - s.Free
		if given <= want {
			return nil
		}
		if given != last {
			f.con.Log(fmt.Sprintf("waiting until %d connections are enough: %d are given", want, given))
			last = given
		}
		if time.Now().After(over) {
			return fmt.Errorf("after %v %d connections are given, and the budget is %d: %s. The replicas heed the budget already; the role's limit is as it was (%s): run this command again",
				f.timeout, given, want, s.holders(), s.limit())
		}
	}
}

// fenceLooks is a replica's own pace.
const fenceLooks = 250 * time.Millisecond

// holders tells who has what.
func (s sharedView) holders() string {
	var all []string
	for _, r := range s.Replicas {
		all = append(all, fmt.Sprintf("%s has %d and a control session (%s)", printable(r.Label), r.Share, state(r)))
	}
	if s.Strangers > 0 {
		all = append(all, fmt.Sprintf("%d are no replica's%s", s.Strangers, s.who()))
	}
	return strings.Join(all, "; ")
}
