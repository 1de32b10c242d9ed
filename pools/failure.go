package pools

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/jackc/pgerrcode"
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

// Is makes a missing database a model.ErrNoWorkspace.
func (e *dialFailure) Is(target error) bool {
	var refused *pgconn.PgError
	return target == model.ErrNoWorkspace && errors.As(e.err, &refused) && refused.Code == pgerrcode.InvalidCatalogName
}

// newDialFailure sorts a failed dial. connected tells whether there was a
// network connection: without one the server is down (or not to be found).
func newDialFailure(err error, connected bool) *dialFailure {
	if hook, ok := errors.AsType[*hookError](err); ok {
		return hook.failure()
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return newRefusal(refused)
	}
	f := &dialFailure{kind: model.Transient, err: briefly(err)}
	var lookup *net.DNSError
	var withoutCredentials *credentialsError
	tunnel := errors.As(err, new(tunnelError))
	kind, isUnfit := unfit(err)
	switch {
	case errors.As(err, &withoutCredentials): // the server was not asked
	case isUnfit:
		f.kind, f.remedy = kind, "no server of DB_HOST is what DB_TARGET_SESSION_ATTRS asks for: wait for one, or check both"
	case errors.As(err, &lookup):
		f.kind, f.remedy = model.ServerDown, "check DB_HOST"
	case tunnel: // it may pass: certificates are renewed
		f.remedy = "check the TLS of BeforeConnect's DialFunc, and what it leads to"
	case !connected, isAny(err, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH):
		f.kind, f.remedy = model.ServerDown, "check that the server runs at DB_HOST and DB_PORT"
	default:
		if remedy := tlsRemedy(err); remedy != "" {
			f.kind, f.remedy = model.Permanent, remedy
		}
	}
	return f
}

// maybeOutdated is for credentials that are asked for at each dial: the next answer may
// be one that the server takes.
func (e *dialFailure) maybeOutdated() {
	var refused *pgconn.PgError
	if errors.As(e.err, &refused) && strings.HasPrefix(refused.Code, "28") {
		e.kind = model.Transient
		e.remedy = "the next dial asks for credentials again: check what WithCredentials or DB_PASSWORD_FILE gives, and the server's pg_hba.conf"
	}
}

// newRefusal sorts what the server said instead of a welcome.
func newRefusal(said *pgconn.PgError) *dialFailure {
	for _, r := range refusals {
		if strings.HasPrefix(said.Code, r.code) && (r.routine == "" || r.routine == said.Routine) {
			return &dialFailure{r.kind, r.remedy, said}
		}
	}
	return &dialFailure{model.Transient, "", said}
}

// refusals is every way in which PostgreSQL 9.6 to 18 turns a client away before its
// first query. The first row that fits counts; what fits none is transient. Codes are
// SQLSTATEs or their classes, routines the functions of the server's source that tell
// apart what has one code.
//
//   - Permanent: nothing changes until somebody does something, so waiters are told
//     at once.
//   - ServerDown: no database can be dialed.
//   - ServerFull: no database can have another connection.
//   - Transient: it may pass, and concerns one database, or nobody knows.
var refusals = []struct {
	code, routine string
	kind          model.FailureKind
	remedy        string
}{
	// The database. 57P04 is a standby's word for one that is being dropped.
	{pgerrcode.InvalidCatalogName, "", model.Permanent, "create the database first"},
	{pgerrcode.DatabaseDropped, "", model.Permanent, "the database was dropped: create it again"},
	{pgerrcode.ObjectNotInPrerequisiteState, "", model.Permanent, "ALTER DATABASE ... ALLOW_CONNECTIONS true; one whose DROP was interrupted can only be dropped and created again"},
	{pgerrcode.TooManyConnections, checkMyDatabase, model.Transient, "raise the database's CONNECTION LIMIT"},
	{pgerrcode.InternalError, checkMyDatabase, model.Permanent, "install the database's locale on the server, or create the database again with another"},
	{pgerrcode.DataCorrupted, "", model.Permanent, "restore the database: its files are damaged"},
	{pgerrcode.IndexCorrupted, "", model.Permanent, "rebuild or restore the database: an index is damaged"},
	{pgerrcode.UndefinedFile, "", model.Permanent, "the server misses a file, of the database or of a library in session_preload_libraries: look at its log"},

	// The role and its rights. Binary upgrades, and shutdowns up to version 13, let in
	// superusers only.
	{"28", "", model.Permanent, "check DB_USER, DB_PASSWORD and the server's pg_hba.conf"},
	{pgerrcode.InsufficientPrivilege, "InitPostgres", model.ServerDown, "wait until the server is up"},
	{pgerrcode.InsufficientPrivilege, "call_string_check_hook", model.Permanent, "GRANT the role of the workspace's settings to DB_USER"},
	{pgerrcode.InsufficientPrivilege, "", model.Permanent, "GRANT CONNECT on the database to the role"},

	// Settings: of the start-up message, of ALTER ROLE or ALTER DATABASE ... SET, and
	// the version of the protocol. 22023 is also said of files of another version.
	{pgerrcode.FeatureNotSupported, "", model.Permanent, "check which server answers at DB_HOST and DB_PORT, and its version"},
	{"22", "", model.Permanent, wrongSetting},
	{pgerrcode.SyntaxError, "", model.Permanent, wrongSetting},
	{pgerrcode.UndefinedObject, "", model.Permanent, wrongSetting},
	{pgerrcode.CantChangeRuntimeParam, "", model.Permanent, wrongSetting},
	{pgerrcode.ConfigFileError, "", model.Permanent, "mend the server's configuration files: look at its log"},

	// The server. A role's connection limit concerns all databases, like the server's.
	{pgerrcode.TooManyConnections, "", model.ServerFull, "lower DB_MAX_CONNECTIONS, or raise the server's max_connections or the role's connection limit"},
	{"53", "", model.Transient, "the server lacks memory, disk or open files: look at its log"},
	{pgerrcode.AdminShutdown, "", model.ServerDown, "wait until the server is up"},
	{pgerrcode.CrashShutdown, "", model.ServerDown, "wait until the server is up"},
	{pgerrcode.CannotConnectNow, "", model.ServerDown, "wait until the server is up"},
	{pgerrcode.QueryCanceled, "", model.Transient, "the login took longer than the server's authentication_timeout or statement_timeout"},
	{"58", "", model.Transient, "the server's disk or system fails: look at its log"},
	// PostgreSQL says this of messages that make no sense, some poolers of everything.
	{pgerrcode.ProtocolViolation, "", model.Transient, "look at the log of what answers at DB_HOST and DB_PORT"},
}

const wrongSetting = "check the workspace's settings, those of ALTER ROLE and ALTER DATABASE ... SET, and which server answers at DB_HOST and DB_PORT"

// checkMyDatabase is the routine that looks at the database's row in pg_database.
const checkMyDatabase = "CheckMyDatabase"

// tlsRemedy tells what to do when TLS failed for a reason that stays; "" for others.
func tlsRemedy(err error) string {
	var (
		authority x509.UnknownAuthorityError
		roots     x509.SystemRootsError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		unfit     *tls.CertificateVerificationError
		noTLS     tls.RecordHeaderError
		network   *net.OpError
	)
	switch {
	case errors.As(err, &authority), errors.As(err, &roots):
		return "set PGSSLROOTCERT to the certificate of the authority that signed the server's, or a weaker DB_SSLMODE"
	case errors.As(err, &host):
		return "set DB_HOST to a name that is in the server's certificate, or DB_SSLMODE to verify-ca"
	case errors.As(err, &invalid), errors.As(err, &unfit):
		return "renew the server's certificate, or set a weaker DB_SSLMODE"
	case errors.As(err, &network) && network.Op == "remote error": // a TLS alert
		return "check PGSSLCERT and PGSSLKEY, and the versions of TLS that the server takes"
	case errors.As(err, &noTLS), strings.Contains(lastAttempt(err).Error(), "server refused TLS connection"):
		return "set ssl = on at the server, or DB_SSLMODE to disable"
	}
	return ""
}

// lastAttempt is the error of the last attempt: with sslmode=prefer the one without
// TLS, after which it says nothing that the server refused TLS.
func lastAttempt(err error) error {
	var connecting *pgconn.ConnectError
	if errors.As(err, &connecting) {
		if all, ok := connecting.Unwrap().(interface{ Unwrap() []error }); ok {
			if attempts := all.Unwrap(); len(attempts) > 0 {
				return attempts[len(attempts)-1]
			}
		}
	}
	return err
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
