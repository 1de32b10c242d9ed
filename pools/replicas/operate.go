package replicas

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What a person's tool asks and changes, through a connection that is no replica's.

// Groups are the names of the groups that there are.
func (s *Store) Groups(ctx context.Context) ([]string, error) {
	rows, err := s.Conn.Query(ctx, `SELECT name FROM tenantpool_groups ORDER BY name`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Role is what the server says of the role that the group's replicas log in as.
type Role struct {
	Name string
	// Limit is its CONNECTION LIMIT; -1: it has none. None holds for a superuser.
	Limit     int
	Superuser bool
	// Usable is how many connections the server has for those who are no superusers, of
	// whatever role.
	Usable int
	// Others are further roles that have replicas in the group.
	Others []string
}

// Role asks the server.
func (s *Store) Role(ctx context.Context) (r Role, err error) {
	err = s.Conn.QueryRow(ctx, `
SELECT rolname, rolconnlimit, rolsuper,
	current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
		- coalesce(current_setting('reserved_connections', true)::int, 0),
	ARRAY(SELECT DISTINCT a.usename::text
		FROM tenantpool_replicas r JOIN pg_catalog.pg_stat_activity a ON a.pid = r.pid
		WHERE r."group" = $1 AND a.usename <> coalesce(nullif($2, ''), session_user) AND a.application_name = r.control
		ORDER BY 1)
FROM pg_catalog.pg_roles WHERE rolname = coalesce(nullif($2, ''), session_user)`, s.Group, s.RoleName).Scan(&r.Name, &r.Limit, &r.Superuser, &r.Usable, &r.Others)
	return r, err
}

// MayOperate tells whether the session may read the tables and change the budget.
func (s *Store) MayOperate(ctx context.Context) (may bool, err error) {
	err = s.Conn.QueryRow(ctx, `SELECT has_table_privilege('tenantpool_groups', 'SELECT') AND has_table_privilege('tenantpool_groups', 'UPDATE')
	AND has_table_privilege('tenantpool_replicas', 'SELECT')`).Scan(&may)
	return may, err
}

// Stranger is some connections of the role that no replica owns.
type Stranger struct {
	ApplicationName string
	Connections     int
}

// Strangers tells who they are. A replica's connection that was renamed is among them.
func (s *Store) Strangers(ctx context.Context) ([]Stranger, error) {
	rows, err := s.Conn.Query(ctx, `
SELECT a.application_name, count(*)
FROM pg_catalog.pg_stat_activity a
WHERE a.usename = coalesce(nullif($3, ''), session_user) AND coalesce(a.backend_type, 'client backend') = 'client backend' AND NOT ($2 AND a.application_name = current_setting('application_name'))
	AND NOT EXISTS (SELECT FROM tenantpool_replicas r
		WHERE r."group" = $1 AND (r.application_name = a.application_name OR r.pid = a.pid AND r.control = a.application_name))
GROUP BY 1 ORDER BY 2 DESC, 1`, s.Group, s.Guest, s.RoleName)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Stranger])
}

// SchemaFor is the Schema for a role that may not create tables, and what it needs of them.
func SchemaFor(role string) string {
	return fmt.Sprintf("%s;\nGRANT SELECT, INSERT, UPDATE, DELETE ON tenantpool_groups, tenantpool_replicas TO %s;\n", Schema[1:], quoted(role))
}

// FenceFor is the statement that sets the role's CONNECTION LIMIT.
func FenceFor(role string, limit int) string {
	return fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d", quoted(role), limit)
}

func quoted(role string) string { return pgx.Identifier{role}.Sanitize() }

// SetFence runs that statement on a connection of a role that may.
func SetFence(ctx context.Context, conn *pgx.Conn, role string, limit int) error {
	_, err := conn.Exec(ctx, FenceFor(role, limit))
	return err
}
