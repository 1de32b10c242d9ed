package pools

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

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
