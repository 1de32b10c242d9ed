package pools

import (
	"context"

	"github.com/sirupsen/logrus"
)

// grants is what the server lets our role open.
type grants struct {
	maxConnections, superuserReserved, reserved int
	superuser, mayUseReserved                   bool
	roleLimit                                   int // -1: none
}

// available is how many connections our role can have if nobody else has any.
func (g grants) available() int {
	n := g.maxConnections
	if !g.superuser {
		n -= g.superuserReserved
		if !g.mayUseReserved {
			n -= g.reserved
		}
		if g.roleLimit >= 0 {
			n = min(n, g.roleLimit)
		}
	}
	return n
}

// askGrants reads the settings; reserved_connections and the role that may use
// them exist from PostgreSQL 16 on.
const askGrants = `
SELECT pg_catalog.current_setting('max_connections')::int,
       pg_catalog.current_setting('superuser_reserved_connections')::int,
       coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::int,
       rolsuper,
       EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = 'pg_use_reserved_connections'
               AND pg_catalog.pg_has_role(session_user, r.oid, 'USAGE')),
       rolconnlimit
FROM pg_catalog.pg_roles WHERE rolname = session_user`

// checkServer asks the server what it grants, and warns when that is less than
// maxConnections.
func (m *Manager) checkServer(ctx context.Context, maxConnections int) error {
	conn, err := m.acquireOwn(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var g grants
	err = conn.QueryRow(ctx, askGrants).Scan(
		&g.maxConnections, &g.superuserReserved, &g.reserved, &g.superuser, &g.mayUseReserved, &g.roleLimit)
	if err != nil {
		return err
	}
	if maxConnections > g.available() {
		m.log.WithFields(logrus.Fields{
			"max_connections":                maxConnections,
			"available":                      g.available(),
			"server_max_connections":         g.maxConnections,
			"superuser_reserved_connections": g.superuserReserved,
			"reserved_connections":           g.reserved,
			"role_connection_limit":          g.roleLimit,
		}).Warn("DB_MAX_CONNECTIONS is more than the server grants this role: " +
			"lower it, or raise max_connections or the role's connection limit")
	}
	return nil
}
