package pools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// grants is what the server lets our role open.
type grants struct {
	maxConnections, superuserReserved, reserved int
	superuser, mayUseReserved                   bool
	roleLimit                                   int // -1: none
	// sessions is how many connections there are, and ofRole how many of them our role has.
	sessions, ofRole int
}

// available is how many connections our role can have if nobody else has any.
func (g grants) available() int { return g.beside(0, 0) }

// beside is how many they can be besides others' connections, of which ofRole are of our role.
func (g grants) beside(others, ofRole int) int {
	n := g.maxConnections - others
	if !g.superuser {
		n -= g.superuserReserved
		if !g.mayUseReserved {
			n -= g.reserved
		}
		if g.roleLimit >= 0 {
			n = min(n, g.roleLimit-ofRole)
		}
	}
	return n
}

// askGrants reads the settings; reserved_connections and the role that may use
// them exist from PostgreSQL 16 on. Everybody may see how many sessions there are, and whose.
const askGrants = `
SELECT pg_catalog.current_setting('max_connections')::int,
       pg_catalog.current_setting('superuser_reserved_connections')::int,
       coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::int,
       r.rolsuper,
       EXISTS (SELECT FROM pg_catalog.pg_roles u WHERE u.rolname = 'pg_use_reserved_connections'
               AND pg_catalog.pg_has_role(session_user, u.oid, 'USAGE')),
       r.rolconnlimit,
       a.sessions, a.of_role
FROM pg_catalog.pg_roles r,
     LATERAL (SELECT count(*)::int AS sessions, (count(*) FILTER (WHERE usesysid = r.oid))::int AS of_role
              FROM pg_catalog.pg_stat_activity
              WHERE datid IS NOT NULL AND usesysid IS NOT NULL AND backend_type IS DISTINCT FROM 'parallel worker') a
WHERE r.rolname = session_user`

func (m *Manager) askGrants(ctx context.Context, conn *Conn) (g grants, err error) {
	err = conn.QueryRow(ctx, askGrants).Scan(
		&g.maxConnections, &g.superuserReserved, &g.reserved, &g.superuser, &g.mayUseReserved, &g.roleLimit, &g.sessions, &g.ofRole)
	return g, err
}

// grantable is how many slots the server could grant the workspaces now, or the group of a
// shared budget, besides what others have.
func (m *Manager) grantable(ctx context.Context) (int, error) {
	conn, err := m.acquireOwn(ctx)
	if err != nil {
		return 0, err
	}
	g, err := m.askGrants(ctx, conn)
	conn.Release()
	if err != nil {
		return 0, err
	}
	if m.shared != nil { // strangers of the same role are counted in the group
		return max(0, g.beside(g.sessions-g.ofRole, 0)), nil
	}
	st, err := m.supervisor.Stats(ctx)
	if err != nil {
		return 0, err
	}
	ours := st.Shares[workspaceShare].Open() + st.Shares[systemShare].Open()
	return max(0, g.beside(max(0, g.sessions-ours), max(0, g.ofRole-ours))-st.Shares[systemShare].Budget), nil
}

// meetServer is the first thing that is asked of the server: nothing is lent before. It
// blocks as Acquire does, and its questions do not prolong that.
func (m *Manager) meetServer(ctx context.Context) error {
	if err := m.takeTurn(ctx); err != nil {
		return err
	}
	defer m.endTurn()
	if within(m.answered, 0) {
		return nil // by somebody else
	}
	atMost := cmp.Or(m.config.AcquireTimeout, m.config.DialTimeout)
	deadline := time.Now().Add(atMost)
	if err := m.shared.join(ctx, deadline); err != nil {
		return err
	}
	conn, err := m.acquireOwn(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	asking, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	_, err = m.checkServer(asking, conn, m.shared.budget(m.config.MaxConnections))
	if err == nil {
		err = m.learnCheckInterval(asking, conn)
	}
	if err == nil && m.shared == nil { // the group counts what is left of others
		err = m.holdLeftovers(asking, conn)
	}
	if err == nil && m.settingsTable != nil {
		conn.Release() // there may be only this one
		err = m.settingsTable.read(asking)
	}
	switch {
	case err == nil:
		close(m.answered)
	case ctx.Err() == nil && asking.Err() != nil:
		err = fmt.Errorf("the server took the login, and then did not answer within %v: %w", atMost, err)
	}
	return err
}

// takeTurn waits until nobody else meets the server or changes the credentials.
func (m *Manager) takeTurn(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("another request is asking the server already: %w", ctx.Err())
	}
}

func (m *Manager) endTurn() { <-m.turn }

// checkServer asks the server what it grants our role, and warns when that is less than
// maxConnections.
func (m *Manager) checkServer(ctx context.Context, conn *Conn, maxConnections int) (granted int, err error) {
	g, err := m.askGrants(ctx, conn)
	if err != nil {
		return 0, err
	}
	if maxConnections > g.available() {
		m.log.Warn("DB_MAX_CONNECTIONS is more than the server grants this role: "+
			"lower it, or raise max_connections or the role's connection limit",
			"max_connections", maxConnections,
			"available", g.available(),
			"server_max_connections", g.maxConnections,
			"superuser_reserved_connections", g.superuserReserved,
			"reserved_connections", g.reserved,
			"role_connection_limit", g.roleLimit,
		)
	}
	return g.available(), nil
}

// met refuses who comes before the server has been met.
func (m *Manager) met(id model.WorkspaceID) error {
	if within(m.answered, 0) {
		return nil
	}
	return &model.DialError{WorkspaceID: id, Kind: model.ServerDown, Err: errNoAnswer}
}

// errNoAnswer: nothing is known yet of a server that may be late.
var errNoAnswer = errors.New("the server has not answered since the program started; waiting for it")

// WaitForServer blocks until the server has answered what it grants, and then does
// nothing. It is for a Manager that was opened WithLateServer; one that the server
// refuses for good, as with a wrong password, is not waited for.
//
// The error wraps a *model.DialError, model.ErrClosed, or ctx.Err() together with the
// last of what went wrong.
func (m *Manager) WaitForServer(ctx context.Context) error {
	told := false
	var last error
	for !within(m.answered, 0) {
		if last != nil && ctx.Err() != nil {
			return fmt.Errorf("wait for the server: %w: %w", ctx.Err(), last)
		}
		err := m.meetServer(ctx)
		if err == nil {
			break
		}
		var dial *model.DialError
		var refused *model.SQLError
		switch {
		case errors.As(err, &refused) && strings.HasPrefix(refused.Code, "42"): // there is no such table of settings, or no right to read it
			return fmt.Errorf("wait for the server: %w", err)
		case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
			fallthrough
		case ctx.Err() != nil, errors.Is(err, model.ErrClosed), errors.As(err, &dial) && dial.Kind == model.Permanent:
			return fmt.Errorf("wait for the server: %w", err)
		}
		if !told {
			told = true
			m.log.Warn("Waiting for the server", "error", err.Error())
		}
		last = err
		select { // it has not always waited
		case <-time.After(askAgain):
		case <-ctx.Done():
		}
	}
	return nil
}

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
