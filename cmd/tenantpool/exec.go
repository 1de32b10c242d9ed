package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/cmd/internal/work"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// execOptions are exec's flags.
type execOptions struct {
	all, noTransaction, retryUncertain, dryRun, json bool

	workspaces, sql, file, command, journal string
	concurrency, stopAfter, canary          int
	timeout                                 time.Duration
}

func newExec() *cobra.Command {
	o := execOptions{concurrency: 4, timeout: 10 * time.Minute}
	cmd := &cobra.Command{
		Use:   "exec",
		Short: "Run SQL or a command in each workspace's database, once",
		Long: `Runs SQL, or a command, in the database of each workspace: a few at a time, with a
result for each. It reads the same DB_... variables as serve (docs/configuration.md),
but for the limits: it opens at most --concurrency connections to workspaces, and a
few to the system database. These come on top of the DB_MAX_CONNECTIONS of the
processes that serve, so leave room for them on the server. The database of workspace x
is <DB_PREFIX>_ws_x, or what DB_WORKSPACE_TABLE says (not with --command). A naming of
your own it does not know.

SQL is done in a transaction: all of it, or nothing. It must not end that itself.
What cannot be in one (VACUUM, CREATE INDEX CONCURRENTLY) goes with --no-transaction;
several statements that are sent at once are then a transaction all the same, so send
such a one alone.

A command is run by sh. It finds the way to its workspace's database in PGHOST, PGPORT,
PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE and DATABASE_URL, and the workspace in
TENANTPOOL_WORKSPACE. What DB_PARAMETERS says of TLS is in PGSSLROOTCERT and the like; the
rest of it a command does not have. It opens its connections itself, and may have one at a
time: exec has none to that workspace meanwhile, so that all is counted. The end of what a
command wrote is shown if it fails, and is in the result of --json.

With --journal an interrupted or killed run is resumed by the same command line. What
was done is not done again. Where a transaction was being committed the server is asked
whether it was, so each workspace has it exactly once. Without a transaction, and with
--command, nobody knows what became of one that was begun and has no end: it is
reported as uncertain, and is done again only with --retry-uncertain. The journal holds
a hash of the SQL or the command, errors and workspaces' ids.

Ctrl-C lets nothing more begin, waits for what is under way and says how to resume; a
second one cancels that.

The exit status is 0 when it was done everywhere, 1 when it failed or is uncertain in
some workspaces or was not begun there, 2 for a wrong command line, 130 when it was
interrupted.`,
		Example: `  tenantpool exec --all --file 042_add_notes.sql --canary 3 --stop-after 5 --journal 042.journal
  tenantpool exec --workspaces ids.txt --no-transaction --sql "CREATE INDEX CONCURRENTLY ON orders (item)"
  tenantpool exec --all --dry-run --command 'goose -dir migrations postgres "$DATABASE_URL" up'`,
		Args: flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runExec(cmd.Context(), cmd, o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.all, "all", false, "all workspaces that have a database when it starts")
	flags.StringVar(&o.workspaces, "workspaces", "", "a file of their ids, one a line; - is standard input")
	flags.StringVar(&o.sql, "sql", "", "the SQL")
	flags.StringVar(&o.file, "file", "", "a file of SQL")
	flags.StringVar(&o.command, "command", "", "a command")
	flags.BoolVar(&o.noTransaction, "no-transaction", false, "send the SQL as it is")
	flags.Var(wholeNumber(&o.concurrency, 1, 1000), "concurrency", "how many workspaces at once, each with one connection (1 to 1000)")
	flags.Var(wholeNumber(&o.canary, 0, 1_000_000), "canary", "how many, the first ones, must succeed before the others begin")
	flags.Var(wholeNumber(&o.stopAfter, 0, 1_000_000), "stop-after", "after how many failures nothing more begins; 0: it goes on")
	flags.Var(duration(&o.timeout, 0, endless, "0 (none) or a duration above, such as 30s or 10m"), "timeout", "how long one workspace may take, its wait for a connection included")
	flags.StringVar(&o.journal, "journal", "", "a file that remembers what was done, to resume from")
	flags.BoolVar(&o.retryUncertain, "retry-uncertain", false, "do it again where nobody knows whether it was done")
	flags.BoolVar(&o.dryRun, "dry-run", false, "do nothing: list the workspaces, and what the journal says of them")
	flags.BoolVar(&o.json, "json", false, "write a JSON line for each workspace, and one of the summary, to standard output")
	flags.SortFlags = false
	return cmd
}

// runExec refuses a wrong command line before it asks the server anything.
func runExec(ctx context.Context, cmd *cobra.Command, o execOptions) (err error) {
	defer func() {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) && !errors.Is(err, errInterrupted) {
			err = fmt.Errorf("exec: %w before anything was begun", errInterrupted)
		}
	}()
	misused := func(err error) error { return &usageError{cmd.CommandPath(), err} }
	if err := o.check(); err != nil {
		return misused(err)
	}
	var ids []model.WorkspaceID
	if o.workspaces != "" {
		if ids, err = o.readWorkspaces(cmd.InOrStdin()); err != nil {
			return misused(fmt.Errorf("--workspaces %s: %w", o.workspaces, err))
		}
	}
	cfg, err := execConfig(o.concurrency)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	task, err := o.task(cfg)
	if err != nil {
		return misused(err)
	}
	var journal *work.Journal
	if o.journal != "" {
		if journal, err = o.openJournal(cfg.Prefix); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		defer func() { err = errors.Join(err, journal.Close()) }()
	}
	if err := journal.Check(task.Sum()); err != nil {
		return misused(err)
	}
	con := stage.StartConsole(cmd.ErrOrStderr())
	defer con.Stop()
	manager, err := pools.Open(ctx, cfg, append(o.instance(), pools.WithLogger(con.Logger()))...)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	defer closeManager(ctx, manager, &err)
	if o.all {
		if ids, err = manager.Workspaces(ctx); err != nil {
			return fmt.Errorf("exec: --all: %w", err)
		}
		switch {
		case len(ids) > 0:
		case cfg.WorkspaceTable != "":
			return fmt.Errorf("exec: --all: the table %q has no row with a database: check DB_WORKSPACE_TABLE", cfg.WorkspaceTable)
		default:
			return fmt.Errorf("exec: --all: the server has no database whose name begins with %s_ws_: check DB_PREFIX", cfg.Prefix)
		}
	}
	report := &execReport{options: o, out: cmd.OutOrStdout(), con: con, all: len(ids), began: time.Now()}
	if o.dryRun {
		return report.dryRun(ids, journal)
	}
	working, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	ended := make(chan struct{})
	defer close(ended)
	stopTelling := context.AfterFunc(ctx, func() {
		con.Printf("interrupted: nothing more begins; waiting for what is under way (interrupt again to cancel it)")
	})
	defer stopTelling()
	whenInterruptedAgain(ctx, func(by interruptedBy) {
		con.Printf("interrupted again: cancelling what is under way")
		cancel(by)
		select {
		case <-ended:
			select {} // the program ends by itself
		case <-time.After(execClosesWithin):
		}
	})
	summary, err := work.Run(working, manager, work.Options{
		Workspaces: ids, Task: task, Journal: journal, RetryUncertain: o.retryUncertain,
		Concurrency: o.concurrency, Canary: o.canary, StopAfter: o.stopAfter, Timeout: o.timeout,
		Stop: ctx.Done(), Done: report.done,
	})
	report.end(summary)
	switch {
	case err != nil:
		return fmt.Errorf("exec: %w", err)
	case ctx.Err() != nil && !summary.All():
		return fmt.Errorf("exec: %w before it was done everywhere: %s", errInterrupted, o.howToResume())
	case !summary.All():
		return fmt.Errorf("exec: not done in %d of %d workspaces: %s", summary.Workspaces-summary.Done, summary.Workspaces, o.howToResume())
	}
	return nil
}

// execClosesWithin is as long as the server takes to cancel what runs and to let go.
const execClosesWithin = 15 * time.Second

// closeManager closes it at a command's end; an error of the command's own comes first.
func closeManager(ctx context.Context, m *pools.Manager, err *error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), execClosesWithin)
	defer stop()
	if closed := m.Close(ctx); *err == nil {
		*err = closed
	}
}

// check tells what is wrong with the flags together.
func (o execOptions) check() error {
	given := func(values ...string) (n int) {
		for _, v := range values {
			if v != "" {
				n++
			}
		}
		return n
	}
	switch {
	case o.all == (o.workspaces != ""):
		return errors.New("say where: either --all or --workspaces FILE")
	case given(o.sql, o.file, o.command) != 1:
		return errors.New("say what: one of --sql, --file and --command")
	case o.noTransaction && o.command != "":
		return errors.New("--no-transaction is about SQL, and a command decides that itself: leave one out")
	case o.retryUncertain && o.journal == "":
		return errors.New("--retry-uncertain is about what a --journal says: name that")
	}
	return nil
}

func (o execOptions) readWorkspaces(stdin io.Reader) ([]model.WorkspaceID, error) {
	if o.workspaces == "-" {
		return work.ReadWorkspaces(stdin)
	}
	file, err := os.Open(o.workspaces)
	if err != nil {
		return nil, fmt.Errorf("%w: name a file of ids, one a line", err)
	}
	defer func() { _ = file.Close() }()
	return work.ReadWorkspaces(file)
}

// openJournal makes none for a dry run; nil remembers nothing.
func (o execOptions) openJournal(prefix string) (*work.Journal, error) {
	if _, err := os.Stat(o.journal); o.dryRun && errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(o.journal)); err == nil { // or it says what is wrong
			return nil, nil
		}
	}
	return work.OpenJournal(o.journal, prefix)
}

func (o execOptions) task(cfg model.Config) (work.Task, error) {
	if o.command != "" && cfg.WorkspaceTable != "" {
		return nil, errors.New("--command does not know the databases of DB_WORKSPACE_TABLE: use SQL")
	}
	if o.command != "" {
		return work.Command{Line: o.command, Config: cfg, Naming: pools.PrefixNaming(cfg.Prefix)}, nil
	}
	sql, from := o.sql, "--sql"
	if o.file != "" {
		text, err := os.ReadFile(o.file)
		if err != nil {
			return nil, fmt.Errorf("--file: %w: name a file of SQL", err)
		}
		sql, from = string(text), "--file "+o.file
	}
	switch {
	case strings.TrimSpace(sql) == "":
		return nil, fmt.Errorf("%s is empty: there is nothing to do", from)
	case strings.ContainsRune(sql, 0):
		return nil, fmt.Errorf("%s contains a NUL character: is it a text in UTF-8?", from)
	case o.noTransaction:
		return work.Plain{SQL: sql}, nil
	}
	return work.Transaction{SQL: sql}, nil
}

// execConfig is the environment's, with a budget for so many workspaces at once.
func execConfig(concurrency int) (model.Config, error) {
	cfg, err := pools.ConfigFromEnv()
	if err != nil {
		return cfg, err
	}
	cfg.SharedBudget = ""                   // it is no replica: what it opens comes on top
	cfg.AutoBudget, cfg.Planner = "", "off" // how much it needs is known
	cfg.MaxConnectionsPerDB, cfg.SoftMaxConnectionsPerDB = 1, 0
	cfg.BatchShare = 1     // nobody else has this budget
	cfg.LeaseWarnAfter = 0 // --timeout bounds it
	cfg.MaxConnections = max(3, cfg.MaxConnectionsFor(concurrency))
	return cfg, cfg.Validate()
}

// instance: whoever resumes counts what a killed run of the same journal has left on the
// server. No other living process has the journal.
func (o execOptions) instance() []pools.Option {
	path, err := filepath.Abs(o.journal)
	host, unnamed := os.Hostname()
	if o.journal == "" || err != nil || unnamed != nil {
		return nil
	}
	return []pools.Option{pools.WithInstance("exec " + host + ":" + path)}
}

func (o execOptions) howToResume() string {
	if o.journal == "" {
		return "it was run without --journal, so what was done must be told from the results"
	}
	return "the same command line goes on where it ended (--journal " + o.journal + ")"
}
