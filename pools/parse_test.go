package pools_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantpool/tenantpool/model"
	"github.com/tenantpool/tenantpool/pools"
)

func TestAConnectionStringSaysWhatItSaysToPgx(t *testing.T) {
	for text, change := range map[string]func(*model.Config){
		"postgres://u:p%40ss@db.example:6543/shop?sslmode=verify-full": func(c *model.Config) {
			c.Host, c.Port, c.User, c.Password, c.SystemDatabase, c.SSLMode = "db.example", 6543, "u", "p@ss", "shop", "verify-full"
		},
		`host=db.example port=6543 user=u password='p\'s s' dbname=shop`: func(c *model.Config) {
			c.Host, c.Port, c.User, c.Password, c.SystemDatabase = "db.example", 6543, "u", "p's s", "shop"
		},
		"postgresql://u@a:1,b:2/d?target_session_attrs=read-write&connect_timeout=3": func(c *model.Config) {
			c.Host, c.Port, c.User, c.SystemDatabase, c.TargetSessionAttrs, c.DialTimeout = "a:1,b:2", 1, "u", "d", "read-write", 6*time.Second
		},
		"host=a,::1 port=7 user=u dbname=d sslmode=disable": func(c *model.Config) {
			c.Host, c.Port, c.User, c.SystemDatabase, c.SSLMode = "a,[::1]", 7, "u", "d", "disable"
		},
		"postgres:///d?host=/run/postgresql&user=u": func(c *model.Config) {
			c.Host, c.User, c.SystemDatabase = "/run/postgresql", "u", "d"
		},
		"postgres://u@h/d?ssl=true": func(c *model.Config) {
			c.Host, c.User, c.SystemDatabase, c.SSLMode = "h", "u", "d", "require"
		},
		"postgres://u@h/d?search_path=a%2C%20b&options=-c%20geqo%3Doff&application_name=shop&default_query_exec_mode=exec&statement_cache_capacity=9": func(c *model.Config) {
			c.Host, c.User, c.SystemDatabase = "h", "u", "d"
			c.Parameters = "application_name=shop default_query_exec_mode=exec options='-c geqo=off' search_path='a, b' statement_cache_capacity=9"
		},
		"postgres://u@h/d?pool_max_conns=12&pool_max_conn_lifetime=1h&pool_max_conn_idle_time=30m&pool_max_conn_lifetime_jitter=1m&pool_health_check_period=1m&keepalives=1": func(c *model.Config) {
			c.Host, c.User, c.SystemDatabase = "h", "u", "d"
			c.MaxConnections, c.ConnectionMaxLifetime, c.ConnectionMaxIdleTime = 12, time.Hour, 30*time.Minute
			c.ConnectionMaxLifetimeJitter = time.Minute
			c.Unused = "keepalives: Go's own keep-alive is used; pool_health_check_period: a connection is tested when it is lent (DB_HEALTH_CHECK_AFTER)"
		},
	} {
		environment(t, "HOME="+t.TempDir())
		want := model.DefaultConfig()
		change(&want)
		if got, err := pools.ParseConfig(text); err != nil || got != want {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", text, err, got, want)
		}
	}
}

func TestAConnectionStringThatIsNoGoodSaysWhyWithoutItsPassword(t *testing.T) {
	environment(t)
	const secret = "s3cret"
	for text, says := range map[string]string{
		"postgres://u:s3cret@h:port/d":                            "as %3A and %40",
		"postgres://u:s3cr%ETs3cret@h/d":                          "escape",
		"host=h password='s3cret":                                 "single quotes",
		"host=h password s3cret":                                  "name=value",
		"user=u password=s3cret sslmode=perhaps":                  "DB_SSLMODE",
		"user=u password=s3cret target_session_attrs=s3cret":      "target_session_attrs must be one of",
		"user=u password=s3cret connect_timeout=s3cret":           "connect_timeout",
		"user=u password=s3cret service=prod":                     "service",
		"host=h user=u password=s3cret sslrootcert=/none":         "sslrootcert",
		"user=u password=s3cret pool_max_conns=2":                 "DB_MAX_CONNECTIONS is 2",
		"user=u password=s3cret pool_max_conns=s3cret":            "whole number",
		"user=u password=s3cret pool_max_conn_lifetime=1":         "a duration",
		"user=u password=s3cret pool_maximum=1":                   "none of pgxpool's",
		"user=u password=s3cret hostaddr=127.0.0.1":               "hostaddr is not supported",
		"user=u password=s3cret host=/a,/b port=1,2":              "the same port",
		"user=u password=s3cret default_query_exec_mode=s3cret":   "simple_protocol",
		"postgres://u:s3cret@h/d?statement_cache_capacity=s3cret": "whole number",
	} {
		cfg, err := pools.ParseConfig(text)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), secret) || cfg != (model.Config{}) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParametersThatHaveAVariableOfTheirOwnAreRefused(t *testing.T) {
	for text, says := range map[string]string{
		"host=h":          "use DB_HOST",
		"password=s3cret": "use DB_PASSWORD",
		"sslpassword=x":   "use Config.SSLPassword",
		"pool_max_conns=": "variables of its own",
		"search_path":     "name=value pairs",
		"a='b":            "name=value pairs",
		"a=b\x00c":        "name=value pairs",
	} {
		cfg := config(20)
		cfg.Parameters = text
		if err := openOnly(t, cfg); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "DB_PARAMETERS") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// asURL is the connection string of the test's server.
func asURL(host, query string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(server.User, server.Password), Host: host, Path: server.Database, RawQuery: query}
	return u.String()
}

// parsed opens a Manager by a connection string.
func parsed(t *testing.T, text string) *manager {
	t.Helper()
	cfg, err := pools.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Prefix, cfg.AcquireTimeout = "test", patience
	return open(t, cfg)
}

func showOf(t *testing.T, m *manager, setting string) (value string) {
	t.Helper()
	for _, w := range []*pools.Workspace{m.System(), m.Workspace("w0")} {
		if err := w.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&value); err != nil {
			t.Fatal(err)
		}
	}
	return value
}

func TestSessionsBeginAsTheConnectionStringSays(t *testing.T) {
	environment(t)
	refused := listen(t, func(net.Conn) {})
	here := net.JoinHostPort(server.Host, fmt.Sprint(server.Port))
	m := parsed(t, asURL(refused.String()+","+here, "sslmode=disable&search_path=app&statement_timeout=123s&options=-c%20geqo%3Doff&application_name=shop"+
		"&target_session_attrs=read-write&pool_max_conns=20&pool_min_conns=4&default_query_exec_mode=exec&client_encoding=LATIN1"))
	for setting, want := range map[string]string{
		"search_path": "app", "statement_timeout": "123s", "geqo": "off", "client_encoding": "UTF8",
	} {
		if got := showOf(t, m, setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := showOf(t, m, "application_name"); !strings.HasPrefix(got, "shop") {
		t.Errorf("application_name is %q", got)
	}
	line := m.log.line(t, "Set and not used")
	for _, want := range []string{"pool_min_conns: no connection is kept", "client_encoding: it is always UTF8"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %s", want, line)
		}
	}
	if n := strings.Count(m.log.String(), "Set and not used"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

// The tests' server has no Unix socket: this one leads to it.
func TestAUnixSocketIsAHost(t *testing.T) {
	environment(t)
	folder, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket, err := net.Listen("unix", filepath.Join(folder, fmt.Sprintf(".s.PGSQL.%d", server.Port)))
	if err != nil {
		t.Skip(err)
	}
	var came atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			client, err := socket.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			upstream, err := net.Dial("tcp", net.JoinHostPort(server.Host, fmt.Sprint(server.Port)))
			if err != nil {
				_ = client.Close()
				continue
			}
			go relay(client, upstream)
		}
	}()
	t.Cleanup(func() { _ = socket.Close(); <-ended })
	m := parsed(t, fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s", folder, server.Port, server.User, server.Password, server.Database))
	if err := m.Workspace("w0").Ping(t.Context()); err != nil || came.Load() < 2 {
		t.Errorf("%d connections, %v", came.Load(), err)
	}
}

func TestTheFilesOfTLSMayStandInTheConnectionString(t *testing.T) {
	environment(t)
	admin := superuser(t)
	speakTLS(t, admin)
	var pem string
	if err := admin.QueryRow(`SELECT pg_read_file('server.crt')`).Scan(&pem); err != nil {
		t.Fatal(err)
	}
	_, another, _ := certificate(t, func(c *x509.Certificate) { c.IsCA = true })
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for roots, trusted := range map[string]bool{file("own.pem", pem): true, file("another.pem", another): false} {
		cfg, err := pools.ParseConfig(asURL(net.JoinHostPort(server.Host, fmt.Sprint(server.Port)), "sslmode=verify-ca&sslrootcert="+url.QueryEscape(roots)))
		if err != nil {
			t.Fatal(err)
		}
		cfg.AcquireTimeout = failsSoon(t)
		m, err := pools.Open(t.Context(), cfg, pools.WithLogger(nil))
		if (err == nil) != trusted {
			t.Errorf("%s: %v", roots, err)
		}
		if err == nil {
			var encrypted bool
			if err := m.System().QueryRow(t.Context(), `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted); err != nil || !encrypted {
				t.Errorf("encrypted: %v, %v", encrypted, err)
			}
			_ = m.Close(context.Background())
		}
	}
}
