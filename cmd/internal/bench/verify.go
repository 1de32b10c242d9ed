package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// errWrongWorkspace is what must never happen.
var errWrongWorkspace = errors.New("the connection reaches another workspace's database")

// verify asks a new connection where it leads, before anything is measured. Later
// it would favor PgBouncer, whose connections to the server cannot be told from
// each other.
func (s *setting) verify(ctx context.Context, conn *pgx.Conn, workspace int) error {
	if s.measuring.Load() {
		return nil
	}
	var database string
	err := conn.QueryRow(ctx, "SELECT current_database()", pgx.QueryExecModeSimpleProtocol).Scan(&database)
	if err != nil {
		return err
	}
	if database != s.databases[workspace] {
		return fmt.Errorf("%w: %q instead of %q", errWrongWorkspace, database, s.databases[workspace])
	}
	return nil
}
