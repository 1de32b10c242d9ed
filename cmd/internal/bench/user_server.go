package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/tenantpool/tenantpool/model"
)

// useServer makes the user's server the stage. It must have room for the budget:
// otherwise all strategies would be refused, and the figures mean nothing.
func (s *setting) useServer(ctx context.Context, dsn string) error {
	login, err := pgx.ParseConfig(dsn)
	if err != nil { // the cause would show the DSN
		return errors.New("--dsn is not understood: it must be like postgres://user@host:5432/database or host=... user=... dbname=...; PGPASSWORD or a password file may hold the password")
	}
	s.login, s.watcher = login, dsn
	s.config = model.DefaultConfig()
	s.config.SSLMode = sslMode(dsn)

	conn, err := pgx.ConnectConfig(ctx, login)
	if err != nil {
		return fmt.Errorf("--dsn: %w", err) // pgx leaves out the password
	}
	defer hangUp(conn)
	var granted int
	var mayCreate bool
	const ask = `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = session_user`
	if err := conn.QueryRow(ctx, ask).Scan(&granted, &mayCreate); err != nil {
		return fmt.Errorf("--dsn: ask the server what it grants: %w", err)
	}
	switch {
	case !mayCreate:
		return fmt.Errorf("--dsn: the role %q may not create databases: grant it CREATEDB, or use another role", login.User)
	case granted < s.options.Budget+watchers:
		return fmt.Errorf("--dsn: the server grants %d connections, which is less than the --budget of %d and one to watch it: lower --budget, or raise max_connections",
			granted, s.options.Budget)
	}
	return nil
}

var sslModeSetting = regexp.MustCompile(`\bsslmode\s*=\s*'?([a-z-]+)`)

// sslMode is what pgx does not tell of a DSN that it has read.
func sslMode(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.Query().Get("sslmode") != "" {
		return u.Query().Get("sslmode")
	}
	if found := sslModeSetting.FindStringSubmatch(dsn); found != nil {
		return found[1]
	}
	if mode := os.Getenv("PGSSLMODE"); mode != "" {
		return mode
	}
	return model.DefaultConfig().SSLMode
}
