package pooltest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

// Workspace returns a fresh workspace for the test, with what Config.Migrate has put into
// it. Its id begins with the test's name. When the test ends its database is dropped,
// whoever is connected to it; if a connection of it is still lent then (a second later),
// the test fails, and the message says where it was acquired.
//
// It blocks until a copy of the template is there: for the first test until the server
// has started, and later only if tests are faster than copies are made.
func (s *Server) Workspace(tb testing.TB) *pools.Workspace {
	tb.Helper()
	r := s.run(tb)
	id := r.nextID(tb.Name())
	if err := r.create(id); err != nil {
		tb.Fatalf("pooltest: create workspace %q: %v", id, err)
	}
	tb.Cleanup(func() {
		tb.Helper()
		r.give(tb, id)
	})
	return r.manager.Workspace(id)
}

// idAtMost leaves room in a database's name for a prefix.
const idAtMost = 40

// nextID makes an id of a test's name.
func (r *running) nextID(test string) model.WorkspaceID {
	name := strings.Map(func(c rune) rune {
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", c) {
			return c
		}
		return '-'
	}, test)
	number := fmt.Sprintf("-%d", r.created.Add(1))
	return model.WorkspaceID(name[:min(len(name), idAtMost-len(number))] + number)
}

// create gives a copy of the template the workspace's name.
func (r *running) create(id model.WorkspaceID) error {
	name, err := r.naming(id)
	if err != nil {
		return err
	}
	database, err := r.ahead.take()
	if err != nil {
		return err
	}
	return r.rename(context.Background(), database, name)
}

func (r *running) rename(ctx context.Context, from, to string) error {
	_, err := r.admin.Exec(ctx, "ALTER DATABASE "+quote(from)+" RENAME TO "+quote(to))
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// returned is a workspace whose test has ended.
type returned struct {
	id       model.WorkspaceID
	database string
}

// give takes the workspace back from its test.
func (r *running) give(tb testing.TB, id model.WorkspaceID) {
	tb.Helper()
	if isClosed(r.ended) {
		return // and the database with it
	}
	its := func(l model.Lease) bool { return !l.System && l.Workspace == id }
	if len(lent(r.manager, its)) > 0 {
		ctx, stop := context.WithTimeout(context.Background(), comesHomeWithin)
		_, _ = r.manager.Pause(ctx, id) // waits for the leases
		stop()
		for _, l := range lent(r.manager, its) {
			tb.Error(leaked(l))
		}
	}
	database, _ := r.naming(id)
	select {
	case r.returned <- returned{id, database}:
	case <-r.ended:
	}
}

// dropReturned drops the databases of tests that have ended. Nobody waits for it but who
// returns the next one while many are left.
func (r *running) dropReturned(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-r.returned:
			// The manager's own connections end by themselves. What it has lent, and what is
			// not the manager's, is ended by force.
			closing, stop := context.WithTimeout(ctx, comesHomeWithin)
			_, _ = r.manager.Pause(closing, w.id)
			stop()
			_, _ = r.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(w.database)+" WITH (FORCE)")
			_ = r.manager.Resume(ctx, w.id) // or the manager would remember the pause
		}
	}
}

// template is the database that is copied.
const template = "pooltest_template"

// makeTemplate has the application fill a workspace, which then becomes the template.
func (r *running) makeTemplate(ctx context.Context, cfg Config) error {
	const id model.WorkspaceID = "template"
	name, err := r.naming(id)
	if err != nil {
		return err
	}
	if err := r.manager.CreateWorkspace(ctx, id); err != nil {
		return err
	}
	if err := r.extend(ctx, name, cfg.Extensions); err != nil {
		return err
	}
	if cfg.Migrate != nil {
		if err := cfg.Migrate(ctx, r.manager.Workspace(id)); err != nil {
			return fmt.Errorf("Config.Migrate: %w", err)
		}
	}
	err = untilHome(ctx, r.manager, func(ctx context.Context) error {
		_, err := r.manager.Pause(ctx, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("Config.Migrate: %w", err)
	}
	if err := r.rename(ctx, name, template); err != nil {
		return fmt.Errorf("Config.Migrate: %w", err)
	}
	return r.manager.Resume(ctx, id)
}

// extend creates extensions, as the superuser, whose pool is for another database.
func (r *running) extend(ctx context.Context, database string, extensions []string) error {
	if len(extensions) == 0 {
		return nil
	}
	config := r.admin.Config().ConnConfig.Copy()
	config.Database = database
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, extension := range extensions {
		if _, err := conn.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS "+quote(extension)+" CASCADE"); err != nil {
			return fmt.Errorf("Config.Extensions: create %q: %w", extension, err)
		}
	}
	return nil
}
