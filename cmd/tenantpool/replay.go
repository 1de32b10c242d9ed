package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/model/core"
	"github.com/tenantpool/tenantpool/pools"
)

func newReplay() *cobra.Command {
	r := replay{lines: 200}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Tell from a dump of a running program why acquires waited",
		Long: `Replays the messages that the supervisor was told of late, from a dump of a running
program, and tells what was decided and why. FILE is the dump (a zip file with an
entry ` + pools.DumpMessages + `), or the JSON in it, or - for standard input.

Without flags: what the file holds, and its longest waits. With --workspace: step by
step what happened while that workspace waited.`,
		Example: `  tenantpool replay tenantpool.zip
  tenantpool replay tenantpool.zip --workspace shop
  tenantpool replay tenantpool.zip --workspace shop --lease 1234`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{cmd.CommandPath(), fmt.Errorf("replay takes one file, not %d", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch flag := cmd.Flags().Changed; {
			case flag("lease") && !flag("workspace"):
				return &usageError{cmd.CommandPath(), fmt.Errorf("--lease needs --workspace")}
			case flag("all") && flag("workspace"):
				return &usageError{cmd.CommandPath(), fmt.Errorf("--all shows every step, --workspace those that bear on one workspace: choose one of them")}
			}
			recordings, err := readDump(cmd.InOrStdin(), args[0])
			if err == nil {
				r.file, r.recordings = args[0], recordings
				err = r.run(cmd.OutOrStdout())
			}
			if err != nil {
				return fmt.Errorf("replay %s: %w", args[0], err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar((*string)(&r.workspace), "workspace", "", "tell step by step why this workspace waited")
	flags.Uint64Var((*uint64)(&r.lease), "lease", 0, "with --workspace: only while this acquire waited")
	flags.BoolVar(&r.all, "all", false, "show every message and every effect")
	flags.Var(wholeNumber{&r.lines, 0, 1_000_000_000}, "lines", "how many lines of steps to show at most; 0: all")
	flags.SortFlags = false
	return cmd
}

// replay is one run of the command.
type replay struct {
	workspace  model.WorkspaceID
	lease      core.LeaseID // 0: any
	all        bool
	lines      int // 0: no bound
	file       string
	recordings []core.Recording
}

func (r *replay) run(out io.Writer) error {
	p := &page{out: out, most: r.lines}
	var err error
	switch {
	case r.all:
		err = r.everyStep(p)
	case r.workspace != "":
		err = r.steps(p)
	default:
		p.most = 0
		err = r.overview(p)
	}
	p.end()
	if err != nil {
		return err
	}
	return p.err
}

// each calls f with each share's recording.
func (r *replay) each(p *page, f func(core.Recording) error) error {
	for i, recording := range r.recordings {
		if i > 0 {
			p.title("")
		}
		p.title("%s", title(recording))
		if err := f(recording); err != nil {
			return r.damaged(i, err)
		}
	}
	return nil
}

// damaged is about what cannot be replayed.
func (r *replay) damaged(i int, err error) error {
	return fmt.Errorf("share %d of %d: %w", i+1, len(r.recordings), err)
}

// everyStep shows the log in the words of the core.
func (r *replay) everyStep(p *page) error {
	return r.each(p, func(recording core.Recording) error {
		return rerun(recording, nil, func(s step) {
			p.line("%s  %s%s", s.stamp(), core.DescribeMessage(s.message), cause(s.message))
			for _, e := range s.effects {
				p.line("%s      %s", s.margin(), core.DescribeEffect(e))
			}
		})
	})
}

func cause(m core.Message) string {
	if failed, ok := m.(core.DialFailed); ok {
		return fmt.Sprintf(": %q", failed.Err)
	}
	return ""
}

// page bounds how much of a long story is told.
type page struct {
	out       io.Writer
	most      int // 0: no bound
	told, cut int
	err       error
}

// line is one of those that are bounded.
func (p *page) line(format string, args ...any) {
	if p.most > 0 && p.told >= p.most {
		p.cut++
		return
	}
	p.told++
	p.title(format, args...)
}

// title is a line that is always there.
func (p *page) title(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, format+"\n", args...); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *page) end() {
	if p.cut > 0 {
		p.title("... and %d lines more: --lines 0 shows all", p.cut)
	}
}
