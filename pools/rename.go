package pools

import (
	"context"
	"errors"
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
	if err := m.valid(from); err != nil {
		return fmt.Errorf("rename workspace: %w", err)
	}
	if err := m.valid(to); err != nil {
		return fmt.Errorf("rename workspace %q: %w", from, err)
	}
	if m.resolver != nil && m.table == nil {
		return fmt.Errorf("rename workspace: %w with WithResolver: change what the resolver says while both workspaces are paused", errors.ErrUnsupported)
	}
	if err := m.rename(ctx, from, to); err != nil {
		return fmt.Errorf("rename workspace %q to %q: %w", from, to, err)
	}
	after, stop := afterwards(ctx)
	defer stop()
	return m.resume(after, from)
}

func (m *Manager) rename(ctx context.Context, from, to model.WorkspaceID) error {
	end, err := m.turns.take(ctx, from, to)
	if err != nil {
		return err
	}
	defer end()
	old, err := m.databaseNow(ctx, from)
	if err != nil {
		return err
	}
	name, err := m.databaseNow(ctx, to)
	if err != nil && (m.table == nil || !errors.Is(err, model.ErrNoWorkspace)) {
		return err
	}
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
	if err := m.settingsTable.release(ctx, to, name); err != nil { // nobody's, and in the way
		return err
	}
	if err := m.releaseRow(ctx, to, name); err != nil {
		return err
	}
	err = m.alone(ctx, func() error {
		if err := m.othersLeave(ctx, old, "end them"); err != nil {
			return err
		}
		settings := ""
		if m.settingsTable != nil { // without its role it would have too many rights
			settings = m.settingsTable.renamed(from, to)
		}
		change := func() error { return m.renameDatabase(ctx, old, name, settings) }
		if m.table != nil {
			change = func() error { return m.table.rename(ctx, from, to, old) }
		}
		if err := change(); err != nil {
			return err
		}
		m.noteGone(from, old)
		if m.settingsTable == nil {
			return nil
		}
		after, stop := afterwards(ctx)
		defer stop()
		if err := m.settingsTable.readAgain(after); err != nil {
			return fmt.Errorf("it is renamed, but this process has not read its settings again yet: %w", err)
		}
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
// when it is asked to. What is in with happens with it, or neither does; "" is nothing.
func (m *Manager) renameDatabase(ctx context.Context, from, to, with string) error {
	sql := "ALTER DATABASE " + pgx.Identifier{from}.Sanitize() + " RENAME TO " + pgx.Identifier{to}.Sanitize()
	if with != "" {
		sql = "DO " + literal("BEGIN "+sql+"; "+with+"; END")
	}
	err := m.administer(ctx, sql)
	switch {
	case hasCode(err, pgerrcode.DuplicateDatabase, pgerrcode.UniqueViolation):
		return exists(to)
	case hasCode(err, pgerrcode.InvalidCatalogName):
		return fmt.Errorf("%w (%q)", model.ErrNoWorkspace, from)
	}
	return err
}
