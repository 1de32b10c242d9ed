package pools

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// WithWorkspaceTable has a table of the system database say which database is whose, in
// place of PrefixNaming, as Config.WorkspaceTable does. name is that of the table, with its
// schema or without. It is the application's to create, and the role may SELECT, INSERT,
// UPDATE and DELETE in it:
//
//	CREATE TABLE workspaces (
//	    workspace_id text COLLATE "C" PRIMARY KEY,
//	    database     text NOT NULL UNIQUE
//	)
//
// It may have more columns, with defaults. A workspace whose database is also another's is
// refused. What [WithResolver] says of answers and of moved workspaces holds here too.
//
// CreateWorkspace inserts the row, and then creates the database; its name is the naming's
// ([WithNaming]), with something random behind it if that is taken. DropWorkspace drops the
// database, and then deletes the row. So a process that is killed in between leaves a row
// without a database: that is no workspace, the next CreateWorkspace uses it, and a
// DropWorkspace deletes it. RenameWorkspace only updates the row, in one statement.
func WithWorkspaceTable(name string) Option {
	return func(o *options) { o.table = name }
}

// workspaceTable says which database is whose. Its row comes before the database and goes
// after it, so what has a database has a row.
type workspaceTable struct{ table }

// newPlaces makes what finds databases, as the options say: nothing for a naming.
func (m *Manager) newPlaces(o options) (*resolver, *workspaceTable, error) {
	log, name := newSparseLog(o.log), cmp.Or(o.table, m.config.WorkspaceTable)
	switch {
	case name != "" && o.resolver != nil:
		return nil, nil, errors.New("WithResolver and a table of workspaces (WithWorkspaceTable or DB_WORKSPACE_TABLE) are both given: use one of them")
	case o.naming != nil && o.resolver != nil:
		return nil, nil, errors.New("WithResolver and WithNaming are both given: use one of them")
	case o.resolver != nil:
		return &resolver{look: callResolver(o.resolver), atOnce: resolverCalls, idsAtOnce: 1, log: log}, nil, nil
	case name == "":
		return nil, nil, nil
	}
	of, err := newTable(m, "WithWorkspaceTable or DB_WORKSPACE_TABLE", name)
	if err != nil {
		return nil, nil, err
	}
	t := &workspaceTable{of}
	return &resolver{look: t.look, atOnce: 1, idsAtOnce: namesAtOnce, log: log}, t, nil
}

// table is one of the system database that the program names.
type table struct {
	m *Manager
	// option says who gave the name; name is as it was given, sql as the server reads it.
	option, name, sql string
}

func newTable(m *Manager, option, name string) (table, error) {
	parts := strings.Split(name, ".")
	for _, part := range parts {
		if part == "" || len(parts) > 2 || len(part) > model.MaxNameLength || strings.ContainsRune(part, 0) {
			return table{}, fmt.Errorf("%s: %q is not the name of a table: give table or schema.table", option, name)
		}
	}
	return table{m, option, name, pgx.Identifier(parts).Sanitize()}, nil
}

// look is the resolver's.
func (t *workspaceTable) look(ctx context.Context, ids []model.WorkspaceID) (map[model.WorkspaceID]place, error) {
	type row struct {
		ID       model.WorkspaceID
		Database string
	}
	rows, err := askTable(ctx, t.table, pgx.RowToStructByPos[row], `
		SELECT workspace_id, database FROM %[1]s
		WHERE database IN (SELECT database FROM %[1]s WHERE workspace_id = ANY ($1))`, ids)
	if err != nil {
		return nil, err
	}
	places, owners := make(map[model.WorkspaceID]place), make(map[string]model.WorkspaceID)
	for _, r := range rows {
		other, shared := owners[r.Database]
		last, again := places[r.ID]
		owners[r.Database] = cmp.Or(other, r.ID)
		switch {
		case shared:
			p := place{err: fmt.Errorf("table %q gives the database %q to the workspaces %q and %q: give each one of its own, and make the column UNIQUE",
				t.name, r.Database, other, r.ID)}
			places[r.ID], places[other] = p, p
		case again:
			places[r.ID] = place{err: fmt.Errorf("table %q gives the workspace two databases, %q and %q: leave one, and make workspace_id the primary key",
				t.name, last.database, r.Database)}
		default:
			places[r.ID] = place{database: r.Database}
		}
	}
	return places, nil
}

// assign gives the workspace a row, unless it has one, and returns the database in it.
func (t *workspaceTable) assign(ctx context.Context, id model.WorkspaceID) (database string, err error) {
	name, err := t.m.naming(id)
	if err != nil {
		return "", err
	}
	for range 2 {
		if err := t.insert(ctx, id, name, `
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $2::text)`); err != nil {
			return "", err
		}
		database, err = t.m.databaseNow(ctx, id)
		if !errors.Is(err, model.ErrNoWorkspace) {
			return database, err
		}
		// It is another's, or was somebody's before there was the table.
		random := "_" + strings.ToLower(rand.Text()[:unfinishedRandom])
		name = name[:min(len(name), model.MaxNameLength-len(random))] + random
	}
	return "", fmt.Errorf("table %q took no row for it: %w", t.name, err)
}

// confirm is called when the database is there. Who dropped the workspace before that may
// have deleted its row since; then it gets another, unless somebody has created the workspace
// again: what is nobody's is dropped.
func (t *workspaceTable) confirm(ctx context.Context, id model.WorkspaceID, database string) error {
	defer t.m.resolver.forget(id)
	if err := t.insert(ctx, id, database, ""); err != nil {
		return err
	}
	owners, err := askTable(ctx, t.table, pgx.RowTo[string], `SELECT workspace_id FROM %[1]s WHERE database = $1`, database)
	if err != nil || len(owners) > 0 {
		return err
	}
	if err := t.m.administer(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{database}.Sanitize()); err != nil {
		return fmt.Errorf("somebody else has dropped and created it meanwhile, and the database %q is nobody's; drop that: %w", database, err)
	}
	return fmt.Errorf("%w (somebody else has dropped and created it meanwhile)", model.ErrWorkspaceExists)
}

func (t *workspaceTable) insert(ctx context.Context, id model.WorkspaceID, database, unless string) error {
	_, err := askTable(ctx, t.table, pgx.RowTo[string], `
		INSERT INTO %[1]s (workspace_id, database) SELECT $1::text, $2::text
		WHERE NOT EXISTS (SELECT FROM %[1]s WHERE workspace_id = $1::text OR database = $2::text)`+unless+`
		ON CONFLICT DO NOTHING RETURNING database`, string(id), database)
	return err
}

// release deletes the row of a workspace whose database is gone.
func (t *workspaceTable) release(ctx context.Context, id model.WorkspaceID, database string) error {
	_, err := askTable(ctx, t.table, pgx.RowTo[string], `
		DELETE FROM %[1]s WHERE workspace_id = $1 AND database = $2
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $2::text) RETURNING database`, string(id), database)
	t.m.resolver.forget(id)
	return err
}

// rename gives the row another id, and with it that of the settings.
func (t *workspaceTable) rename(ctx context.Context, from, to model.WorkspaceID, database string) error {
	settings := ""
	if own := t.m.settingsTable; own != nil {
		settings = ", settings AS (" + strings.ReplaceAll(own.renamed(from, to), "%", "%%") + " AND EXISTS (SELECT FROM moved))"
	}
	rows, err := askTable(ctx, t.table, pgx.RowTo[string], `WITH moved AS (
		UPDATE %[1]s SET workspace_id = $2 WHERE workspace_id = $1 AND database = $3
		AND NOT EXISTS (SELECT FROM %[1]s WHERE workspace_id = $2) RETURNING database
	)`+settings+` SELECT database FROM moved`, string(from), string(to), database)
	t.m.resolver.forget(from, to)
	switch {
	case hasCode(err, pgerrcode.UniqueViolation), err == nil && len(rows) == 0:
		return fmt.Errorf("%w (or the table %q was changed meanwhile)", model.ErrWorkspaceExists, t.name)
	}
	return err
}

// askTable asks the server; %[1]s in sql is the table. Its error is a *model.SQLError if the
// server refuses.
func askTable[T any](ctx context.Context, t table, toT pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := askOwn(ctx, t.m, toT, fmt.Sprintf(sql, t.sql), args...)
	if errors.As(err, new(*pgconn.PgError)) {
		err = fmt.Errorf("table %q (%s): %w", t.name, t.option, sqlError(err))
	}
	return rows, err
}
