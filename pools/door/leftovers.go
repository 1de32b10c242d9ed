package door

import "github.com/tenantpool/tenantpool/pools/internal/reset"

// askLeftovers asks a server, outside a transaction, what there is in a session that cannot
// be carried to another one: whether it listens, and whether there is anything besides.
// What lies in the session's temporary schema is found by its dependency, for which there
// is an index. An advisory lock that is left is the session's.
const askLeftovers = `SELECT EXISTS (SELECT FROM pg_catalog.pg_listening_channels()), ` +
	`EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND refobjid = pg_catalog.pg_my_temp_schema()) ` +
	`OR EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) ` +
	`OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) ` +
	`OR current_user <> session_user ` +
	`OR session_user <> (SELECT r.rolname FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid) ` +
	`OR EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())`

// leftoversOf is the answer to askLeftovers: whether the session is to stay its client's,
// and whether it listens. An answer that is none counts as yes.
func leftoversOf(rows [][]string) (pinned, listening bool) {
	if len(rows) != 1 || len(rows[0]) != 2 {
		return true, true
	}
	listening = rows[0][0] == "t"
	return listening || rows[0][1] == "t", listening
}

// resetSession undoes what the session's client has left in it, as one simple query. It
// fails if there are statements of PREPARE: the door's names are not safe then.
var resetSession = reset.Query
