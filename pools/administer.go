package pools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// administer runs a statement in a clean session of the system database. While it
// fails because somebody else uses the database in question it is repeated, for a
// short time: to create one the server copies template1, which must not be in use (as by another
// CREATE DATABASE's check, or somebody's psql), and to drop one nobody may be
// connected. The server itself already waits for five seconds each time.
func (m *Manager) administer(ctx context.Context, sql string) error {
	return untilUnused(ctx, inUseAtMost, func() error {
		_, _, err := m.runClean(ctx, m.lendSystem, model.Query{Workspace: m.System().ID(), SQL: sql}, nil)
		return err
	})
}

// untilUnused repeats f for a time while it fails because a database is in use.
func untilUnused(ctx context.Context, atMost time.Duration, f func() error) error {
	deadline := time.Now().Add(atMost)
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		err := f()
		if !hasCode(err, pgerrcode.ObjectInUse) || time.Now().Add(pause).After(deadline) {
			return err
		}
		if within(ctx.Done(), pause) {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// inUseAtMost bounds the repetitions; one more attempt may begin just before.
const inUseAtMost = 8 * time.Second

func hasCode(err error, codes ...string) bool {
	var dial *model.DialError
	var refused *model.SQLError
	return !errors.As(err, &dial) && errors.As(err, &refused) && slices.Contains(codes, refused.Code)
}

// hasDatabase asks the server, whatever the catalogue remembers.
func (m *Manager) hasDatabase(ctx context.Context, name string) (bool, error) {
	if err := m.met(m.System().ID()); err != nil {
		return false, err
	}
	names, err := askOwn(ctx, m, pgx.RowTo[string], `SELECT datname FROM pg_catalog.pg_database WHERE datname = $1`, name)
	return len(names) > 0, err
}

// resume ends a pause; nothing is paused after Close.
func (m *Manager) resume(ctx context.Context, id model.WorkspaceID) error {
	m.catalogue.changes.Add(1)
	m.resolver.forget(id)
	if err := m.supervisor.Resume(ctx, workspaceShare, id); !errors.Is(err, model.ErrClosed) {
		return err
	}
	return nil
}

// alone runs f while the workspaces are paused, and have no connection of this manager.
// Then it resumes those that were not paused before. f has not run if ctx is done while
// leases are out.
func (m *Manager) alone(ctx context.Context, f func() error, ids ...model.WorkspaceID) (err error) {
	for _, id := range ids {
		if !m.supervisor.Paused(workspaceShare, id) {
			defer func() {
				ctx, stop := afterwards(ctx)
				defer stop()
				err = errors.Join(err, m.resume(ctx, id))
			}()
		}
		if _, err := m.supervisor.Pause(ctx, workspaceShare, id); err != nil {
			return err
		}
	}
	return f()
}

// afterwards is a context for what must follow although ctx may have ended.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Second)
}
