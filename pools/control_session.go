package pools

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/pools/replicas"
)

// controlSettings are the control session's, whatever those of the role and the database
// are. A decision must not be lost in a crash of the server; it finds out itself whether
// somebody else has decided meanwhile.
const controlSettings = `
SELECT pg_catalog.set_config(name, value, false)
FROM (VALUES ('lock_timeout', '1s'), ('statement_timeout', '2s'), ('idle_session_timeout', '0'),
	('default_transaction_read_only', 'off'), ('default_transaction_isolation', 'read committed'), ('synchronous_commit', 'local')) AS v (name, value)
WHERE EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE s.name = v.name AND (s.name <> 'synchronous_commit' OR s.setting = 'off'))`

// connect opens the control session: directly, with short keep-alives, and statements that
// cannot hang.
func (b *sharedBudget) connect(ctx context.Context) (*pgx.Conn, error) {
	config := b.m.configs[systemShare].Load().Copy()
	if _, err := b.m.provider.logIn(ctx, config); err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = replicas.ControlName + b.m.identity.run
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		failure := newDialFailure(err, true)
		if b.m.provider != nil {
			failure.maybeOutdated()
		}
		return nil, failure
	}
	_, err = conn.Exec(ctx, controlSettings)
	var started time.Time
	if err == nil {
		started, err = whose(ctx, conn)
	}
	if err == nil {
		b.started.Store(&started)
		err = makeTables(ctx, conn)
	}
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// makeTables makes those that are not there. Two who do so at once may both find them
// missing.
func makeTables(ctx context.Context, conn *pgx.Conn) error {
	var err error
	for range 3 {
		var there bool
		if err = conn.QueryRow(ctx, `SELECT to_regclass('tenantpool_groups') IS NOT NULL AND to_regclass('tenantpool_replicas') IS NOT NULL`).Scan(&there); err == nil && there {
			_, err = conn.Exec(ctx, `DELETE FROM tenantpool_replicas WHERE false`) // the right that is needed last
		}
		if err != nil || there {
			return err
		}
		if _, err = conn.Exec(ctx, replicas.Schema); err == nil {
			return nil
		}
	}
	return fmt.Errorf("make the tables of shared budgets: %w", err)
}

// keepAlive has the server find out soon that a process or its machine is gone.
func keepAlive(config *pgx.ConnConfig) {
	for name, value := range map[string]string{
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "10000",
	} {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
}

var (
	errPooler      = errors.New("there is a pooler between this process and the server, and a shared budget needs sessions of its own: connect directly")
	errOtherServer = errors.New("this is not the server of the control session, or it has started again since: with a shared budget all connections must be to one server")
)

// whose says when the server started, which tells it from others, unless a pooler is between.
func whose(ctx context.Context, conn *pgx.Conn) (started time.Time, err error) {
	var pid uint32
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time()`, pgx.QueryExecModeExec).Scan(&pid, &started); err != nil {
		return time.Time{}, err
	}
	if pid != conn.PgConn().PID() {
		return time.Time{}, errPooler
	}
	return started, nil
}
