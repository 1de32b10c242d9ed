package door

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
)

// errServerProtocol and errClientProtocol: what came is no message.
var (
	errServerProtocol = errors.New("the server sent what is no message of PostgreSQL's protocol")
	errClientProtocol = errors.New("the client sent what is no message of PostgreSQL's protocol")
)

// refusal is an error of the door's own. The session goes on.
func refusal(code, message, hint string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message, Hint: hint}
}

// fatal is an error after which the door ends the session.
func fatal(code, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message}
}

// acquireRefusal is what a client is told whose acquire failed.
func acquireRefusal(err error) *pgproto3.ErrorResponse {
	var limit *model.ConnectionLimitError
	var server *pgconn.PgError
	code := pgerrcode.ConnectionFailure
	switch {
	case errors.As(err, &limit):
		code = pgerrcode.TooManyConnections
	case errors.Is(err, model.ErrClosed):
		return fatal(pgerrcode.AdminShutdown, "the pool is shutting down; connect again")
	case errors.Is(err, model.ErrPaused), errors.Is(err, model.ErrDialing):
		code = pgerrcode.CannotConnectNow
	case errors.Is(err, model.ErrNoWorkspace):
		code = pgerrcode.InvalidCatalogName
	case errors.As(err, &server):
		code = server.Code
	case errors.Is(err, context.Canceled):
		code = pgerrcode.QueryCanceled
	}
	return refusal(code, err.Error(), "")
}

// unknownStatement is what PostgreSQL says of a statement that there is not.
func unknownStatement(name []byte) *pgproto3.ErrorResponse {
	if len(name) == 0 {
		return refusal(pgerrcode.InvalidSQLStatementName, "unnamed prepared statement does not exist", "")
	}
	return refusal(pgerrcode.InvalidSQLStatementName, fmt.Sprintf("prepared statement %q does not exist", name), "")
}
