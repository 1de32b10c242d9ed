package bench

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// findSecret finds what PgBouncer is to know the role by. With the server's own
// SCRAM secret it need not derive keys from the password at each login to the
// server, which would cost it a millisecond each. Only superusers may read it;
// the password does as well.
func (s *setting) findSecret(ctx context.Context) {
	s.secret = s.login.Password
	conn, err := pgx.Connect(ctx, s.watcher)
	if err != nil {
		return
	}
	defer hangUp(conn)
	var secret string
	err = conn.QueryRow(ctx, "SELECT rolpassword FROM pg_authid WHERE rolname = $1 AND rolpassword LIKE 'SCRAM-SHA-256$%'", s.login.User).Scan(&secret)
	if err == nil {
		s.secret = secret
	}
}
