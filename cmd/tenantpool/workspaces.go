package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// workspacesOptions are the flags of the commands below workspaces.
type workspacesOptions struct {
	table          string
	prefix         string
	template, from string
	yes, force     bool
}

func newWorkspaces() *cobra.Command {
	var o workspacesOptions
	cmd := &cobra.Command{
		Use:   "workspaces",
		Short: "List, create, drop and rename workspaces",
		Long: `Lists, creates, drops and renames workspaces, without a server of tenantpool. The
commands read the same DB_... variables as serve (docs/configuration.md), but for the
limits: they open a few connections, which come on top of the DB_MAX_CONNECTIONS of
the processes that serve.

To drop or rename a workspace nobody may be connected to its database. A process that
serves keeps idle connections: pause the workspace there (admin.pauseWorkspace), or
have that process do it (workspace.delete, workspace.rename).`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&o.table, "table", "", "the `TABLE` of the system database that says which database is whose; without it DB_WORKSPACE_TABLE")

	list := o.command("list", 0, "Print the ids of the workspaces that have a database, one a line", o.list)
	list.Flags().StringVar(&o.prefix, "prefix", "", "only ids that begin with it")

	create := o.command("create ID", 1, "Create a workspace's database", o.create)
	create.Flags().StringVar(&o.template, "template", "", "the `DATABASE` that is copied, in place of template1")
	create.Flags().StringVar(&o.from, "from", "", "the `ID` of a workspace that is copied")

	drop := o.command("drop ID", 1, "Drop a workspace's database, with all that is in it", o.drop)
	drop.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	drop.Flags().BoolVar(&o.force, "force", false, "end the sessions of other processes in the database")

	rename := o.command("rename ID NEW-ID", 2, "Give a workspace another id", o.rename)

	cmd.AddCommand(list, create, drop, rename)
	return cmd
}

// command is one of them. Ids are checked before the server is asked anything.
func (o *workspacesOptions) command(use string, ids int, short string, run func(*cobra.Command, []model.WorkspaceID) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != ids {
				return &usageError{cmd.CommandPath(), fmt.Errorf("it is %s %s, and %d arguments are given", cmd.Parent().CommandPath(), use, len(args))}
			}
			for _, id := range args {
				if _, err := model.ParseWorkspaceID(id); err != nil {
					return &usageError{cmd.CommandPath(), err}
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := make([]model.WorkspaceID, len(args))
			for i, id := range args {
				ids[i] = model.WorkspaceID(id)
			}
			return run(cmd, ids)
		},
	}
}

// manage opens a small manager for f.
func (o *workspacesOptions) manage(cmd *cobra.Command, f func(context.Context, *pools.Manager) error) (err error) {
	ctx := cmd.Context()
	defer func() {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%w: %w", errInterrupted, err)
		}
	}()
	cfg, err := execConfig(1)
	if err != nil {
		return err
	}
	warnings := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	m, err := pools.Open(ctx, cfg, pools.WithLogger(warnings), pools.WithWorkspaceTable(o.table))
	if err != nil {
		return err
	}
	defer closeManager(ctx, m, &err)
	return f(ctx, m)
}

func (o *workspacesOptions) list(cmd *cobra.Command, _ []model.WorkspaceID) error {
	if _, err := (model.ListOptions{Prefix: o.prefix}).WithDefaults(); err != nil {
		return &usageError{cmd.CommandPath(), fmt.Errorf("--%w", err)}
	}
	return o.manage(cmd, func(ctx context.Context, m *pools.Manager) error {
		out := bufio.NewWriter(cmd.OutOrStdout())
		for id, err := range m.AllWorkspaces(ctx, o.prefix) {
			if err != nil {
				return errors.Join(err, out.Flush())
			}
			fmt.Fprintln(out, id)
		}
		return out.Flush()
	})
}

func (o *workspacesOptions) create(cmd *cobra.Command, ids []model.WorkspaceID) error {
	var opts []model.CreateOption
	switch {
	case o.template != "" && o.from != "":
		return &usageError{cmd.CommandPath(), errors.New("a database is a copy of one: give --template or --from")}
	case o.template != "":
		opts = append(opts, model.FromTemplate(o.template))
	case o.from != "":
		opts = append(opts, model.FromWorkspace(o.from))
	}
	return o.manage(cmd, func(ctx context.Context, m *pools.Manager) error {
		return m.CreateWorkspace(ctx, ids[0], opts...)
	})
}

func (o *workspacesOptions) drop(cmd *cobra.Command, ids []model.WorkspaceID) error {
	if !o.yes {
		if err := confirmDrop(cmd, ids[0]); err != nil {
			return err
		}
	}
	var opts []model.DropOption
	if o.force {
		opts = append(opts, model.Force)
	}
	return o.manage(cmd, func(ctx context.Context, m *pools.Manager) error {
		return m.DropWorkspace(ctx, ids[0], opts...)
	})
}

// confirmDrop wants the id once more. An interrupt ends the wait for it.
func confirmDrop(cmd *cobra.Command, id model.WorkspaceID) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "This drops the database of workspace %s, with all that is in it. Type the id to confirm: ", id)
	type input struct {
		line string
		err  error
	}
	typed := make(chan input, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
		typed <- input{line, err}
	}()
	select {
	case <-cmd.Context().Done():
		return fmt.Errorf("%w: nothing was dropped", errInterrupted)
	case in := <-typed:
		switch {
		case strings.TrimSpace(in.line) == string(id):
			return nil
		case in.line == "" && in.err != nil:
			return errors.New("nothing was dropped: nobody confirmed it; use --yes where there is nobody to ask")
		}
		return fmt.Errorf("nothing was dropped: that is not the id %s", id)
	}
}

func (o *workspacesOptions) rename(cmd *cobra.Command, ids []model.WorkspaceID) error {
	return o.manage(cmd, func(ctx context.Context, m *pools.Manager) error {
		return m.RenameWorkspace(ctx, ids[0], ids[1])
	})
}
