package pools

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// checkInterval is the server's setting after which a backend that runs a statement
// looks whether its client is still there. Without it, one of a client that was killed
// runs on until it writes. It exists from PostgreSQL 14 on, and not on every system.
const (
	checkInterval      = "client_connection_check_interval"
	checkIntervalValue = "2s"
)

// learnCheckInterval finds out whether the server takes the setting, and has the
// connections that are opened from now on begin with it. A value that somebody has set
// for the server, the role or the system database stays.
func (m *Manager) learnCheckInterval(ctx context.Context, conn *Conn) error {
	var set *string
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting($1, true)`, checkInterval).Scan(&set); err != nil {
		return err
	}
	if set == nil || *set != "0" {
		return nil
	}
	var refused *pgconn.PgError
	_, err := conn.Exec(ctx, `SET `+checkInterval+` = '`+checkIntervalValue+`'`)
	switch {
	case errors.As(err, &refused) && !endsSession(refused): // the system cannot
		return nil
	case err != nil:
		return err
	}
	for i := range m.configs {
		m.configs[i].change(func(c *pgx.ConnConfig) { c.RuntimeParams[checkInterval] = checkIntervalValue })
	}
	return nil
}

// forgetCheckInterval is for a login that was refused for the setting's sake: by another
// server than the one that was asked, or by a pooler before it.
func (d *dialer) forgetCheckInterval(err error) (forgot bool) {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, checkInterval) {
		return false
	}
	d.config.change(func(c *pgx.ConnConfig) { delete(c.RuntimeParams, checkInterval) })
	return true
}
