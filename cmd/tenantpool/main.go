// Command tenantpool shows and runs the connection manager.
//
// Each command is a file of its own that newRoot adds; it gets the context that
// an interrupt ends (interrupt.go), writes its result to standard output and
// everything else to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model/build"
)

func main() {
	ctx, stop := untilInterrupted()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return execute(ctx, newRoot(), args, stdout, stderr)
}

func execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var told *toldError
	if !errors.As(err, &told) {
		fmt.Fprintf(stderr, "tenantpool: %v\n", err)
	}
	var misused *usageError
	switch {
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &misused):
		return exitMisused
	}
	return 1
}

// exitMisused is the exit status for a wrong command line.
const exitMisused = 2

// toldError is an error that the command's log already has.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// usageError says what is wrong with the command line, and where to read on.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v (see %s --help)", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "tenantpool",
		Short:         "Unlimited tenant databases on one fixed PostgreSQL connection budget",
		Version:       version(),
		SilenceUsage:  true, // an error says what to do; the usage would hide it
		SilenceErrors: true, // run prints it
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2, // letters that are wrong
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{cmd.CommandPath(), err}
	})
	root.AddCommand(newDemo(), newDemoReplica(), newBench(), newServe(), newExec(), newWorkspaces(), newReplicas(), newFence(), newCapacity(), newKeygen(), newToken(), newReplay())
	return root
}

// knownCommand refuses what is no command of the root.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q", args[0])
	if similar := root.SuggestionsFor(args[0]); len(similar) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(similar, " or "))
	}
	return &usageError{root.CommandPath(), err}
}

// flagsOnly refuses arguments that are no flags.
func flagsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &usageError{cmd.CommandPath(), fmt.Errorf("%s takes flags only, not %q", cmd.Name(), args[0])}
}

// version says what the program was built from.
func version() string {
	built := build.Current()
	return fmt.Sprintf("%s (revision %s, %s)", built.Version, built.Revision, built.Go)
}
