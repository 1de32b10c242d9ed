// Package sqlc keeps orders with code that sqlc writes (see sqlc.yaml). A *pools.Workspace
// is a DBTX, as a *pools.Conn and a pgx.Tx are:
//
//	queries := sqlc.New(manager.Workspace("customer-42"))
//	orders, err := queries.Orders(ctx)
package sqlc
