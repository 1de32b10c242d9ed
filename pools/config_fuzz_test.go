package pools

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantpool/tenantpool/model"
)

// canary is in each password of these tests.
const canary = "pa55w0rd-canary"

// noLibpqVariables takes out what a developer's shell may set for psql.
func noLibpqVariables(t *testing.T) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "") // which restores it afterwards
			_ = os.Unsetenv(name)
		}
	}
}

// What is in the environment is in the Config, or in no Config at all, and then
// the error says so without the password.
func FuzzConfigFromEnv(f *testing.F) {
	f.Add("", "", "", "", "", "", "", "", "", "")
	f.Add("db.example", "6543", "app", "a=b'c\\ d", "verify-full", "shop", "system", "200", "7", "300ms")
	f.Add("::1", "0", "ä", "${DB_HOST}", "perhaps", "a.b", "x y", "many", "-1", "5")
	f.Add("a,b", "+5432", "\n", "\xff", "DISABLE", strings.Repeat("p", 59), "'", "99999999999999999999", "1_0", "-0s")
	f.Add("a,,b", "0x10", "u", " ", " disable", "p", "d", "020", "3 ", "9223372036854775807ns")
	f.Fuzz(func(t *testing.T, host, port, user, password, sslMode, prefix, system, most, mostEach, timeout string) {
		noLibpqVariables(t)
		password = canary + password
		set := map[string]string{
			"DB_HOST": host, "DB_PORT": port, "DB_USER": user, "DB_PASSWORD": password, "DB_SSLMODE": sslMode,
			"DB_PREFIX": prefix, "DB_NAME": system, "DB_MAX_CONNECTIONS": most, "DB_MAX_CONNECTIONS_PER_DB": mostEach,
			"DB_ACQUIRE_TIMEOUT": timeout,
		}
		for name, value := range set {
			if strings.ContainsRune(value, 0) {
				t.Skip("an environment holds no NUL")
			}
			t.Setenv(name, value)
		}
		cfg, err := ConfigFromEnv()
		if err != nil {
			if text := err.Error(); cfg != (model.Config{}) || strings.Contains(text, canary) || !strings.Contains(text, "DB_") {
				t.Errorf("%+v, %s", cfg, text)
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("it was not validated: %v", err)
		}
		asked := model.DefaultConfig()
		asked.Host, asked.User = cmp.Or(host, asked.Host), cmp.Or(user, asked.User)
		asked.SSLMode, asked.Prefix = cmp.Or(sslMode, asked.SSLMode), cmp.Or(prefix, asked.Prefix)
		asked.SystemDatabase, asked.Password = cmp.Or(system, asked.SystemDatabase), password
		number := func(text string, into *int) {
			if text == "" {
				return
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Errorf("%q was taken for a number", text)
			}
			*into = n
		}
		number(port, &asked.Port)
		number(most, &asked.MaxConnections)
		number(mostEach, &asked.MaxConnectionsPerDB)
		if timeout != "" {
			d, err := time.ParseDuration(timeout)
			if err != nil {
				t.Errorf("%q was taken for a duration", timeout)
			}
			asked.AcquireTimeout = d
		}
		if cfg != asked {
			t.Errorf("asked %+v\ngot   %+v", asked, cfg)
		}
		if cfg.WorkspaceBudget() < 1 || cfg.SystemShare() < 1 || cfg.WorkspaceBudget()+cfg.SystemShare() != cfg.MaxConnections {
			t.Errorf("%d connections are %d and %d", cfg.MaxConnections, cfg.WorkspaceBudget(), cfg.SystemShare())
		}
		if text := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg); strings.Contains(text, canary) {
			t.Errorf("the password is shown: %s", text)
		}
	})
}

// What was validated reaches pgx as it was asked, whatever characters it holds.
func FuzzConnectionSettings(f *testing.F) {
	f.Add("localhost", 5432, "postgres", "secret", "prefer", "postgres")
	f.Add("::1", 1, "o'brien", "a b", "disable", `back\slash`)
	f.Add("/var/run/postgresql", 65535, "x' host='evil", `'`, "verify-full", "d' sslmode=disable dbname='e")
	f.Add("a,b", 5432, " ", "\\", "require", "postgres://u:p@h/d")
	f.Add("a:1,[::1]:2,::1,b", 3, "u", "", "verify-full", "postgres")
	f.Add("a,[::1]", 3, "u", "", "verify-full", "postgres")
	f.Add("a,b]:2", 3, "u", "", "verify-full", "postgres")
	f.Add("a,", 5432, "ä\xff", "\t", "allow", "new\nline")
	f.Add("10.0.0.1", 5432, `\`, `\'`, "verify-ca", `\\'`)
	f.Fuzz(func(t *testing.T, host string, port int, user, password, sslMode, system string) {
		cfg := model.DefaultConfig()
		cfg.Host, cfg.Port, cfg.User, cfg.Password = host, port, user, canary+password
		cfg.SSLMode, cfg.SystemDatabase = sslMode, system
		if err := cfg.Validate(); err != nil {
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the password is in: %v", err)
			}
			return
		}
		noLibpqVariables(t)
		config, err := connConfig(cfg)
		if err != nil {
			t.Fatalf("it was validated: %v", err)
		}
		config = config.Copy() // as each dial does
		if config.User != user || config.Password != cfg.Password || config.Database != system {
			t.Errorf("user %q, database %q", config.User, config.Database)
		}
		if len(config.RuntimeParams) != 2 || config.RuntimeParams["application_name"] == "" || config.RuntimeParams["client_encoding"] != "UTF8" || config.ConnectTimeout != 0 && !strings.Contains(host, ",") {
			t.Errorf("%q, %v", config.RuntimeParams, config.ConnectTimeout)
		}
		checkAttempts(t, cfg, config)
	})
}

// checkAttempts: pgx tries the hosts, which commas separate as in libpq, in their
// order, each as sslmode says, and no other one.
func checkAttempts(t *testing.T, cfg model.Config, config *pgx.ConnConfig) {
	t.Helper()
	type attempt struct {
		host string
		port int
		tls  bool
	}
	var want, got []attempt
	for host := range strings.SplitSeq(cfg.Host, ",") {
		port := cfg.Port
		if h, p, err := net.SplitHostPort(host); err == nil && !strings.ContainsAny(host, `/\`) {
			host = h
			port, _ = strconv.Atoi(p)
		} else if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
		modes := map[string][]bool{"disable": {false}, "allow": {false, true}, "prefer": {true, false}}[cfg.SSLMode]
		if modes == nil {
			modes = []bool{true}
		}
		if network, _ := pgconn.NetworkAddress(host, 1); network == "unix" {
			modes = []bool{false} // nobody listens in there
		}
		for _, tls := range modes {
			want = append(want, attempt{host, port, tls})
		}
	}
	all := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	for _, a := range all {
		got = append(got, attempt{a.Host, int(a.Port), a.TLSConfig != nil})
		if c := a.TLSConfig; c != nil && cfg.SSLMode == "verify-full" && (c.InsecureSkipVerify || c.ServerName != a.Host) {
			t.Errorf("verify-full does not verify %q, but %q", a.Host, c.ServerName)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("tried are %+v\nasked    %+v", got, want)
	}
}
