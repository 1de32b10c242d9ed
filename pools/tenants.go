package pools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// DeleteWorkspace pauses the workspace, waits for its leases to come home and its
// connections to close, drops its database, and resumes it: whoever still waits is
// then told that there is no such database. If ctx is done while leases are out,
// nothing is dropped, and the workspace is served again; the error says so and
// wraps ctx.Err(). A pause of the workspace ends in any case.
//
// While another process is connected to the database, as another manager with an idle
// connection is, nothing is dropped: after two seconds in which they may leave, the
// error says how many there are. ForceDeleteWorkspace ends them.
//
// The error is a *model.WorkspaceIDError for a bad id; it wraps model.ErrNoWorkspace
// when there is no database, or a *model.SQLError when the server refuses or others are
// connected (SQLSTATE 55006); and otherwise is one of Acquire's.
func (m *Manager) DeleteWorkspace(ctx context.Context, id model.WorkspaceID) error {
	return m.deleteWorkspace(ctx, id, false)
}

// ForceDeleteWorkspace is DeleteWorkspace, but the server ends the sessions of other
// processes in the database (DROP DATABASE ... WITH (FORCE), PostgreSQL 13 and later;
// the role needs the right to terminate them). This manager's own leases come home
// first, as with DeleteWorkspace. Prepared transactions still keep the database.
func (m *Manager) ForceDeleteWorkspace(ctx context.Context, id model.WorkspaceID) error {
	return m.deleteWorkspace(ctx, id, true)
}

func (m *Manager) deleteWorkspace(ctx context.Context, id model.WorkspaceID, force bool) (err error) {
	name, err := m.naming(id)
	if err != nil {
		return fmt.Errorf("delete workspace: %w", err)
	}
	defer func() {
		ctx, stop := afterwards(ctx)
		defer stop()
		if resumed := m.supervisor.Resume(ctx, workspaceShare, id); !errors.Is(resumed, model.ErrClosed) {
			err = errors.Join(err, resumed)
		}
	}()
	if _, err := m.supervisor.Pause(ctx, workspaceShare, id); err != nil {
		return fmt.Errorf("delete workspace %q: nothing was dropped: %w", id, err)
	}
	drop := "DROP DATABASE " + pgx.Identifier{name}.Sanitize()
	if force {
		drop += " WITH (FORCE)"
	} else if err := m.othersLeave(ctx, name, "end them, or delete with force"); err != nil {
		return fmt.Errorf("delete workspace %q: nothing was dropped: %w", id, err)
	}
	err = m.administer(ctx, drop)
	switch {
	case hasCode(err, pgerrcode.InvalidCatalogName):
		return fmt.Errorf("delete workspace %q: %w (%q)", id, model.ErrNoWorkspace, name)
	case err != nil:
		return fmt.Errorf("delete workspace %q: %w", id, err)
	}
	m.catalogue.forget(name)
	m.databases.noteGone(workspaceKey(id))
	return nil
}

// othersLeave waits until nobody is connected to the database, for a short time. A DROP
// would wait for longer, and not say whom it waits for.
func (m *Manager) othersLeave(ctx context.Context, database, hint string) error {
	err := untilUnused(ctx, othersAtMost, func() error { return m.others(ctx, database, hint) })
	if hasCode(err, pgerrcode.ObjectInUse) && ctx.Err() == nil {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}

// othersAtMost is how long others have to leave a database that is to be dropped. What
// is connected for longer is a pool or a person, and stays.
const othersAtMost = 2 * time.Second

// others says who is connected to the database, in the server's own form. Background
// workers, which have no user, are the server's affair.
func (m *Manager) others(ctx context.Context, database, hint string) error {
	type user struct {
		Application string
		Connections int
	}
	users, err := askOwn(ctx, m, pgx.RowToStructByPos[user], `
		SELECT application_name, count(*) FROM pg_catalog.pg_stat_activity
		WHERE datname = $1 AND usesysid IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5`, database)
	if err != nil || len(users) == 0 {
		return err
	}
	var all []string
	for _, u := range users {
		all = append(all, fmt.Sprintf("%q %d", u.Application, u.Connections))
	}
	return &model.SQLError{
		Code:    pgerrcode.ObjectInUse,
		Message: fmt.Sprintf("the database %q is in use by other processes (connections by application_name: %s)", database, strings.Join(all, ", ")),
		Hint:    hint,
	}
}

// Workspaces lists the workspaces that have a database, by id: the databases whose
// name is <prefix>_ws_ and a valid id. They are the server's, whoever created them;
// templates and databases that take no connections are left out. With a naming of
// one's own (WithNaming) it cannot tell which databases are workspaces, and returns
// an error that wraps errors.ErrUnsupported; otherwise the error is one of
// Acquire's.
func (m *Manager) Workspaces(ctx context.Context) ([]model.WorkspaceID, error) {
	if m.ownNaming {
		return nil, fmt.Errorf("list workspaces: %w with a naming of your own (WithNaming), which cannot be inverted: ask your own catalogue", errors.ErrUnsupported)
	}
	if err := m.met(m.System().ID()); err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	prefix := databasePrefix(m.config.Prefix)
	names, err := askOwn(ctx, m, pgx.RowTo[string], `
		SELECT datname FROM pg_catalog.pg_database
		WHERE pg_catalog.starts_with(datname, $1) AND datallowconn AND NOT datistemplate
		      AND datname <> pg_catalog.current_database()`, prefix)
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	ids := make([]model.WorkspaceID, 0, len(names))
	for _, name := range names {
		if id, err := model.ParseWorkspaceID(name[len(prefix):]); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// administer runs a statement in a clean session of the system database. While it
// fails because somebody else uses the database in question it is repeated, for a
// short time: to create one the server copies template1, which must not be in use (as by another
// CREATE DATABASE's check, or somebody's psql), and to drop one nobody may be
// connected. The server itself already waits for five seconds each time.
func (m *Manager) administer(ctx context.Context, sql string) error {
	return untilUnused(ctx, inUseAtMost, func() error {
		_, _, err := runClean(ctx, m.lendSystem, model.Query{Workspace: m.System().ID(), SQL: sql}, nil)
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
