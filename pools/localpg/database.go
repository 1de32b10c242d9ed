package localpg

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// application is the login role, and the name of its system database.
const application = "tenantpool"

// maxName is PostgreSQL's limit (NAMEDATALEN-1). It cuts longer names and only
// gives a notice.
const maxName = 63

// dsn is a keyword connection string. Its parts need no quoting: they are
// constants and passwords of newPassword. It names every setting that PGSSLMODE
// and other variables would decide otherwise.
func (s *Server) dsn(user, password, database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable target_session_attrs=any connect_timeout=10 application_name=localpg",
		s.Host, s.Port, user, password, database)
}

// SuperuserDSN returns a keyword connection string for the superuser on the
// database postgres. The server keeps reserved connections for it, so that it
// gets in when everything else is full. It holds the password: keep it out of
// logs.
func (s *Server) SuperuserDSN() string {
	return s.dsn(superuser, s.superuserPassword, "postgres")
}

// CreateDatabases creates databases owned by the application role, in no order,
// over up to three superuser connections, which are gone from the server when this
// returns. Any name of 1 to 63 bytes will do. After a failure no further database
// is begun; those that were created stay.
func (s *Server) CreateDatabases(ctx context.Context, names ...string) error {
	for _, name := range names {
		switch {
		case name == "":
			return fmt.Errorf("localpg: create a database: its name is empty")
		case len(name) > maxName:
			return fmt.Errorf("localpg: create database %q: the name has %d bytes, PostgreSQL would cut it to %d", name, len(name), maxName)
		case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
			return fmt.Errorf("localpg: create database %q: the name is no valid UTF-8 text", name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	conn, err := s.connectSuperuser(ctx)
	if err != nil {
		return fmt.Errorf("localpg: create databases: %w", err)
	}
	defer HangUp(conn)
	strategy, err := quickCopy(ctx, conn)
	if err != nil {
		return err
	}
	// Most of the time is spent waiting for checkpoints, which they share.
	conns := []*pgx.Conn{conn}
	for len(conns) < min(creators, len(names)) {
		conn, err := s.connectSuperuser(ctx)
		if err != nil {
			break // the server is full: fewer will do
		}
		defer HangUp(conn)
		conns = append(conns, conn)
	}
	next := make(chan string, len(names))
	for _, name := range names {
		next <- name
	}
	close(next)
	failed := make(chan error)
	for _, conn := range conns {
		go func() {
			for name := range next {
				if err := createDatabase(ctx, conn, name, strategy); err != nil {
					for range next { // the others begin no more
					}
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range conns {
		err = cmp.Or(err, <-failed)
	}
	return err
}

// creators is how many superuser connections create databases: as many as the server
// keeps for superusers.
const creators = 3

// quickCopy is how CREATE DATABASE is to copy the template: file by file, as it
// always did before PostgreSQL 15. The default since then writes every page to
// the log, which takes twice as long where a checkpoint costs nothing.
func quickCopy(ctx context.Context, conn *pgx.Conn) (strategy string, err error) {
	const sql = "SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN ' STRATEGY FILE_COPY' ELSE '' END"
	if err := conn.QueryRow(ctx, sql).Scan(&strategy); err != nil {
		return "", fmt.Errorf("localpg: ask for the server's version: %w", err)
	}
	return strategy, nil
}

func createDatabase(ctx context.Context, conn *pgx.Conn, name, strategy string) error {
	statement := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize() +
		" OWNER " + pgx.Identifier{application}.Sanitize() + strategy
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("localpg: create database %q: %w", name, err)
	}
	return nil
}

// createApplication makes the application role and the system database.
func (s *Server) createApplication(ctx context.Context, conn *pgx.Conn) error {
	secret, err := verifier(s.Password)
	if err != nil {
		return err
	}
	statement := "CREATE ROLE " + pgx.Identifier{s.User}.Sanitize() +
		" NOSUPERUSER LOGIN CREATEDB PASSWORD '" + secret + "'"
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("localpg: create the application role: %w", err)
	}
	strategy, err := quickCopy(ctx, conn)
	if err != nil {
		return err
	}
	return createDatabase(ctx, conn, s.Database, strategy)
}

func (s *Server) connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	config, err := s.parse(dsn)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // one round trip
	return pgx.ConnectConfig(ctx, config)
}

// unaffected names what dsn leaves open, and pgx would take from PG* variables:
// those are about the user's servers. What a session is told at its start goes
// by itself, see parse.
const unaffected = " passfile='' sslcert='' sslkey='' sslrootcert='' sslsni=1 sslcertmode=disable" +
	" sslnegotiation=postgres channel_binding=prefer require_auth=''" +
	" min_protocol_version=3.0 max_protocol_version=3.0"

// parse reads a connection string of dsn, and nothing of the environment. Only
// the choice of a service cannot be taken back there: so ours is one that says
// nothing.
func (s *Server) parse(dsn string) (*pgx.ConnConfig, error) {
	file := filepath.Join(s.folder, "service")
	if err := os.WriteFile(file, []byte("[localpg]\n"), 0o600); err != nil {
		return nil, fmt.Errorf("localpg: connect: %w", err)
	}
	defer func() { _ = os.Remove(file) }()
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(file)
	config, err := pgx.ParseConfig(dsn + unaffected + " service=localpg servicefile='" + quoted + "'")
	if err != nil {
		return nil, fmt.Errorf("localpg: connect: %w", err)
	}
	config.RuntimeParams = map[string]string{"application_name": "localpg"}
	return config, nil
}

// HangUp closes a connection and returns when the server is rid of it. pgx's Close does
// not wait for that, and then the backend would still take one of max_connections from
// whoever counts them next.
func HangUp(conn *pgx.Conn) {
	raw, err := conn.PgConn().Hijack()
	if err != nil { // busy or broken
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
		return
	}
	defer func() { _ = raw.Conn.Close() }()
	_ = raw.Conn.SetDeadline(time.Now().Add(5 * time.Second))
	terminate := []byte{'X', 0, 0, 0, 4}
	if _, err := raw.Conn.Write(terminate); err == nil {
		_, _ = io.Copy(io.Discard, raw.Conn) // the backend's exit is the end of the stream
	}
}

// newPassword returns 128 random bits as letters and digits, so that it needs
// no quoting anywhere.
func newPassword() string { return rand.Text() }

// verifier returns what PostgreSQL stores for a password (RFC 5803). CREATE
// ROLE takes it instead of the password, which therefore is in no statement and
// in no server log, whatever the log settings are.
func verifier(password string) (string, error) {
	const iterations = 4096 // PostgreSQL's default
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails: it ends the program instead

	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("localpg: derive the key of a random password: %w", err)
	}
	sign := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(sign("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s",
		iterations, b64(salt), b64(stored[:]), b64(sign("Server Key"))), nil
}
