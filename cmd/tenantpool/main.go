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

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := untilInterrupted()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "tenantpool: %v\n", err)
	if errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "tenantpool",
		Short:         "Unlimited tenant databases on one fixed PostgreSQL connection budget",
		SilenceUsage:  true, // an error says what to do; the usage would hide it
		SilenceErrors: true, // run prints it
	}
	root.AddCommand(newDemo())
	return root
}
