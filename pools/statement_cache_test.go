package pools_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestAConnectionKeepsFewPreparedStatementsUnlessItIsToldOtherwise(t *testing.T) {
	const said = "statement_cache_capacity=9"
	ofHook := pools.WithHooks(pools.Hooks{BeforeConnect: func(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
		config.StatementCacheCapacity = 7
		return nil
	}})
	for _, test := range []struct {
		parameters string
		opts       []pools.Option
		want       int
	}{
		{"", nil, 64},
		{said, nil, 9},
		{said, []pools.Option{ofHook}, 7},
		{"default_query_exec_mode=exec", nil, 0},
	} {
		cfg := config(20)
		cfg.Parameters = test.parameters
		w := open(t, cfg, test.opts...).Workspace("w0")
		for i := range 80 {
			if _, err := w.Exec(t.Context(), fmt.Sprintf(`SELECT %d + $1::int`, i), i); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		if err := w.QueryRow(t.Context(), `SELECT count(*) FROM pg_prepared_statements`, pgx.QueryExecModeExec).Scan(&n); err != nil || n != test.want {
			t.Errorf("%q: the server has %d prepared statements, not %d (%v)", test.parameters, n, test.want, err)
		}
	}
}
