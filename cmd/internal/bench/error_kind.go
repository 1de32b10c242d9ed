package bench

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// What an error that has no SQLSTATE is called in the report.
const (
	wrongWorkspace = "wrong_workspace"
	limitReached   = "limit"
	timedOut       = "timeout"
	poolClosed     = "pool_closed"
	otherFailure   = "other"
)

// serverFull is the SQLSTATE of a login for which the server has no room.
const serverFull = "53300"

// kindOf sorts a request's error. What the server said comes before what the
// pool made of it.
func kindOf(err error) string {
	var server *pgconn.PgError
	var limit *model.ConnectionLimitError
	switch {
	case errors.Is(err, errWrongWorkspace):
		return wrongWorkspace
	case errors.As(err, &server):
		return server.Code
	case errors.As(err, &limit):
		return limitReached
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, model.ErrAcquireTimeout):
		return timedOut
	case err.Error() == "sql: database is closed": // database/sql does not export it
		return poolClosed
	}
	return otherFailure
}
