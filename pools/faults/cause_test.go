package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// cause is what an error names as the reason, in the report's words.
type cause string

const (
	wrongAnswer  cause = "wrong answer"
	refused      cause = "connection refused"
	broken       cause = "connection lost"
	timedOut     cause = "time over"
	whileDialing cause = "time over while dialing"
	noSuchHost   cause = "no such host"
	budgetLimit  cause = "limit: budget"
	spaceLimit   cause = "limit: workspace"
	queueLimit   cause = "limit: queue"
	unnamed      cause = ""
)

// causeOf sorts an error. What the server said comes first (its SQLSTATE), then
// what the network did, then what our own limits and the time did.
func causeOf(err error) cause {
	var said *pgconn.PgError
	var limit *model.ConnectionLimitError
	var lookup *net.DNSError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case is(errWrongAnswer):
		return wrongAnswer
	case errors.As(err, &said):
		return cause(said.Code)
	case errors.As(err, &lookup):
		return noSuchHost
	case is(syscall.ECONNREFUSED):
		return refused
	case errors.As(err, &limit):
		return map[model.Limit]cause{
			model.BudgetLimit: budgetLimit, model.WorkspaceLimit: spaceLimit, model.QueueLimit: queueLimit,
		}[limit.Limit]
	case is(model.ErrDialing):
		return whileDialing
	case is(context.DeadlineExceeded, model.ErrAcquireTimeout):
		return timedOut
	case is(io.ErrUnexpectedEOF, io.EOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE),
		strings.Contains(err.Error(), "conn closed"): // pgconn's own error, which it does not export
		return broken
	}
	return unnamed
}
