package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// prefix begins the names of all databases that any bench makes. What follows is
// for one run, so that no run ever meets another's.
const prefix = "tenantpool_bench_"

// creators is how many databases are in the making at once: one is copied while
// another waits for the server's checkpoint.
const creators = 2

// createDatabases makes n workspaces, and notes which databases are to be
// dropped.
func (s *setting) createDatabases(ctx context.Context, n int, term Terminal) error {
	s.config.Prefix = prefix + strings.ToLower(rand.Text()[:8])
	name := pools.PrefixNaming(s.config.Prefix)
	for i := range n {
		id := model.WorkspaceID(fmt.Sprintf("%05d", i+1))
		database, err := name(id)
		if err != nil {
			return err
		}
		s.workspaces = append(s.workspaces, id)
		s.databases = append(s.databases, database)
	}
	as := " TEMPLATE template0" // nobody is ever connected to it
	if s.local != nil {
		var err error
		if as, err = s.quickCopy(ctx, as); err != nil {
			return err
		}
	}
	made, err := s.forDatabases(ctx, s.databases, "creating workspaces", term, func(ctx context.Context, conn *pgx.Conn, database string) error {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+as); err != nil {
			return fmt.Errorf("create a database for each workspace: %w", err)
		}
		return nil
	})
	s.created = made
	return err
}

// quickCopy has the throwaway server copy files, which it does faster without
// fsync. On a user's server that would force checkpoints.
func (s *setting) quickCopy(ctx context.Context, as string) (string, error) {
	conn, err := pgx.ConnectConfig(ctx, s.login)
	if err != nil {
		return "", err
	}
	defer hangUp(conn)
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return "", err
	}
	if version >= 150_000 { // the only way before
		as += " STRATEGY file_copy"
	}
	return as, nil
}

// dropDatabases drops what was created, and nothing else.
func (s *setting) dropDatabases(ctx context.Context, term Terminal) error {
	if len(s.created) == 0 {
		return nil
	}
	dropped, err := s.forDatabases(ctx, s.created, "dropping workspaces", term, func(ctx context.Context, conn *pgx.Conn, database string) error {
		_, err := conn.Exec(ctx, "DROP DATABASE "+pgx.Identifier{database}.Sanitize()+" WITH (FORCE)")
		return err
	})
	if err != nil {
		return fmt.Errorf("%d of %d databases of this run were not dropped (drop those that begin with %s): %w",
			len(s.created)-len(dropped), len(s.created), s.config.Prefix, err)
	}
	return nil
}

// forDatabases calls do for each of them, a few at a time, and returns those for
// which it went well. A statement under way is not interrupted, because the
// server might have carried it out.
func (s *setting) forDatabases(ctx context.Context, databases []string, what string, term Terminal,
	do func(context.Context, *pgx.Conn, string) error,
) (done []string, err error) {
	todo := make(chan string, len(databases))
	for _, database := range databases {
		todo <- database
	}
	close(todo)
	group, ctx := errgroup.WithContext(ctx)
	finished := make(chan string, len(databases)) // room for all: nobody waits to tell
	for range creators {
		group.Go(func() error {
			conn, err := pgx.ConnectConfig(ctx, s.login)
			if err != nil {
				return err
			}
			defer hangUp(conn)
			for database := range todo {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := do(context.WithoutCancel(ctx), conn, database); err != nil {
					return err
				}
				finished <- database
			}
			return nil
		})
	}
	progress := make(chan struct{})
	go func() {
		defer close(progress)
		for database := range finished {
			done = append(done, database)
			progress <- struct{}{}
		}
	}()
	ended := make(chan error, 1)
	go func() {
		ended <- group.Wait()
		close(finished)
	}()
	term.Progress(what, len(databases), progress) // until the last is in done
	return done, <-ended
}
