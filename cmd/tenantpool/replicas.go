package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/replicas"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// replicasOptions are the flags of replicas and what is below.
type replicasOptions struct {
	group, as   string
	json, watch bool
}

func newReplicas() *cobra.Command {
	var o replicasOptions
	cmd := &cobra.Command{
		Use:   "replicas",
		Short: "Show who has what of a shared budget",
		Long: `Shows the replicas of a shared budget (docs/replicas.md): how many connections each may
have, has in use and has idle, how many acquires wait there, how long it has been there,
and its state; then the budget, and what does not agree with it. What is in use and what
waits is as the replica said last, a second or so ago.

It reads the same DB_... variables as serve (docs/configuration.md), and shows the group
of DB_SHARED_BUDGET or --group, or all groups if neither names one. It opens one or two
connections to the system database, which the role's CONNECTION LIMIT counts, and which
are not among the strangers that it shows. When the role has no connection left, --as ROLE
looks as another one, whose password is in ` + adminPasswordVariable + `, or in the file
that ` + adminPasswordVariable + `_FILE names.`,
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cmd.Flags().Changed("as") && o.as == "":
				return &usageError{cmd.CommandPath(), errNoRole}
			case o.json && o.watch:
				return &usageError{cmd.CommandPath(), errors.New("--watch draws for people: leave out --json")}
			}
			return o.show(cmd)
		},
	}
	cmd.Flags().StringVar(&o.group, "group", "", "the `NAME` of the shared budget; without it DB_SHARED_BUDGET")
	cmd.Flags().StringVar(&o.as, "as", "", "the `ROLE` to look as, in place of the replicas'")
	cmd.Flags().BoolVar(&o.json, "json", false, "write a JSON line for each group")
	cmd.Flags().BoolVar(&o.watch, "watch", false, "show it again each second, until you interrupt")
	cmd.AddCommand(newReplicasSchema())
	return cmd
}

func newReplicasSchema() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the SQL that makes the tables of shared budgets, for a role that may not",
		Long: `Prints the SQL that makes the two tables of shared budgets and lets the replicas' role
use them. A role that may create tables needs none of it: the first replica makes them.
Run it in the system database (DB_NAME), as a role that may create tables there. It may
be run again.`,
		Example: "  tenantpool replicas schema --role app | psql -v ON_ERROR_STOP=1 -1 -U postgres shop",
		Args:    flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("role") {
				cfg, err := pools.ConfigFromEnv()
				if err != nil {
					return fmt.Errorf("replicas schema: %w", err)
				}
				role = cfg.User
			}
			if role == "" {
				return &usageError{cmd.CommandPath(), errors.New("--role is empty: name the role that the replicas log in as")}
			}
			_, err := io.WriteString(cmd.OutOrStdout(), replicas.SchemaFor(role))
			return err
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "the `ROLE` that the replicas log in as; without it DB_USER")
	return cmd
}

// show prints the group, or all.
func (o replicasOptions) show(cmd *cobra.Command) error {
	cfg, err := execConfig(1)
	if err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	err = withStore(cmd, cfg, o.as, func(ctx context.Context, _ *pools.Conn, store *replicas.Store) error {
		groups := []string{cmp.Or(o.group, os.Getenv(groupOfEnv))}
		if groups[0] == "" {
			var err error
			if groups, err = store.Groups(ctx); err != nil {
				return err
			}
			if len(groups) == 0 {
				return errors.New("there is no group yet: the first process that is started with DB_SHARED_BUDGET makes one")
			}
		}
		err := o.showGroups(ctx, store, groups, cmd.OutOrStdout())
		for o.watch && err == nil {
			if stage.Pause(ctx, watchEvery); ctx.Err() != nil {
				break // that is how it ends
			}
			err = o.showGroups(ctx, store, groups, cmd.OutOrStdout())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	return nil
}

const (
	// groupOfEnv names the group; Config reads it, too.
	groupOfEnv = "DB_SHARED_BUDGET"
	watchEvery = time.Second
)

func (o replicasOptions) showGroups(ctx context.Context, store *replicas.Store, groups []string, out io.Writer) error {
	text := &summary{}
	if file, ok := out.(*os.File); o.watch && ok && term.IsTerminal(int(file.Fd())) {
		text.WriteString("\x1b[H\x1b[J") // from the top again
	}
	for i, group := range groups {
		store.Group = group
		s, err := lookAt(ctx, store)
		if err != nil {
			return err
		}
		if o.json {
			if err := s.writeJSON(text); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			text.line("")
		}
		s.write(text)
	}
	if o.watch {
		text.line("")
	}
	_, err := out.Write(text.Bytes())
	return err
}

// adminPasswordVariable holds the password of the role of --as.
const adminPasswordVariable = "TENANTPOOL_ADMIN_PASSWORD"

var errNoRole = errors.New("--as is empty: name a role, or leave it out")

// withStore lends f a connection to the system database, as the replicas' role or as another
// one. The command's connections have a name of their own.
func withStore(cmd *cobra.Command, cfg model.Config, as string, f func(context.Context, *pools.Conn, *replicas.Store) error) (err error) {
	ctx := cmd.Context()
	in := false
	defer func() {
		switch err = explained(err, cmp.Or(as, cfg.User), cfg.SystemDatabase); {
		case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
			err = fmt.Errorf("%w: %w", errInterrupted, err)
		case isServerDown(err): // as whatever role
		case err != nil && !in && as != "":
			err = fmt.Errorf("--as %s, with the password of %s: %w", as, adminPasswordVariable, err)
		case err != nil && !in:
			err = fmt.Errorf("log in as the role %s (--as takes another one): %w", cfg.User, err)
		}
	}()
	of := ""
	if as != "" {
		of, cfg.User, cfg.PasswordFile = cfg.User, as, ""
		if cfg.Password, err = secret.FromEnv(adminPasswordVariable); err != nil {
			return err
		}
	}
	warnings := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	host, _ := os.Hostname()
	m, err := pools.Open(ctx, cfg, pools.WithLogger(warnings), pools.WithInstance(fmt.Sprintf("%s %s:%d", cmd.Name(), host, os.Getpid())))
	if err != nil {
		return err
	}
	defer closeManager(ctx, m, &err)
	conn, err := m.System().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	in = true
	return f(ctx, conn, &replicas.Store{Conn: conn.Conn(), Guest: true, RoleName: of})
}

// explained says what to do about the errors that a first try meets.
func explained(err error, role, database string) error {
	switch sqlState(err) {
	case pgerrcode.UndefinedTable:
		return fmt.Errorf("the system database %q has no tables of shared budgets: check DB_NAME; the first process that is started with DB_SHARED_BUDGET makes them, or the SQL of tenantpool replicas schema", database)
	case pgerrcode.InsufficientPrivilege:
		return fmt.Errorf("the role %q may not (%s): tenantpool replicas schema --role prints what grants it", role, err.Error())
	}
	return err
}

func isServerDown(err error) bool {
	var dial *model.DialError
	return errors.As(err, &dial) && dial.Kind == model.ServerDown
}

// sqlState is the server's code for an error, or empty.
func sqlState(err error) string {
	var server interface{ SQLState() string }
	if errors.As(err, &server) {
		return server.SQLState()
	}
	return ""
}
