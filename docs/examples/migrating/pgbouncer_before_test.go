package migrating_test

import (
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"
)

// BouncedShop has a pool of connections to PgBouncer for each tenant.
func BouncedShop(pgBouncer string) *PoolShop {
	return &PoolShop{
		connString: func(tenant string) string {
			return fmt.Sprintf("postgres://shop@%s/shop_%s?default_query_exec_mode=exec", pgBouncer, url.PathEscape(tenant))
		},
		pools: map[string]*pgxpool.Pool{},
	}
}
