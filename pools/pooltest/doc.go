// Package pooltest helps to test programs that use package pools.
//
// [Server] is a real PostgreSQL for the tests of a package, started by the first test
// that needs it, with a fresh workspace for each test. A workspace is a copy of a
// template that the program's own migrations have filled once; copies are made ahead in
// the background, so that a test has its own in a few milliseconds:
//
//	var server = pooltest.NewServer(pooltest.Config{
//		Migrate: func(ctx context.Context, w *pools.Workspace) error {
//			_, err := w.Exec(ctx, schema)
//			return err
//		},
//	})
//
//	func TestOrders(t *testing.T) {
//		t.Parallel()
//		shop := server.Workspace(t)
//		...
//	}
//
// [Fake] is for tests without a server: a real *pools.Manager that talks to a pretended
// PostgreSQL in the same process. A function of the test answers the statements, and what
// goes wrong in production is one line:
//
//	fake := pooltest.NewFake(t, func(ctx context.Context, q pooltest.Query) (*pooltest.Result, error) {
//		return pooltest.Rows("name").Row("Ada"), nil
//	})
//	shop := fake.Workspace("acme")
//	...
//	fake.SetDown(true)
//
// In a bubble of testing/synctest the manager and the pretended server live in the
// bubble's time.
//
// Both fail a test that leaves a connection lent, and say where it was acquired.
//
// The package is for tests only: it imports package testing.
package pooltest
