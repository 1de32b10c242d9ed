package pools

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenantpool/tenantpool/model"
)

// WithTypes has each connection know these types of its database, and what they are made
// of, as pgx's LoadTypes does: composite types, enums, domains, ranges, and arrays of them.
// A workspace is asked for them once; its later connections cost no round trip.
//
// A name that is no type yet is left out, and asked for again by the next dial: a workspace
// whose migration has not run can be reached. A type that was dropped and created again has
// another OID: [Manager.Renew] the workspace, as after any migration. A type with a codec
// of its own, as an extension's, is registered by Hooks.AfterConnect. The system database
// has none. The last WithTypes counts.
func WithTypes(names ...string) Option {
	return func(o *options) { o.types = newTypes(slices.Clone(names)) }
}

// types remembers the types of the workspaces that were dialed last; nil: there are none to
// load.
type types struct {
	names []string
	// turn holds what is known. Whoever has received it may read and change it, and sends it
	// back at once.
	turn chan *knownTypes
}

type knownTypes struct {
	recent recent[model.WorkspaceID, typesOf]
	// loading are the workspaces that a dial asks for their types; closed when it has the
	// answer, or none.
	loading map[model.WorkspaceID]chan struct{}
	// forgotten counts forgets: what was loaded before one is not kept.
	forgotten uint64
}

// typesOf is never changed.
type typesOf struct {
	loaded []*pgtype.Type
	names  []string // of the loaded
}

func newTypes(names []string) *types {
	if len(names) == 0 {
		return nil
	}
	t := &types{names, make(chan *knownTypes, 1)}
	t.turn <- &knownTypes{loading: make(map[model.WorkspaceID]chan struct{})}
	return t
}

// askTypes finds the types that are there, and their names in the catalogue, which is how
// pgx looks for them: an array's is another than in SQL.
const askTypes = `
SELECT name, n.nspname || '.' || t.typname
FROM pg_catalog.unnest($1::text[]) name
JOIN pg_catalog.pg_type t ON t.oid = pg_catalog.to_regtype(name)
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace`

// register has the backend know the types. It asks the server for those that are not known,
// unless another dial of the workspace does so: then it waits for what that one learns.
func (t *types) register(ctx context.Context, b *backend) error {
	if t == nil || b.workspace == "" {
		return nil
	}
	of, before, err := t.begin(ctx, b.workspace)
	if err != nil {
		return err
	}
	b.pgx.TypeMap().RegisterTypes(of.loaded)
	if len(of.names) == len(t.names) {
		return nil
	}
	defer t.end(b.workspace)
	missing := slices.DeleteFunc(slices.Clone(t.names), func(name string) bool { return slices.Contains(of.names, name) })
	rows, err := b.pgx.Query(ctx, askTypes, pgx.QueryExecModeExec, missing)
	if err != nil {
		return err
	}
	var there, catalogued []string
	var name, inCatalogue string
	_, err = pgx.ForEachRow(rows, []any{&name, &inCatalogue}, func() error {
		there, catalogued = append(there, name), append(catalogued, inCatalogue)
		return nil
	})
	if err != nil || len(there) == 0 {
		return err
	}
	loaded, err := b.pgx.LoadTypes(ctx, catalogued)
	if err != nil {
		return err
	}
	b.pgx.TypeMap().RegisterTypes(loaded)
	t.keep(b.workspace, before, typesOf{slices.Concat(of.loaded, loaded), slices.Concat(of.names, there)})
	return nil
}

// begin returns what is known of the workspace's types. If some are missing the caller is
// the one who asks for them, and calls end.
func (t *types) begin(ctx context.Context, id model.WorkspaceID) (of typesOf, forgotten uint64, err error) {
	for {
		known := <-t.turn
		of, _ = known.recent.get(id)
		forgotten = known.forgotten
		other := known.loading[id]
		complete := len(of.names) == len(t.names)
		if !complete && other == nil {
			known.loading[id] = make(chan struct{})
		}
		t.turn <- known
		if complete || other == nil {
			return of, forgotten, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return of, forgotten, ctx.Err()
		}
	}
}

func (t *types) end(id model.WorkspaceID) {
	known := <-t.turn
	close(known.loading[id])
	delete(known.loading, id)
	t.turn <- known
}

// keep remembers what was loaded, unless something was forgotten since.
func (t *types) keep(id model.WorkspaceID, before uint64, of typesOf) {
	known := <-t.turn
	if known.forgotten == before {
		known.recent.add(id, of)
	}
	t.turn <- known
}

// forget is for workspaces whose database may have other types from now on; none: all.
func (t *types) forget(ids ...model.WorkspaceID) {
	if t == nil {
		return
	}
	known := <-t.turn
	known.forgotten++
	if len(ids) == 0 {
		known.recent = recent[model.WorkspaceID, typesOf]{}
	}
	for _, id := range ids {
		known.recent.remove(id)
	}
	t.turn <- known
}
