package types_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/pgvector/pgvector-go"

	"github.com/tenantpool/tenantpool/docs/examples/internal/throwaway"
	"github.com/tenantpool/tenantpool/docs/examples/types"
	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestMain(m *testing.M) { throwaway.Main(m) }

// Whichever connection a request gets, and whoever had its slot before.
func TestEachConnectionKnowsItsDatabasesTypes(t *testing.T) {
	const workspaces, requests, slots = 100, 1000, 20
	ctx := context.Background()
	cfg := throwaway.Config() // of so many slots
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg, pools.WithHooks(pools.Hooks{AfterConnect: types.AfterConnect}))
	shop := func(i int) *pools.Workspace {
		return manager.Workspace(model.WorkspaceID(fmt.Sprint("shop-", i%workspaces)))
	}
	vector := vectorType(t, manager)
	inParallel(t, workspaces, 4, func(i int) error {
		err := manager.CreateWorkspace(ctx, shop(i).ID())
		if err == nil {
			_, err = shop(i).Exec(ctx, vector+types.Schema)
		}
		if err == nil {
			_, err = manager.Renew(ctx, shop(i).ID()) // this connection knows none of the types
		}
		return err
	})
	var oids [2]uint32
	for i := range oids {
		if err := shop(i).QueryRow(ctx, `SELECT 'hstore'::regtype::oid`).Scan(&oids[i]); err != nil {
			t.Fatal(err)
		}
	}
	if oids[0] == oids[1] {
		t.Fatalf("hstore is %d in both databases", oids[0])
	}
	before := dials(t, manager)
	inParallel(t, requests, 2*slots, func(i int) error {
		return request(ctx, shop(i/5), i) // which comes back when its connection is gone
	})
	if n := dials(t, manager) - before; n < workspaces {
		t.Errorf("%d dials for %d workspaces", n, workspaces)
	} else {
		t.Logf("%d requests, %d dials", requests, n)
	}
	throwaway.NothingLent(t, manager)
}

// request writes and reads a value of each type.
func request(ctx context.Context, shop *pools.Workspace, i int) error {
	comment := fmt.Sprint(shop.ID(), " ", i)
	lines := []types.Line{{Item: "tea", Size: "small", Quantity: int32(i)}, {Item: "salt", Size: "large", Quantity: 2}}
	notes := pgtype.Hstore{"comment": &comment, "none": nil}
	taste := pgvector.NewVector([]float32{float32(i), 0.5, -1})
	if _, err := shop.Exec(ctx, `INSERT INTO orders VALUES ($1, $2, $3, $4)`, i, lines, notes, taste); err != nil {
		return err
	}
	var gotLines []types.Line
	var gotNotes pgtype.Hstore
	var gotTaste pgvector.Vector
	binary := pgx.QueryResultFormats{pgtype.BinaryFormatCode} // the text of hstore can be read without its OID
	if err := shop.QueryRow(ctx, `SELECT lines, notes, taste FROM orders WHERE id = $1`, binary, i).Scan(&gotLines, &gotNotes, &gotTaste); err != nil {
		return err
	}
	equal := func(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }
	if !slices.Equal(gotLines, lines) || !maps.EqualFunc(gotNotes, notes, equal) || !slices.Equal(gotTaste.Slice(), taste.Slice()) {
		return fmt.Errorf("%v, %v and %v", gotLines, gotNotes, gotTaste)
	}
	return nil
}

// vectorType is what creates pgvector's type in a workspace. Where it is not installed
// another one stands in, which keeps what pgvector-go's codec sends, and sends it back. It
// has no operators, and its text is not pgvector's.
func vectorType(t *testing.T, manager *pools.Manager) string {
	t.Helper()
	ctx := context.Background()
	var installed bool
	if err := manager.System().QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')`).Scan(&installed); err != nil {
		t.Fatal(err)
	}
	if installed {
		return `CREATE EXTENSION vector;`
	}
	t.Log("NOT TESTED WITH PGVECTOR, which this PostgreSQL does not have: another type stands in")
	admin, err := pgx.Connect(ctx, throwaway.Server.SuperuserDSN())
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.Exec(ctx, `ALTER ROLE `+pgx.Identifier{throwaway.Server.User}.Sanitize()+` SUPERUSER`) // functions in internal are for them
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	return `
		CREATE TYPE vector;
		CREATE FUNCTION vector_in(cstring) RETURNS vector LANGUAGE internal IMMUTABLE STRICT AS 'byteain';
		CREATE FUNCTION vector_out(vector) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'byteaout';
		CREATE FUNCTION vector_recv(internal) RETURNS vector LANGUAGE internal IMMUTABLE STRICT AS 'bytearecv';
		CREATE FUNCTION vector_send(vector) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'byteasend';
		CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, RECEIVE = vector_recv, SEND = vector_send, LIKE = bytea);`
}

func dials(t *testing.T, manager *pools.Manager) int {
	t.Helper()
	stats, err := manager.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return int(stats.Workspaces.Counters.Dials)
}

// inParallel does it n times, and stops after a failure.
func inParallel(t *testing.T, n, atOnce int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n && !failed.Load(); i = int(next.Add(1)) {
				if err := do(i); err != nil {
					failed.Store(true)
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if failed.Load() {
		t.FailNow()
	}
}

// What the option knows needs no hook; a codec of an extension's own does.
func TestWithTypesKnowsThemOnEachConnection(t *testing.T) {
	ctx := context.Background()
	cfg := throwaway.Config()
	cfg.MaxConnectionsPerDB = 1
	manager := throwaway.OpenConfig(t, cfg, pools.WithTypes("order_line[]"))
	shop := throwaway.Workspace(t, manager, types.Order)
	if _, err := manager.Renew(ctx, shop.ID()); err != nil { // this connection knows none of the types
		t.Fatal(err)
	}
	for range 2 {
		lines := []types.Line{{Item: "tea", Size: "small", Quantity: 3}, {Item: "salt", Size: "large", Quantity: 2}}
		var got []types.Line
		if err := shop.QueryRow(ctx, `SELECT $1::order_line[]`, lines).Scan(&got); err != nil || !slices.Equal(got, lines) {
			t.Errorf("%v (%v)", got, err)
		}
		if closed, err := manager.Evict(ctx, shop.ID()); closed != 1 || err != nil { // and the next one is asked
			t.Errorf("%d closed (%v)", closed, err)
		}
	}
	throwaway.NothingLent(t, manager)
}
