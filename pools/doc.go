// Package pools lends PostgreSQL connections to any number of workspace
// databases, out of one fixed budget.
//
//	cfg, err := pools.ConfigFromEnv()
//	...
//	manager, err := pools.Open(ctx, cfg)
//	...
//	defer manager.Close(ctx)
//
//	conn, err := manager.Acquire(ctx, "customer-42")
//	if err != nil {
//		return err
//	}
//	defer conn.Release()
//	_, err = conn.Exec(ctx, "INSERT INTO orders (item) VALUES ($1)", item)
//
// [Manager.Query] runs one statement and gives its answer in JSON's types, for
// programs in other languages; [Manager.CreateWorkspace] and
// [Manager.DropWorkspace] create and drop databases; [Manager.Pause],
// [Manager.Exclusive], [Manager.Renew], [Manager.SetLimits], [Manager.Events] and
// [Manager.Dump] are for operators; with [WithDumps] a dump is written whenever an acquire
// has waited too long.
//
// [Manager.Workspace] gives a handle that borrows a connection for one call;
// [Workspace.DB] a *sql.DB over the same connections, and [Workspace.Connector] a
// driver.Connector for one that its owner may close.
//
// Package model/core decides who gets which connection, and package actor carries that
// out. This package is the only one that knows pgx, and it does not know HTTP: it opens
// connections ([dialer]), tests them, finds out when the server has really let go of one
// ([exactConn], [closer]), and presents leases as [Conn], [Workspace] and database/sql
// connections.
//
// A dial costs no more than it must: the keys of scram-sha-256 are computed once
// ([scramLogins]), the name server is asked once a second ([addresses]), and the query that
// tests the connection also identifies its server process (backend.identify). How long a
// close takes is up to the server; most of it is the operating system cleaning up after
// the process.
//
// A connection keeps its session state (SET, temporary tables, LISTEN, advisory locks)
// between leases of its workspace: undo what you change. It never serves another
// workspace. [Manager.Query] leaves no such state behind, and undoes what it finds.
package pools
