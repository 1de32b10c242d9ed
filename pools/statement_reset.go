package pools

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// resetSession is DISCARD ALL without DISCARD PLANS and DEALLOCATE ALL, which would
// take away the statements that pgx has prepared for the connection's other users.
// Instead it fails if there are any that SQL prepared: a function or a trigger may do
// so under the name of one of pgx's, which would then run another's SQL.
var resetSession = []string{
	`SET SESSION AUTHORIZATION DEFAULT`, `RESET ROLE`, `RESET ALL`, `CLOSE ALL`, `UNLISTEN *`,
	`SELECT pg_catalog.pg_advisory_unlock_all()`,
	`SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) ` +
		`THEN 'this session has statements of PREPARE, and is not used again' END::pg_catalog.int4`,
	`DISCARD TEMP`, `DISCARD SEQUENCES`,
}

var (
	// resetFirst is one transaction, whatever modes the session left to it by default:
	// a deferrable one, for example, would wait for others.
	resetFirst = slices.Concat(
		[]string{`BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE`}, resetSession, []string{`COMMIT`})
	resetAfterwards = strings.Join(resetSession, "; ")
)

// spoilers are the commands that may change the prepared statements, or what else
// cannot be undone. A DO block or a procedure may contain any of them.
var spoilers = []string{"PREPARE", "DEALLOCATE", "DISCARD", "LOAD", "DO", "CALL"}

// resetAnswer takes a message of the second half. A session that was not reset is
// not used again.
func (s *statement) resetAnswer(message pgproto3.BackendMessage) error {
	switch m := message.(type) {
	case *pgproto3.ErrorResponse:
		return pgconn.ErrorResponseToPgError(m)
	case *pgproto3.NotificationResponse:
		return s.notified(m)
	}
	return nil
}

// notifiedAtMost bounds what a statement may notify its own session of: pgx keeps
// notifications for who waits for them, and nobody does.
const notifiedAtMost = 1 << 20

var (
	errNotified   = errors.New("the statement notified its own session of more than a mebibyte")
	errForeignRow = errors.New("the server sent a row that has not the columns it announced: check that DB_HOST and DB_PORT are those of a PostgreSQL")
)

// notified ends the session, and frees what pgx has kept, when there is too much of
// it. Before the statement was carried out they are none of its own: they were
// sent to the connection's other users.
func (s *statement) notified(m *pgproto3.NotificationResponse) error {
	const each = 64 // about what pgx needs beside the text
	s.spoiled = true
	s.told += len(m.Channel) + len(m.Payload) + each
	if s.completed && s.told > notifiedAtMost {
		return errNotified
	}
	return nil
}
