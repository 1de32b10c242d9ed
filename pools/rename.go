package pools

import (
	"context"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// RenameWorkspace gives the workspace's database the name of another workspace, which
// has none yet. It pauses both, waits for the leases of from to come home and its
// connections to close, renames, and resumes both: whoever waits for from is then told
// that there is no such database, and whoever waits for to gets it. A pause of from
// ends; one of to stays. If ctx is done while leases are out, nothing is renamed, from
// is served again, unless it was paused before, and the error wraps ctx.Err().
//
// PostgreSQL renames a database at one moment, and only while nobody is connected to
// it: no connection is ever of another workspace than it was dialed for. While another
// process is connected, as another manager with an idle connection is, nothing is
// renamed: after two seconds in which they may leave, the error says how many there are.
// The role must own the database and needs the right CREATEDB.
//
// The error is a *model.WorkspaceIDError for a bad id; it wraps model.ErrNoWorkspace when
// from has no database, model.ErrWorkspaceExists when to has one, or a *model.SQLError
// when the server refuses or others are connected (SQLSTATE 55006); and otherwise is one
// of Acquire's.
func (m *Manager) RenameWorkspace(ctx context.Context, from, to model.WorkspaceID) error {
	old, err := m.naming(from)
	if err != nil {
		return fmt.Errorf("rename workspace: %w", err)
	}
	name, err := m.naming(to)
	if err != nil {
		return fmt.Errorf("rename workspace %q: %w", from, err)
	}
	if err := m.rename(ctx, from, to, old, name); err != nil {
		return fmt.Errorf("rename workspace %q to %q: %w", from, to, err)
	}
	after, stop := afterwards(ctx)
	defer stop()
	return m.resume(after, from)
}

func (m *Manager) rename(ctx context.Context, from, to model.WorkspaceID, old, name string) error {
	end, err := m.turns.take(ctx, from, to)
	if err != nil {
		return err
	}
	defer end()
	// The server decides in the end; but nobody is paused for what cannot be.
	if there, err := m.hasDatabase(ctx, old); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("%w (%q)", model.ErrNoWorkspace, old)
	}
	if there, err := m.hasDatabase(ctx, name); err != nil {
		return err
	} else if there {
		return exists(name)
	}
	err = m.alone(ctx, func() error {
		if err := m.othersLeave(ctx, old, "end them"); err != nil {
			return err
		}
		if err := m.renameDatabase(ctx, old, name); err != nil {
			return err
		}
		m.noteGone(from, old)
		return nil
	}, to, from)
	if err != nil {
		return err
	}
	after, stop := afterwards(ctx)
	defer stop()
	return m.supervisor.Retry(after, workspaceShare, to) // also if its pause stays
}

// renameDatabase repeats the statement while the old name is in use: autovacuum leaves
// when it is asked to.
func (m *Manager) renameDatabase(ctx context.Context, from, to string) error {
	err := m.administer(ctx, "ALTER DATABASE "+pgx.Identifier{from}.Sanitize()+" RENAME TO "+pgx.Identifier{to}.Sanitize())
	switch {
	case hasCode(err, pgerrcode.DuplicateDatabase, pgerrcode.UniqueViolation):
		return exists(to)
	case hasCode(err, pgerrcode.InvalidCatalogName):
		return fmt.Errorf("%w (%q)", model.ErrNoWorkspace, from)
	}
	return err
}
