package pools

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// dialFailure is why a dial failed, in words that hold no password and no DSN, and
// nothing that moves a terminal's cursor: whoever answers may not be the server.
type dialFailure struct {
	kind   model.FailureKind
	remedy string
	err    error
}

func (e *dialFailure) Error() string {
	said := printable(e.err.Error())
	if e.remedy == "" {
		return said
	}
	return said + "; " + e.remedy
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func (e *dialFailure) Unwrap() error { return e.err }

// FailureKind tells the supervisor what follows from the failure.
func (e *dialFailure) FailureKind() model.FailureKind { return e.kind }

// newDialFailure sorts a failed dial. connected tells whether there was a
// network connection: without one the server is down (or not to be found).
func newDialFailure(err error, database string, connected bool) *dialFailure {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		kind, remedy := sqlFailure(refused, database)
		return &dialFailure{kind, remedy, refused}
	}
	f := &dialFailure{kind: model.Transient, err: briefly(err)}
	var lookup *net.DNSError
	switch {
	case errors.As(err, &lookup):
		f.kind, f.remedy = model.ServerDown, "check DB_HOST"
	case !connected, isAny(err, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH):
		f.kind, f.remedy = model.ServerDown, "check that the server runs at DB_HOST and DB_PORT"
	}
	return f
}

// sqlFailure sorts what the server said; the codes are in PostgreSQL's manual,
// appendix A.
func sqlFailure(e *pgconn.PgError, database string) (kind model.FailureKind, remedy string) {
	switch {
	case e.Code == "3D000":
		return model.Permanent, fmt.Sprintf("create the database %q first", database)
	case strings.HasPrefix(e.Code, "28"):
		return model.Permanent, "check DB_USER, DB_PASSWORD and the server's pg_hba.conf"
	case e.Code == "42501":
		return model.Permanent, fmt.Sprintf("GRANT CONNECT on the database %q to the role", database)
	case e.Code == "53300" && e.Routine == "CheckMyDatabase":
		// ALTER DATABASE ... CONNECTION LIMIT: other databases are not concerned.
		return model.Transient, fmt.Sprintf("raise the connection limit of the database %q", database)
	case e.Code == "53300":
		return model.ServerFull, "lower DB_MAX_CONNECTIONS, or raise the server's max_connections or the role's connection limit"
	case e.Code == "57P01", e.Code == "57P02", e.Code == "57P03":
		return model.ServerDown, "wait until the server is up"
	}
	return model.Transient, ""
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// briefly drops pgx's preamble with the connection's parameters, its line breaks,
// and what it says once for each attempt (with and without TLS), and keeps the error
// for errors.Is and errors.As.
func briefly(err error) error {
	var connecting *pgconn.ConnectError
	if errors.As(err, &connecting) {
		err = connecting.Unwrap()
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return &brief{strings.Join(lines, "; "), err}
}

type brief struct {
	text string
	err  error
}

func (e *brief) Error() string { return e.text }
func (e *brief) Unwrap() error { return e.err }
