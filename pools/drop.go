package pools

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// DropWorkspace pauses the workspace, waits for its leases to come home and its
// connections to close, drops its database, and resumes it: whoever still waits is
// then told that there is no such database. If ctx is done while leases are out,
// nothing is dropped, and the workspace is served again, unless it was paused before;
// the error says so and wraps ctx.Err().
//
// While another process is connected to the database, as another manager with an idle
// connection is, nothing is dropped: after two seconds in which they may leave, the
// error says how many there are. With model.Force the server ends the sessions of other
// processes (DROP DATABASE ... WITH (FORCE), PostgreSQL 13 and later; the role needs the
// right to terminate them). This manager's own leases come home first all the same, and
// prepared transactions still keep the database.
//
// The error is a *model.WorkspaceIDError for a bad id; it wraps model.ErrNoWorkspace
// when there is no database, or a *model.SQLError when the server refuses or others are
// connected (SQLSTATE 55006); and otherwise is one of Acquire's.
func (m *Manager) DropWorkspace(ctx context.Context, id model.WorkspaceID, opts ...model.DropOption) error {
	if err := m.valid(id); err != nil {
		return fmt.Errorf("drop workspace: %w", err)
	}
	if err := m.drop(ctx, id, opts); err != nil {
		return fmt.Errorf("drop workspace %q: %w", id, err)
	}
	// What has no database has no pause either.
	after, stop := afterwards(ctx)
	defer stop()
	return m.resume(after, id)
}

func (m *Manager) drop(ctx context.Context, id model.WorkspaceID, opts []model.DropOption) error {
	force := false
	for _, opt := range opts {
		if opt != model.Force {
			return fmt.Errorf("nothing was dropped: %q is not an option of it; use model.Force", opt)
		}
		force = true
	}
	end, err := m.turns.take(ctx, id)
	if err != nil {
		return fmt.Errorf("nothing was dropped: %w", err)
	}
	defer end()
	name, err := m.databaseNow(ctx, id)
	if err != nil {
		return fmt.Errorf("nothing was dropped: %w", err)
	}
	tried := false
	err = m.alone(ctx, func() error {
		drop := "DROP DATABASE " + pgx.Identifier{name}.Sanitize()
		if force {
			drop += " WITH (FORCE)"
		} else if err := m.othersLeave(ctx, name, "end them, or drop it with force"); err != nil {
			return err
		}
		tried = true
		err := m.administer(ctx, drop)
		if hasCode(err, pgerrcode.InvalidCatalogName) {
			err = fmt.Errorf("%w (%q)", model.ErrNoWorkspace, name)
		} else if err != nil {
			return err
		}
		m.noteGone(id, name)
		if own := m.settingsTable.release(ctx, id, name); own != nil { // while its row still says where it was
			return errors.Join(err, own)
		}
		return errors.Join(err, m.releaseRow(ctx, id, name))
	}, id)
	if err != nil && !tried {
		return fmt.Errorf("nothing was dropped: %w", err)
	}
	return err
}

// releaseRow deletes the row of a workspace whose database is gone, if there is a table.
func (m *Manager) releaseRow(ctx context.Context, id model.WorkspaceID, database string) error {
	if m.table == nil || database == "" {
		return nil
	}
	ctx, stop := afterwards(ctx)
	defer stop()
	if err := m.table.release(ctx, id, database); err != nil {
		return fmt.Errorf("its database is gone, but its row is not deleted; drop it again for that: %w", err)
	}
	return nil
}

// noteGone is called when a workspace's database does not exist any more, and before
// who waits for it is told so.
func (m *Manager) noteGone(id model.WorkspaceID, database string) {
	m.catalogue.forget(database)
	m.types.forget(id)
	m.databases.noteGone(workspaceKey(id))
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
