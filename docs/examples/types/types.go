// Package types registers the types of a workspace's schema with its connections: a
// composite type, an enum, and those of the extensions hstore and pgvector.
package types

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	pgvector "github.com/pgvector/pgvector-go/pgx"

	"github.com/tenantpool/tenantpool/model"
)

// Schema is what each workspace has, after CREATE EXTENSION vector. The OIDs of its types
// are others in each database.
const Schema = Order + `
CREATE EXTENSION hstore;
CREATE TABLE orders (id int PRIMARY KEY, lines order_line[], notes hstore, taste vector)`

// Order are the types that PostgreSQL has the parts for. pools.WithTypes("order_line[]") is
// enough for them: no hook, and no query but at the first dial of a workspace.
const Order = `
CREATE TYPE size AS ENUM ('small', 'large');
CREATE TYPE order_line AS (item text, size size, quantity int);`

// Line is the composite type order_line.
type Line struct {
	Item     string
	Size     string
	Quantity int32
}

// AfterConnect is for pools.Hooks. Of a workspace that is not migrated yet it registers
// what is there: use Manager.Renew after a migration that adds a type.
//
// It costs each dial three queries.
func AfterConnect(ctx context.Context, id model.WorkspaceID, conn *pgx.Conn) error {
	if id == "" {
		return nil // the system database has none of them
	}
	if _, err := conn.LoadTypes(ctx, []string{"_order_line"}); err != nil { // and what it is made of
		return err
	}
	var hstore, vector *uint32
	if err := conn.QueryRow(ctx, `SELECT to_regtype('hstore')::oid, to_regtype('vector')::oid`).Scan(&hstore, &vector); err != nil {
		return err
	}
	if hstore != nil { // pgx has its codec, and cannot know its OID
		conn.TypeMap().RegisterType(&pgtype.Type{Name: "hstore", OID: *hstore, Codec: pgtype.HstoreCodec{}})
	}
	if vector != nil {
		return pgvector.RegisterTypes(ctx, conn)
	}
	return nil
}
