package pools

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// ListWorkspaces lists a page of the workspaces that have a database, by id, in the order of
// the ids' bytes. They are the databases whose name is <prefix>_ws_ and a valid id, whoever
// created them, or with [WithWorkspaceTable] the rows with such a database; templates and
// databases that take no connections are left out. The next page begins after the last id of
// this one; a page with less than the limit is the last. The server reads no more than the
// page, wherever it begins.
//
// With WithNaming or WithResolver it cannot tell which databases are workspaces, and the
// error wraps errors.ErrUnsupported. It is a *model.ListError for bad options, and otherwise
// one of Acquire's, or wraps a *model.SQLError when the server refuses.
func (m *Manager) ListWorkspaces(ctx context.Context, opts model.ListOptions) ([]model.WorkspaceID, error) {
	opts, err := opts.WithDefaults()
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	return m.list(ctx, opts.After, opts.Prefix, &opts.Limit)
}

// AllWorkspaces ranges over what ListWorkspaces lists, a page at a time: workspaces that are
// created or dropped meanwhile may or may not be among them. It ends after an error. Only ids
// that begin with prefix are listed; with "" all.
func (m *Manager) AllWorkspaces(ctx context.Context, prefix string) iter.Seq2[model.WorkspaceID, error] {
	return func(yield func(model.WorkspaceID, error) bool) {
		opts := model.ListOptions{Prefix: prefix, Limit: model.ListAtMost}
		for {
			page, err := m.ListWorkspaces(ctx, opts)
			if err != nil {
				yield("", err)
				return
			}
			for _, id := range page {
				if !yield(id, nil) {
					return
				}
			}
			if len(page) < opts.Limit {
				return
			}
			opts.After = page[len(page)-1]
		}
	}
}

// Workspaces is ListWorkspaces of all of them, as they are at one moment: they are all in memory
// at once, which AllWorkspaces avoids. Its error is one of ListWorkspaces'.
func (m *Manager) Workspaces(ctx context.Context) ([]model.WorkspaceID, error) {
	return m.list(ctx, "", "", nil)
}

// list has no limit if that is nil.
func (m *Manager) list(ctx context.Context, after model.WorkspaceID, prefix string, limit *int) ([]model.WorkspaceID, error) {
	ids, err := m.listed(ctx, string(after), prefix, limit)
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	return ids, nil
}

// The ids of a prefix are one stretch of an index: they begin with the prefix, and end before
// the next byte that could be its last. What is no id is left out by the server, or a page
// would be too short. A table's databases are looked up one by one, not joined: the page is short.
const (
	validID     = `OPERATOR(pg_catalog.~) '^[A-Za-z0-9_-]{1,63}$'`
	isWorkspace = `datallowconn AND NOT datistemplate AND datname <> pg_catalog.current_database()`
)

func (m *Manager) listed(ctx context.Context, after, prefix string, limit *int) ([]model.WorkspaceID, error) {
	switch {
	case m.table != nil:
		if err := m.met(m.System().ID()); err != nil {
			return nil, err
		}
		return askTable(ctx, m.table.table, pgx.RowTo[model.WorkspaceID], `
			SELECT workspace_id FROM %[1]s
			WHERE workspace_id COLLATE "C" > $1 AND workspace_id COLLATE "C" >= $2 AND workspace_id COLLATE "C" < $3
			      AND workspace_id COLLATE "C" `+validID+`
			      AND (SELECT `+isWorkspace+` FROM pg_catalog.pg_database WHERE datname = database)
			ORDER BY workspace_id COLLATE "C" LIMIT $4`, after, prefix, following(prefix), limit)
	case m.resolver != nil, m.ownNaming:
		return nil, fmt.Errorf("%w with WithNaming or WithResolver, which cannot be inverted: ask your own catalogue, or use WithWorkspaceTable", errors.ErrUnsupported)
	}
	if err := m.met(m.System().ID()); err != nil {
		return nil, err
	}
	ours := databasePrefix(m.config.Prefix)
	if len(ours)+len(prefix) > model.MaxNameLength {
		return nil, nil // no name is as long, and the server would cut it
	}
	return askOwn(ctx, m, pgx.RowTo[model.WorkspaceID], `
		SELECT pg_catalog.substr(datname::pg_catalog.text, $5) FROM pg_catalog.pg_database
		WHERE datname > $1::pg_catalog.text::pg_catalog.name AND datname >= $2::pg_catalog.text::pg_catalog.name
		      AND datname < $3::pg_catalog.text::pg_catalog.name
		      AND pg_catalog.substr(datname::pg_catalog.text, $5) COLLATE "C" `+validID+`
		      AND `+isWorkspace+`
		ORDER BY datname LIMIT $4`, ours+after, ours+prefix, following(ours+prefix), limit, len(ours)+1)
}

// following is the least text that comes after all that begin with the prefix. Ids and
// the names of their databases have no byte that cannot be raised.
func following(prefix string) string {
	if prefix == "" {
		return "\x7f"
	}
	last := len(prefix) - 1
	return prefix[:last] + string(prefix[last]+1)
}
