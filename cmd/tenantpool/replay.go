package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"

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
				r.page = bufio.NewWriter(cmd.OutOrStdout())
				err = r.run(recordings)
			}
			if err != nil { // it may have words of the file, which may be anything
				return fmt.Errorf("replay %s: %s", args[0], printable(err.Error()))
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar((*string)(&r.workspace), "workspace", "", "tell step by step why this workspace waited")
	flags.Uint64Var((*uint64)(&r.lease), "lease", 0, "with --workspace: only while this acquire waited")
	flags.BoolVar(&r.all, "all", false, "show every message and every effect")
	flags.Var(wholeNumber(&r.lines, 0, 1_000_000_000), "lines", "how many lines to show at most; 0: all")
	flags.SortFlags = false
	return cmd
}

// replay is one run of the command.
type replay struct {
	workspace model.WorkspaceID
	lease     core.LeaseID // 0: any
	all       bool
	lines     int           // 0: no bound
	page      *bufio.Writer // keeps its first error for Flush
	printed   int           // lines, those included that were left out
}

func (r *replay) run(recordings []core.Recording) error {
	show := r.overview
	if r.all || r.workspace != "" {
		show = r.steps
	}
	for _, recording := range recordings {
		show(recording)
	}
	if more := r.printed - r.lines; r.lines > 0 && more > 0 {
		_, _ = fmt.Fprintf(r.page, "... and %d lines more: --lines 0 shows all\n", more)
	}
	return r.page.Flush()
}

func (r *replay) print(format string, args ...any) {
	if r.printed++; r.lines == 0 || r.printed <= r.lines {
		_, _ = r.page.WriteString(printable(fmt.Sprintf(format, args...)) + "\n") // see Flush
	}
}

// printable is the text without what a terminal might take for more than text.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if strconv.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}

const mostDump = 64 << 20 // as large as an entry of a dump gets
var errTooLarge = fmt.Errorf("it is larger than %d MiB, which no dump is", mostDump>>20)

var errNoEntry = errors.New("without an entry")

// readDump reads the recordings of a dump, of which the file may be anything.
func readDump(stdin io.Reader, file string) ([]core.Recording, error) {
	data, err := readEntry(stdin, file, pools.DumpMessages)
	if err != nil {
		return nil, err
	}
	var recordings []core.Recording
	if err := json.Unmarshal(data, &recordings); err != nil {
		return nil, fmt.Errorf("it is not the JSON of a supervisor's messages: %w", err)
	}
	if len(recordings) == 0 {
		return nil, errors.New("it holds no messages")
	}
	for i, r := range recordings {
		if _, err := core.Restore(r.Image); err != nil {
			return nil, fmt.Errorf("share %d of %d: %w", i+1, len(recordings), err)
		}
	}
	return recordings, nil
}

// readEntry reads a file, or of a dump the one entry that matters. Whatever it is, it reads no
// more than mostDump.
func readEntry(stdin io.Reader, file, entry string) ([]byte, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it was only read
		stdin = f
	}
	data, err := io.ReadAll(io.LimitReader(stdin, mostDump+1))
	if err == nil && len(data) > mostDump {
		err = errTooLarge
	}
	if err == nil && bytes.HasPrefix(data, []byte("PK")) {
		data, err = unzip(data, entry)
	}
	return data, err
}

// unzip returns an entry, if that is no larger than it may be.
func unzip(data []byte, entry string) ([]byte, error) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("it is a damaged zip file: %w", err)
	}
	about, err := fs.Stat(archive, entry)
	switch {
	case err != nil:
		return nil, fmt.Errorf("it is a zip file %w %s", errNoEntry, entry)
	case about.Size() > mostDump: // and a larger one than it says is an error
		return nil, errTooLarge
	}
	return fs.ReadFile(archive, entry)
}
