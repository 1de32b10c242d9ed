package pools_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestEachRefusalOfALoginHasItsKindAndItsRemedy(t *testing.T) {
	for _, test := range []struct {
		code, routine string
		kind          model.FailureKind
		remedy        string
	}{
		{"3D000", "InitPostgres", model.Permanent, "create the database"},
		{"57P04", "ProcessInterrupts", model.Permanent, "was dropped"},
		{"55000", "CheckMyDatabase", model.Permanent, "ALLOW_CONNECTIONS true"},
		{"42501", "CheckMyDatabase", model.Permanent, "GRANT CONNECT"},
		{"42501", "", model.Permanent, "GRANT CONNECT"}, // a proxy names no routine
		{"42501", "InitPostgres", model.ServerDown, "until the server is up"},
		{"XX000", "CheckMyDatabase", model.Permanent, "locale"},
		{"XX000", "RelationBuildDesc", model.Transient, ""},
		{"XX001", "_bt_checkpage", model.Permanent, "damaged"},
		{"XX002", "_bt_checkpage", model.Permanent, "damaged"},
		{"28000", "ClientAuthentication", model.Permanent, "pg_hba.conf"},
		{"28P01", "auth_failed", model.Permanent, "DB_PASSWORD"},
		{"53300", "CheckMyDatabase", model.Transient, "CONNECTION LIMIT"},
		{"53300", "InitializeSessionUserId", model.ServerFull, "role's connection limit"},
		{"53300", "InitPostgres", model.ServerFull, "max_connections"},
		{"53300", "ProcessStartupPacket", model.ServerFull, "max_connections"},
		{"53300", "", model.ServerFull, "max_connections"},
		{"53100", "", model.Transient, "disk"},
		{"53200", "", model.Transient, "memory"},
		{"57P01", "ProcessInterrupts", model.ServerDown, "until the server is up"},
		{"57P02", "quickdie", model.ServerDown, "until the server is up"},
		{"57P03", "ProcessStartupPacket", model.ServerDown, "until the server is up"},
		{"57014", "ProcessInterrupts", model.Transient, "authentication_timeout"},
		{"08P01", "", model.Transient, "look at the log"},
		{"0A000", "ProcessStartupPacket", model.Permanent, "its version"},
		{"42704", "find_option", model.Permanent, "ALTER ROLE"},
		{"42601", "process_postgres_switches", model.Permanent, "ALTER ROLE"},
		{"22023", "set_config_option", model.Permanent, "ALTER ROLE"},
		{"55P02", "set_config_option", model.Permanent, "ALTER ROLE"},
		{"58P01", "internal_load_library", model.Permanent, "session_preload_libraries"},
		{"58030", "mdread", model.Transient, "disk"},
		{"F0000", "load_hba", model.Permanent, "configuration files"},
		{"P0001", "exec_stmt_raise", model.Transient, ""},
	} {
		kind, err := pools.SortRefusal(&pgconn.PgError{Severity: "FATAL", Code: test.code, Routine: test.routine, Message: "no"})
		_, remedy, _ := strings.Cut(err.Error(), "(SQLSTATE "+test.code+")")
		if kind != test.kind || !strings.Contains(remedy, test.remedy) || (test.remedy == "") != (remedy == "") {
			t.Errorf("%s in %q: %v, %v", test.code, test.routine, kind, err)
		}
		if missing := errors.Is(err, model.ErrNoWorkspace); missing != (test.code == "3D000") {
			t.Errorf("%s: that there is no workspace: %v", test.code, missing)
		}
	}
}

// startTLSServer answers the request for TLS with a certificate, or with no.
func startTLSServer(t *testing.T, speaks *tls.Config) model.Config {
	t.Helper()
	cfg := config(20)
	cfg.Host, cfg.Port = "127.0.0.1", listen(t, func(raw net.Conn) {
		if _, err := io.ReadFull(raw, make([]byte, len(sslRequest))); err != nil {
			return
		}
		if speaks == nil {
			_, _ = raw.Write([]byte("N"))
			return
		}
		_, _ = raw.Write([]byte("S"))
		_ = tls.Server(raw, speaks).Handshake()
	}).Port
	return cfg
}

// A wrong certificate is as wrong at the next attempt.
func TestTLSThatDoesNotFitIsRefusedAtOnceWithTheSettingThatMendsIt(t *testing.T) {
	for name, test := range map[string]struct {
		mode    string
		trusted bool
		certify func(*x509.Certificate)
		speak   func(*tls.Config)
		remedy  string
	}{
		"no TLS":               {mode: "require", remedy: "ssl = on"},
		"an unknown authority": {mode: "verify-ca", remedy: "PGSSLROOTCERT"},
		"another name": {
			mode: "verify-full", trusted: true, remedy: "DB_HOST",
			certify: func(c *x509.Certificate) { c.DNSNames = []string{"elsewhere.invalid"} },
		},
		"expired": {
			mode: "verify-ca", trusted: true, remedy: "renew",
			certify: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) },
		},
		"no client certificate": {
			mode: "require", remedy: "PGSSLCERT",
			speak: func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			pair, certPEM, _ := certificate(t, func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid = true, true
				if test.certify != nil {
					test.certify(c)
				}
			})
			speaks := &tls.Config{Certificates: []tls.Certificate{pair}}
			if test.speak != nil {
				test.speak(speaks)
			}
			if name == "no TLS" {
				speaks = nil
			}
			if test.trusted {
				root := filepath.Join(t.TempDir(), "root.crt")
				if err := os.WriteFile(root, []byte(certPEM), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv("PGSSLROOTCERT", root)
			}
			cfg := startTLSServer(t, speaks)
			cfg.SSLMode = test.mode
			var dial *model.DialError
			err := openOnly(t, cfg)
			if !errors.As(err, &dial) || dial.Kind != model.Permanent || dial.Attempts != 1 || !strings.Contains(err.Error(), test.remedy) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The settings of our TLS have no say in that of a tunnel, whose certificates may be renewed.
func TestTLSOfADialFuncThatIsRefusedIsTriedAgainWithoutAdviceAboutOurs(t *testing.T) {
	pair, _, _ := certificate(t, func(*x509.Certificate) {})
	for what, security := range map[string]*tls.Config{
		"the certificate is not trusted": {ServerName: "proxy"},
		"there is no client certificate": {InsecureSkipVerify: true}, //nolint:gosec // the test's own
	} {
		for _, early := range []bool{true, false} {
			cfg := config(20)
			cfg.AcquireTimeout = failsSoon(t)
			cfg.Host, cfg.Port = "127.0.0.1", listen(t, func(conn net.Conn) {
				server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
				_ = server.Handshake()
			}).Port
			var dial *model.DialError
			err := openOnly(t, cfg, pools.WithHooks(pools.Hooks{
				BeforeConnect: func(_ context.Context, _ model.WorkspaceID, config *pgx.ConnConfig) error {
					config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
						raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
						if err != nil {
							return nil, err
						}
						tunnel := tls.Client(raw, security)
						if early {
							err = tunnel.HandshakeContext(ctx)
						}
						return tunnel, err
					}
					return nil
				},
			}))
			if !errors.As(err, &dial) || dial.Kind != model.Transient || !strings.Contains(err.Error(), "DialFunc") || strings.Contains(err.Error(), "PGSSL") {
				t.Errorf("%s, early: %v: %v", what, early, err)
			}
		}
	}
}

// With sslmode=prefer it is no failure that the server does not speak TLS.
func TestThatTLSIsRefusedIsPermanentOnlyWhereItIsRequired(t *testing.T) {
	cfg := config(20)
	cfg.SSLMode, cfg.AcquireTimeout = "prefer", failsSoon(t)
	cfg.Host, cfg.Port = "127.0.0.1", listen(t, func(conn net.Conn) {
		message, err := pgproto3.NewBackend(conn, conn).ReceiveStartupMessage()
		if _, asksForTLS := message.(*pgproto3.SSLRequest); asksForTLS && err == nil {
			_, _ = conn.Write([]byte("N"))
		} // and without TLS it breaks off
	}).Port
	var dial *model.DialError
	if err := openOnly(t, cfg); !errors.As(err, &dial) || dial.Kind != model.Transient {
		t.Errorf("%v", err)
	}
}

func TestADatabaseThatTakesNoConnectionsIsDialedOnce(t *testing.T) {
	m := open(t, config(20))
	watch := create(t, m, "suspended")
	for name, statement := range map[string]string{
		"suspended":             `ALTER DATABASE test_ws_suspended ALLOW_CONNECTIONS false`,
		"a DROP that was ended": `UPDATE pg_database SET datallowconn = true, datconnlimit = -2 WHERE datname = 'test_ws_suspended'`,
	} {
		statements(t, watch, `UPDATE pg_database SET datallowconn = true, datconnlimit = -1 WHERE datname = 'test_ws_suspended'`)
		if err := m.Resume(t.Context(), "suspended"); err != nil { // forgets the failure
			t.Fatal(err)
		}
		if err := m.Workspace("suspended").Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Evict(t.Context(), "suspended"); err != nil {
			t.Fatal(err)
		}
		statements(t, watch, statement)
		before := stats(t, m).Workspaces.Counters.Dials
		var dial *model.DialError
		err := m.Workspace("suspended").Ping(t.Context())
		if !errors.As(err, &dial) || dial.Kind != model.Permanent || !strings.Contains(err.Error(), "ALLOW_CONNECTIONS true") {
			t.Errorf("%s: %v", name, err)
		}
		if err := m.Workspace("suspended").Ping(t.Context()); !errors.As(err, &dial) || dial.Attempts != 0 {
			t.Errorf("%s: it is still believed to be there: %v", name, err)
		}
		if dials := stats(t, m).Workspaces.Counters.Dials - before; dials != 1 {
			t.Errorf("%s: %d dials", name, dials)
		}
	}
	statements(t, watch, `UPDATE pg_database SET datallowconn = true, datconnlimit = -1 WHERE datname = 'test_ws_suspended'`)
}

func TestALoggerOfNilLogsNothing(t *testing.T) {
	m := open(t, config(20), pools.WithLogger(nil))
	if err := m.Workspace("nowhere").Ping(t.Context()); err == nil { // which is logged
		t.Error("there is such a database")
	}
}
