package pools_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestPagesTogetherAreAllWorkspacesInOrder(t *testing.T) {
	watch := dropLater(t, "test_ws_", "test_ws_no id", "test_ws_Z", "test_ws_template", "test_wsx")
	statements(t, watch, `CREATE DATABASE "test_ws_"`, `CREATE DATABASE "test_ws_no id"`, `CREATE DATABASE "test_ws_Z"`, `CREATE DATABASE test_wsx`,
		`CREATE DATABASE test_ws_template IS_TEMPLATE true`)
	t.Cleanup(func() { statements(t, watch, `ALTER DATABASE test_ws_template IS_TEMPLATE false`) })
	change := tableNamed(t, "listed", `workspace_id text PRIMARY KEY, database text`) // with a collation that is not the ids' order
	change(`INSERT INTO listed SELECT chr(65 + i % 58) || i, 'test_ws_w' || i % 50 FROM generate_series(0, 400) i`)
	change(`INSERT INTO listed VALUES ('gone', 'nowhere'), ('template', 'test_ws_template')`)
	for what, opts := range map[string][]pools.Option{"databases": nil, "a table": {pools.WithWorkspaceTable("listed")}} {
		m := open(t, config(20), opts...)
		all, err := m.Workspaces(t.Context())
		if err != nil || len(all) < serverWorkspaces || !slices.IsSorted(all) {
			t.Fatalf("%s: %q, %v", what, all, err)
		}
		for _, id := range []model.WorkspaceID{"", "no id", "template", "gone"} {
			if slices.Contains(all, id) {
				t.Errorf("%s: %q is listed", what, id)
			}
		}
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		for range 50 {
			some := all[random.IntN(len(all))]
			opts := model.ListOptions{Prefix: string(some[:random.IntN(len(some)+1)]), Limit: 1 + random.IntN(20)}
			var paged []model.WorkspaceID
			for {
				page, err := m.ListWorkspaces(t.Context(), opts)
				if err != nil {
					t.Fatal(err)
				}
				paged = append(paged, page...)
				if len(page) < opts.Limit {
					break
				}
				opts.After = page[len(page)-1]
			}
			want := slices.DeleteFunc(slices.Clone(all), func(id model.WorkspaceID) bool { return !strings.HasPrefix(string(id), opts.Prefix) })
			if !slices.Equal(paged, want) {
				t.Errorf("%s, seed %d, %+v: %q\nwant %q", what, seed, opts, paged, want)
			}
		}
		var ranged []model.WorkspaceID
		for id, err := range m.AllWorkspaces(t.Context(), "w1") {
			if err != nil {
				t.Fatal(err)
			}
			ranged = append(ranged, id)
		}
		page, err := m.ListWorkspaces(t.Context(), model.ListOptions{Prefix: "w1"})
		if err != nil || !slices.Equal(ranged, page) {
			t.Errorf("%s: %q, %q, %v", what, ranged, page, err)
		}
		long := strings.Repeat("w", model.MaxNameLength)
		for _, opts := range []model.ListOptions{{Prefix: long}, {After: "zzz"}, {After: "w2", Prefix: "w1"}} {
			if ids, err := m.ListWorkspaces(t.Context(), opts); err != nil || len(ids) > 0 {
				t.Errorf("%s: %+v: %q, %v", what, opts, ids, err)
			}
		}
	}
}

func TestAPageThatCannotBeIsAnError(t *testing.T) {
	m := open(t, config(20))
	for option, opts := range map[string]model.ListOptions{
		"limit": {Limit: -1}, "after": {After: "a'b"}, "prefix": {Prefix: "a%"}, "limit ": {Limit: model.ListAtMost + 1},
	} {
		var bad *model.ListError
		if _, err := m.ListWorkspaces(t.Context(), opts); !errors.As(err, &bad) || bad.Option != strings.TrimSpace(option) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	named := open(t, config(20), pools.WithResolver(func(context.Context, model.WorkspaceID) (string, error) { return "x", nil }))
	for _, err := range named.AllWorkspaces(t.Context(), "") {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
	}
}

// BenchmarkListAHundredThousand lists rows of pg_database that have no database behind them,
// and rows of a table.
func BenchmarkListAHundredThousand(b *testing.B) {
	server, err := start(20, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	cfg := configOf(server, 20)
	admin, err := pools.Open(b.Context(), cfg, pools.WithLogger(nil), pools.WithWorkspaceTable("many"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	_, err = admin.System().Exec(b.Context(), `
		CREATE TABLE many (workspace_id text COLLATE "C" PRIMARY KEY, database text NOT NULL);
		INSERT INTO many SELECT 'customer-' || i, 'test_ws_w0' FROM generate_series(1, 100000) i;
		ANALYZE many`)
	if err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("pgx", server.SuperuserDSN())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(`
		INSERT INTO pg_database SELECT (r).* FROM (
			SELECT jsonb_populate_record(d, jsonb_build_object('oid', 1000000 + i, 'datname', 'test_ws_customer-' || i)) AS r
			FROM pg_database d, generate_series(1, 100000) i WHERE datname = 'test_ws_w0') AS rows`); err != nil {
		b.Fatal(err)
	}
	if _, err := db.Exec(`VACUUM ANALYZE pg_database`); err != nil {
		b.Fatal(err)
	}
	named, err := pools.Open(b.Context(), cfg, pools.WithLogger(nil))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = named.Close(context.Background()) }()
	for what, m := range map[string]*pools.Manager{"databases": named, "table": admin} {
		for _, opts := range []model.ListOptions{{}, {After: "customer-5"}, {Prefix: "customer-9999"}, {After: "customer-99", Limit: 50}} {
			b.Run(fmt.Sprintf("%s/after=%s,prefix=%s,limit=%d", what, opts.After, opts.Prefix, opts.Limit), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if page, err := m.ListWorkspaces(b.Context(), opts); err != nil || len(page) == 0 {
						b.Fatal(page, err)
					}
				}
			})
		}
		b.Run(what+"/all", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for _, err := range m.AllWorkspaces(b.Context(), "") {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n < 100_000 {
					b.Fatal(n)
				}
			}
		})
	}
}
